"""What the tests of the rate limiter share: a running one, and the check of its bound on recorded takes."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dispatcher.actors.messages import Acquire, Acquired, Refused
from dispatcher.actors.rate_limiter import RateLimiter
from dispatcher.actors.runtime import Address, Stop

Took = list[tuple[float, int]]


class Recorder:
    """The limiter's clock and its listener: each take is recorded with the time that the limiter read for it."""

    def __init__(self) -> None:
        self.read_s = 0.0
        self.took: dict[str, Took] = {}

    def monotonic_s(self) -> float:
        """The machine's monotonic clock."""
        self.read_s = time.monotonic()
        return self.read_s

    def on_taken(self, keys: tuple[str, ...], n: int, _waited_s: float) -> None:
        """Called at the moment of a take."""
        for key in keys:
            self.took.setdefault(key, []).append((self.read_s, n))


@asynccontextmanager
async def running(recorder: Recorder | None = None, **options: Any) -> AsyncIterator[Address]:
    """A RateLimiter under the address 'limiter', stopped afterwards."""
    recorder = recorder if recorder is not None else Recorder()
    actor = RateLimiter(monotonic_s=recorder.monotonic_s, on_taken=recorder.on_taken, **options)
    address = Address("limiter")
    address.bind(actor.launch(name="limiter"))
    try:
        yield address
    finally:
        await address.ask(Stop(), timeout_s=10.0)


async def acquire(
    limiter: Address, *keys: str, n: int = 1, urgent: bool = False, wait_max_s: float = 10.0
) -> Acquired | Refused:
    """One answer."""
    answer: Acquired | Refused = await limiter.ask(Acquire(keys, n, urgent, wait_max_s), timeout_s=wait_max_s + 5.0)
    return answer


async def many(limiter: Address, *keys: str, until_s: float, askers: int, n: int = 1, urgent: bool = False) -> int:
    """`askers` at once, each asking again as soon as it is answered, until the monotonic `until_s`; messages taken."""

    async def one() -> int:
        count = 0
        while time.monotonic() < until_s:
            if isinstance(await acquire(limiter, *keys, n=n, urgent=urgent), Acquired):
                count += n
        return count

    return sum(await asyncio.gather(*(one() for _ in range(askers))))


def excess(took: Took, rate_per_s: float, burst: int) -> float:
    """By how many messages the worst window passes rate x length + burst (not positive: none does)."""
    times, counts = [at_s for at_s, _ in sorted(took)], [n for _, n in sorted(took)]
    worst, lowest, before = -float(burst), float("inf"), 0
    # With B(i) what was taken before i: count(i..j) - rate x (t_j - t_i) = (B(j+1) - rate t_j) - (B(i) - rate t_i).
    for at_s, n in zip(times, counts, strict=True):
        lowest = min(lowest, before - rate_per_s * at_s)
        before += n
        worst = max(worst, before - rate_per_s * at_s - lowest - burst)
    return worst
