"""One child of a supervisor: how it is to be run (ChildSpec), and its present life (Child). It decides nothing."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from dispatcher.actors.runtime import Address, AsyncioActor, Death, Observer, Ping, ReplyLost
from dispatcher.actors.runtime.children import CHILDREN_TIMEOUT_S
from dispatcher.actors.supervision.info import ActorInfo, StartFailed, State, Unkillable

log = structlog.get_logger(__name__)

_MARGIN_S = 1.0


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How to run a child.

    `factory` makes a new actor, not started, for each life: what a former life knew is read from the database.
    `address` is bound once the actor has answered its first ping, and unbound when it ends.
    `start_timeout_s`: from launch to the first ping's answer, so `on_start` is in it.
    `stop_timeout_s`: from the Stop to the end; after it the actor's task is cancelled.
    A supervisor as a child gets at least what its own children may need.
    """

    name: str
    factory: Callable[[], AsyncioActor]
    address: Address | None = None
    start_timeout_s: float = 10.0
    stop_timeout_s: float = 10.0


class Child:
    """A child and its present life. `on_death` is called when a running life ends unasked."""

    def __init__(self, spec: ChildSpec, on_death: Callable[["Child", Death], None]) -> None:
        self.spec = spec
        self.name = spec.name
        self.address = spec.address if spec.address is not None else Address(spec.name)
        self.actor: AsyncioActor | None = None
        self.state: State = "starting"
        self.death: Death | None = None
        self.lives = 0
        self.restarts = 0
        self.last_error: str | None = None
        self.started_at_s: float | None = None
        self.deaths_in_row = 0
        self.due_s = 0.0
        self._on_death = on_death
        self._handled_before = 0
        self._dead = asyncio.Event()

    # ------------------------------------------------------------------ a life

    async def start(self, observer: Observer) -> None:
        """A new life, up to the answer of its first ping. Raises StartFailed (then nothing of it is left running)."""
        self.actor, self.death, self._dead, self.started_at_s = None, None, asyncio.Event(), None
        try:
            actor = self.actor = self.spec.factory()
            ref = actor.launch(name=self.name, observer=observer, on_death=partial(self._died, actor))
        except Exception as error:
            raise StartFailed(self.name, error) from error
        timeout_s = max(self.spec.start_timeout_s, actor.start_bound_s())
        try:
            async with asyncio.timeout(timeout_s):
                await ref.ask(Ping(), block=False)
        except TimeoutError:
            await self.kill()
            late = TimeoutError(f"no answer to a ping within {timeout_s:g} s")
            raise StartFailed(self.name, late) from late
        except ReplyLost:
            await self._wait_dead(actor)
        if self.death is not None:
            raise StartFailed(self.name, self.death.cause) from self.death.cause
        self.started_at_s = asyncio.get_running_loop().time()
        self.restarts += 1 if self.lives else 0
        self.lives += 1
        self.state = "running"
        self.address.bind(ref, observer)

    async def stop(self, state: State) -> None:
        """End the present life, if there is one: asked first, cancelled when it takes too long. Raises Unkillable."""
        self.state = state
        self.address.unbind()
        actor = self.actor
        if actor is None or self.death is not None:
            return
        actor.stop()
        timeout_s = max(self.spec.stop_timeout_s, actor.stop_bound_s())
        try:
            async with asyncio.timeout(timeout_s):
                await self._dead.wait()
        except TimeoutError:
            log.warning("actor.killed", actor=self.name, stop_timeout_s=timeout_s)
            await self.kill()

    async def kill(self) -> None:
        """Cancel the present life, if there is one. Raises Unkillable when it goes on regardless."""
        self.address.unbind()
        if self.actor is not None and self.death is None:
            self.actor.kill()
            await self._wait_dead(self.actor)

    async def _wait_dead(self, actor: AsyncioActor) -> None:
        timeout_s = kill_bound_s(actor)
        try:
            async with asyncio.timeout(timeout_s):
                await self._dead.wait()
        except TimeoutError:
            msg = f"{self.name} goes on, {timeout_s:g} s after it was cancelled"
            raise Unkillable(msg) from None

    def _died(self, actor: AsyncioActor, death: Death) -> None:
        self._handled_before += actor.handled_total
        if actor is not self.actor:
            return  # a former life, given up as unkillable, has ended after all
        self.death = death
        self._dead.set()
        self.address.unbind()
        if self.state == "running":
            self._on_death(self, death)

    # ------------------------------------------------------------------ seen from outside

    def lived_s(self, now_s: float) -> float | None:
        """How long the last life ran; None when it never came to run."""
        return None if self.started_at_s is None else now_s - self.started_at_s

    def info(self, path: str, parent: str | None) -> ActorInfo:
        """The child as it is now."""
        actor = self.actor
        living = actor is not None and self.death is None
        running_s = self.lived_s(asyncio.get_running_loop().time()) if living else None
        return ActorInfo(
            name=self.name,
            path=path,
            parent=parent,
            state=self.state,
            mailbox_depth=len(actor.actor_inbox) if actor is not None and living else 0,
            mailbox_max=actor.inbox_max if actor is not None else 0,
            restarts=self.restarts,
            last_error=self.last_error,
            started_at=self.started_at_s if living else None,
            age_s=running_s,
            handled_total=self._handled_before + (actor.handled_total if actor is not None and living else 0),
        )


def kill_bound_s(actor: AsyncioActor) -> float:
    """What an actor may take to end once cancelled: its `on_failure`, its tasks, those of its deferred replies."""
    return actor.failure_bound_s() + 2 * CHILDREN_TIMEOUT_S + _MARGIN_S
