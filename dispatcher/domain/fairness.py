"""Who sends next: deficit round robin over tenants, counted in segments.

What it is for: a tenant with a million messages waiting does not keep another's hundred from leaving. What it is not: a
rate limit, or a claim: the answer is a wish, and the caller keeps the new state only if the claim that follows succeeds.

Shreedhar and Varghese, "Efficient Fair Queuing Using Deficit Round Robin" (1995): tenants stand in a ring; at each visit
a tenant gets `quantum` segments of credit and sends batches while its credit covers them; one with nothing waiting
leaves the ring and loses what credit it had.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class DrrState:
    """The ring and each tenant's credit in segments. Treat it as a value: `pick` returns another and changes none.

    `ring[cursor]` is the tenant whose turn it is; `visited` is whether it already got its quantum at this visit.
    """

    ring: tuple[int, ...] = ()
    credit: Mapping[int, int] = field(default_factory=dict)
    cursor: int = 0
    visited: bool = False


def pick(state: DrrState, heads: Mapping[int, int], quantum: int) -> tuple[int | None, DrrState]:
    """The tenant to serve, and the state when it was served its head batch; None when nobody waits.

    `heads`: for each tenant that has a batch waiting, the segments (>= 1) of its next one. `quantum` (>= 1): segments a
    visit; from the largest batch on, a pick ends within one step of the ring. ValueError for less than 1 segment.

    Between two tenants that wait all the while, the segments served differ by at most the quantum plus the largest batch
    at any moment, and by less than the largest batch when both were visited equally often.
    """
    if quantum < 1:
        raise ValueError(f"a quantum of {quantum} segments serves nobody")
    if not heads:
        return None, DrrState()
    ring, credit, cursor, visited = _joined(state, heads)
    for _ in range(2):
        for step in range(len(ring)):
            at = (cursor + step) % len(ring)
            tenant = ring[at]
            if step or not visited:
                credit[tenant] += quantum
            if credit[tenant] >= _checked(heads[tenant]):
                credit[tenant] -= heads[tenant]
                return tenant, DrrState(ring, credit, at, visited=True)
        # A whole turn served nobody: give the turns that will serve nobody either in one go, and start the next.
        visited = False
        idle_turns = min((heads[tenant] - credit[tenant] - 1) // quantum for tenant in ring)
        for tenant in ring:
            credit[tenant] += idle_turns * quantum
    raise AssertionError("the turn after the idle ones always serves")


def _joined(state: DrrState, heads: Mapping[int, int]) -> tuple[tuple[int, ...], dict[int, int], int, bool]:
    """Ring, credit, cursor and visited with those who went idle gone, and those who came at the end of the turn."""
    if state.credit.keys() == heads.keys():
        return state.ring, dict(state.credit), state.cursor, state.visited
    stay = [tenant for tenant in state.ring if tenant in heads]
    # Whoever has the turn keeps it; if it left, the turn is the next one's, who has not been visited in it.
    before = sum(tenant in heads for tenant in state.ring[: state.cursor])
    visited = state.visited and bool(state.ring) and state.ring[state.cursor] in heads
    come = sorted(heads.keys() - state.credit.keys())
    # The end of the turn is right before the one who has it.
    ring = (*stay[before:], *stay[:before], *come)
    credit = {tenant: state.credit.get(tenant, 0) for tenant in ring}
    return ring, credit, 0, visited


def _checked(segments: int) -> int:
    if segments < 1:
        raise ValueError(f"a batch of {segments} segments cannot wait")
    return segments
