"""Supervisor: keeps its children running, by its strategy, within its budget; over the budget it fails upward.

It decides and orders; the work of its children is none of its business. A child's death reaches it by a call on the
loop (`Child`'s on_death), not by its inbox: no full inbox can hide a death. One task, the keeper, does all starting and
stopping, one step after another: two restarts never race. Bugs in here are exceptions, and fail upward.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import structlog

from dispatcher.actors.runtime import AsyncioActor, Death
from dispatcher.actors.supervision.child import Child, ChildSpec
from dispatcher.actors.supervision.info import StartFailed, TooManyDeaths, Unkillable, UnknownActor
from dispatcher.actors.supervision.rules import RestartBackoff, RestartBudget, Strategy

log = structlog.get_logger(__name__)

# What the end of a supervisor may take beyond the sum of its children's own.
_STOP_MARGIN_S = 20.0


@dataclass(frozen=True, slots=True)
class Restart:
    """To a supervisor: stop the child and start it again (with rest_for_one those after it, too).

    Answered with True when it runs again. It is not a death, and costs nothing of the budget.
    """

    name: str


class Supervisor(AsyncioActor):
    """Starts `specs` in order, each behind a ping; stops them in reverse; starts again what dies."""

    inbox_max: ClassVar[int] = 256

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        *,
        strategy: Strategy = "one_for_one",
        budget: RestartBudget | None = None,
        backoff: RestartBackoff | None = None,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        """`jitter` answers numbers uniform in 0..1. Raises ValueError when two children have one name."""
        super().__init__()
        names = [spec.name for spec in specs]
        if len(set(names)) != len(names):
            msg = f"children need names of their own: {names}"
            raise ValueError(msg)
        self.children = tuple(Child(spec, self._child_died) for spec in specs)
        self._strategy = strategy
        self._budget = budget if budget is not None else RestartBudget()
        self._backoff = backoff if backoff is not None else RestartBackoff()
        self._jitter = jitter if jitter is not None else random.Random().random  # noqa: S311 - spreads restarts
        self._deaths: deque[tuple[Child, Death]] = deque()
        self._deaths_at_s: list[float] = []
        self._restarts: dict[Child, list[asyncio.Future[bool]]] = {}
        self._awaited: dict[Child, list[asyncio.Future[bool]]] = {}
        self._news = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    def start_bound_s(self) -> float:
        """Twice what its children may take: one of them may fail to start, and be tried again."""
        return 2 * sum(child.spec.start_timeout_s for child in self.children) + self._backoff.max_s

    def stop_bound_s(self) -> float:
        """What stopping one child after another may take."""
        bounds_s = (
            max(child.spec.stop_timeout_s, child.actor.stop_bound_s() if child.actor is not None else 0.0)
            for child in self.children
        )
        return sum(bounds_s) + _STOP_MARGIN_S

    def failure_bound_s(self) -> float:
        """At a failure it stops its children, too."""
        return self.stop_bound_s()

    # ------------------------------------------------------------------ hooks

    async def on_start(self) -> None:
        """Its own first ping is answered only after that: a start barrier holds through all levels."""
        while any(child.state != "running" for child in self.children):
            await self._step(ordered=True)
        self._keeper = self.spawn(self._keep(), name=f"keeper:{self.name}")

    async def on_receive(self, message: Any) -> Any:
        """Restart."""
        match message:
            case Restart(name):
                return self._ask_restart(name)
            case _:
                return await super().on_receive(message)

    async def on_stop(self) -> None:
        """All children, the last first."""
        await self._halt()
        await self._end_all(kill=False)

    async def on_failure(self, _type: Any, exception_value: Any, _traceback: Any) -> None:
        """No child survives its supervisor. One that was cancelled has no time left: it cancels them."""
        await self._halt()
        await self._end_all(kill=isinstance(exception_value, asyncio.CancelledError))

    # ------------------------------------------------------------------ the keeper

    async def _keep(self) -> None:
        while True:
            await self._step(ordered=self._strategy == "rest_for_one")

    async def _step(self, *, ordered: bool) -> None:
        """Take the news, then start one child that is due; when there is none, wait."""
        self._news.clear()
        self._take_deaths()
        await self._take_restarts()
        if self._strategy == "rest_for_one":
            await self._stop_behind_first_down()
        child, wait_s = self._next_due(ordered=ordered)
        if child is not None:
            await self._start(child)
        else:
            await self._wait_news(wait_s)

    def _next_due(self, *, ordered: bool) -> tuple[Child | None, float | None]:
        """The child to start now; or None and the seconds until there may be one (None: not before there is news)."""
        down = [child for child in self.children if child.state != "running"]
        if ordered:
            down = down[:1]
        if not down:
            return None, None
        now_s = self._loop.time()
        first = min(down, key=lambda child: child.due_s)
        return (first, 0.0) if first.due_s <= now_s else (None, first.due_s - now_s)

    async def _wait_news(self, wait_s: float | None) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._news.wait()
        except TimeoutError:
            return  # somebody is due

    async def _start(self, child: Child) -> None:
        try:
            await child.start(self.observer)
        except StartFailed as error:
            self._note_death(child, error.cause)
            return
        log.info("actor.started", actor=child.name, supervisor=self.name, restarts=child.restarts)
        if child.restarts:
            self.observer.restarted(child.name)
        for waiter in self._awaited.pop(child, ()):
            if not waiter.done():
                waiter.set_result(True)

    # ------------------------------------------------------------------ deaths

    def _child_died(self, child: Child, death: Death) -> None:
        self._deaths.append((child, death))
        self._news.set()

    def _take_deaths(self) -> None:
        while self._deaths:
            child, death = self._deaths.popleft()
            if child.state == "running" and child.death is death:  # else it was stopped, or started anew, since
                self._note_death(child, death.cause)

    def _note_death(self, child: Child, cause: BaseException | None) -> None:
        """Count it, and set when its next life is due. Raises TooManyDeaths when the budget is spent.

        A child that stopped without being asked by its supervisor counts too: children are there to stay.
        """
        now_s = self._loop.time()
        child.last_error = repr(cause) if cause is not None else "stopped by somebody else"
        child.deaths_in_row = self._backoff.deaths_in_row(child.deaths_in_row, child.lived_s(now_s))
        child.started_at_s = None
        self._deaths_at_s = [*self._budget.recent(self._deaths_at_s, now_s), now_s]
        if self._budget.is_spent(self._deaths_at_s, now_s):
            child.state = "failed"
            raise TooManyDeaths(self.name, child.name, self._budget.restarts_max, self._budget.within_s) from cause
        child.state = "restarting"
        delay_s = self._backoff.delay_s(child.deaths_in_row, self._jitter())
        child.due_s = now_s + delay_s
        log.warning("actor.restarting", actor=child.name, supervisor=self.name, delay_s=delay_s, error=child.last_error)

    async def _stop_behind_first_down(self) -> None:
        """rest_for_one: those that started after a dead child may rely on it, and start again after it."""
        down = [i for i, child in enumerate(self.children) if child.state != "running"]
        if down:
            await self._stop_to_restart(self.children[down[0] + 1 :])

    async def _stop_to_restart(self, children: Sequence[Child]) -> None:
        for child in reversed(children):
            if child.state == "running":
                await child.stop("restarting")
                child.due_s = 0.0

    # ------------------------------------------------------------------ restarts that were asked for

    def _ask_restart(self, name: str) -> "asyncio.Future[bool]":
        child = next((child for child in self.children if child.name == name), None)
        if child is None:
            msg = f"{self.name} has no child {name}"
            raise UnknownActor(msg)
        done: asyncio.Future[bool] = self._loop.create_future()
        self._restarts.setdefault(child, []).append(done)
        self._news.set()
        return done

    async def _take_restarts(self) -> None:
        while self._restarts:
            child, waiters = self._restarts.popitem()
            self._awaited.setdefault(child, []).extend(waiters)
            first = self.children.index(child)
            last = len(self.children) if self._strategy == "rest_for_one" else first + 1
            await self._stop_to_restart(self.children[first:last])
            child.due_s = 0.0  # one that waits for its backoff starts now

    # ------------------------------------------------------------------ the end

    async def _halt(self) -> None:
        """No more starting or stopping by the keeper. It awaits only, so it ends when it is cancelled."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])

    async def _end_all(self, *, kill: bool) -> None:
        for child in reversed(self.children):
            child.state = "failed" if child.state == "failed" else "stopped"
            try:
                await (child.kill() if kill else child.stop(child.state))
            except Unkillable as error:
                # The others still have to go; what ends this one is the end of the process.
                self._lost(error, "a child")
