"""Actors to supervise, and a diary of what happens to them: shared by the tests of supervision."""

import asyncio
from collections.abc import Callable
from typing import Any

from dispatcher.actors.runtime import Address, AsyncioActor
from dispatcher.actors.supervision import ChildSpec, RestartBackoff, RestartBudget, Strategy, Supervisor

# Restarts in tests are soon, and many are allowed, where neither is the subject.
SOON = RestartBackoff(base_s=0.001, max_s=0.002)
MANY = RestartBudget(restarts_max=100, within_s=60.0)
DEADLINE_S = 5.0


class Diary:
    """What happened, in order; and a way to wait for it."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self._written = asyncio.Event()

    def write(self, entry: str) -> None:
        """Add a line."""
        self.entries.append(entry)
        self._written.set()

    async def until(self, done: Callable[[list[str]], bool]) -> list[str]:
        """The entries, once they are as `done` wants them. TimeoutError when that is not soon."""
        async with asyncio.timeout(DEADLINE_S):
            while not done(self.entries):
                self._written.clear()
                await self._written.wait()
        return self.entries

    def take(self) -> list[str]:
        """The entries so far, and a new page."""
        entries, self.entries = self.entries, []
        return entries


async def until(done: Callable[[], bool]) -> None:
    """Let the loop turn until it is so. TimeoutError when that is not soon."""
    async with asyncio.timeout(DEADLINE_S):
        while not done():
            await asyncio.sleep(0)


class Worker(AsyncioActor):
    """Counts in a dict that stands for the database; dies when told."""

    def __init__(self, diary: Diary, store: dict[str, int], failing_starts: list[BaseException]) -> None:
        super().__init__()
        self._diary = diary
        self._store = store
        self._failing_starts = failing_starts

    async def on_start(self) -> None:
        """Fails as often as there are errors prepared for it."""
        if self._failing_starts:
            raise self._failing_starts.pop()
        self._diary.write(f"start {self.name}")

    async def on_stop(self) -> None:
        """Leave a note."""
        self._diary.write(f"stop {self.name}")

    async def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        """Leave a note."""
        self._diary.write(f"fail {self.name}")

    async def on_receive(self, message: Any) -> Any:
        """An exception: die of it. "hang": wait for ever. "count": one more in the database."""
        match message:
            case BaseException():
                raise message
            case "hang":
                self._diary.write(f"hang {self.name}")
                await asyncio.Event().wait()
            case "count":
                self._store[self.name] = self._store.get(self.name, 0) + 1
        return self._store.get(self.name, 0)


class Family:
    """Workers by name, their addresses, diary and store; and supervisors made of them."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.diary = Diary()
        self.store: dict[str, int] = {}
        self.addresses = {name: Address(name) for name in names}
        self.failing_starts: dict[str, list[BaseException]] = {name: [] for name in names}

    def spec(self, name: str, **more: Any) -> ChildSpec:
        """How to run the worker of this name."""
        failing = self.failing_starts[name]
        return ChildSpec(name, lambda: Worker(self.diary, self.store, failing), self.addresses[name], **more)

    def supervisor(
        self,
        *names: str,
        strategy: Strategy = "one_for_one",
        budget: RestartBudget = MANY,
        backoff: RestartBackoff = SOON,
        **more: Any,
    ) -> Supervisor:
        """A supervisor of these workers (of all, when none is named)."""
        specs = [self.spec(name, **more) for name in names or self.names]
        return Supervisor(specs, strategy=strategy, budget=budget, backoff=backoff, jitter=lambda: 0.0)

    async def ask(self, name: str, message: Any = "read") -> Any:
        """Ask the worker, in whichever life."""
        return await self.addresses[name].ask(message)
