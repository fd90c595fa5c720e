"""The daemon, in a process that kills itself at a named point, or has a bug: `python -m tests.faults.child`.

The product has no hooks for this: here its own functions are wrapped, in this process only, before it runs.

KILL_AT: `before:NAME` or `after:NAME`; the process ends by SIGKILL at the hit number KILL_NTH (1). NAME is a unit of work
(its class; `before`: its statements have run and nothing is committed; `after`: committed), or a step in STEPS.
BUG_IN: the name of an actor's class; a child task of its first BUG_LIVES lives raises: at once, or with BUG_AFTER (a point as
above) when that point is reached.
BUDGET: how many deaths the root (and the senders' supervisor) allows: the real ones take a minute to be spent.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from dispatcher import house
from dispatcher.actors.batch_sender import BatchSender
from dispatcher.actors.campaign_planner import CampaignPlanner
from dispatcher.actors.dlr_reconciler import DlrReconciler
from dispatcher.actors.rate_limiter import RateLimiter
from dispatcher.actors.supervision import RestartBudget
from dispatcher.actors.wallet_ledger import WalletLedger
from dispatcher.cli import main
from dispatcher.providers.mitto import Mitto
from dispatcher.storage import batches, deliveries, reports

# Steps that are no unit of the ledger: a call, or a statement that is a transaction by itself.
STEPS: dict[str, tuple[Any, str]] = {
    "submit": (Mitto, "submit"),
    "lookup": (Mitto, "lookup"),
    "claim": (batches, "claim"),
    "begin": (batches.BeginSubmitUnit, "run"),
    "give_back": (batches, "give_back"),
    "mark_unknown": (deliveries, "mark_unknown"),
    "sweep": (batches, "sweep"),
    "inbox": (reports, "insert_inbox"),
}
_ACTORS = {actor.__name__: actor for actor in (RateLimiter, CampaignPlanner, BatchSender, DlrReconciler, WalletLedger)}


class Trap:
    """Does something at the hit number `nth` of a point."""

    def __init__(self, point: str, nth: int, spring: Callable[[], None]) -> None:
        self._point = point
        self._left = nth
        self._spring = spring

    def hit(self, point: str) -> None:
        """This point is reached."""
        if point != self._point:
            return
        self._left -= 1
        if self._left == 0:
            self._spring()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def set_trap(trap: Trap) -> None:
    """Wrap every point."""
    for name, (owner, attribute) in STEPS.items():
        setattr(owner, attribute, _around(getattr(owner, attribute), name, trap))
    transact = WalletLedger._transact

    async def wrapped(self: WalletLedger, unit: Any) -> Any:
        name, run = type(unit).__name__, unit.run

        async def run_and_hit(conn: Any) -> Any:
            done = await run(conn)
            trap.hit(f"before:{name}")
            return done

        unit.run = run_and_hit
        try:
            answer = await transact(self, unit)
        finally:
            del unit.run
        trap.hit(f"after:{name}")
        return answer

    WalletLedger._transact = wrapped  # type: ignore[method-assign]


def _around(call: Callable[..., Awaitable[Any]], name: str, trap: Trap) -> Callable[..., Awaitable[Any]]:
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        trap.hit(f"before:{name}")
        answer = await call(*args, **kwargs)
        trap.hit(f"after:{name}")
        return answer

    return wrapped


def set_bug(name: str, lives: int, reached: asyncio.Event) -> None:
    """The first `lives` lives of an actor die of a bug in a child task, once `reached` is set."""
    actor = _ACTORS[name]
    start, born = actor.on_start, 0

    async def on_start(self: Any) -> None:
        nonlocal born
        born += 1
        await start(self)
        if born <= lives:
            self.spawn(_fail(name, reached), name="bug")

    actor.on_start = on_start  # type: ignore[method-assign]


async def _fail(name: str, reached: asyncio.Event) -> None:
    await reached.wait()
    raise ZeroDivisionError(f"a bug in {name}")


def _set_all() -> None:
    if point := os.environ.get("KILL_AT"):
        set_trap(Trap(point, int(os.environ.get("KILL_NTH", "1")), _die))
    if budget := os.environ.get("BUDGET"):
        house._BUDGET = house._SENDERS_BUDGET = RestartBudget(int(budget), 60.0)
    if bug := os.environ.get("BUG_IN"):
        reached = asyncio.Event()
        set_bug(bug, int(os.environ.get("BUG_LIVES", "1")), reached)
        if point := os.environ.get("BUG_AFTER"):
            set_trap(Trap(point, 3, reached.set))
        else:
            reached.set()


if __name__ == "__main__":
    _set_all()
    sys.argv = ["dispatcher", "run"]
    main()
