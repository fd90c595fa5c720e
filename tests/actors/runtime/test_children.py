"""What an actor owns beside its inbox: child tasks and periodic messages live and die with it."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from dispatcher.actors.runtime import ActorExit, ActorUnavailable, Address, AsyncioActor, Death, Stop
from dispatcher.actors.runtime.children import Children
from tests.loopguard import lost_on


class Parent(AsyncioActor):
    """Spawns what it is told; "hang" waits for ever; keeps what it hears."""

    inbox_max = 8
    children_max = 4

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Any] = []
        self.hears = asyncio.Event()
        self.failures: list[BaseException] = []
        self.deaths: list[Death] = []
        self.launch(name="parent", on_death=self.deaths.append)
        self.address = Address("parent")
        self.address.bind(self.actor_ref)

    async def on_receive(self, message: Any) -> Any:
        if isinstance(message, Coroutine):
            self.spawn(message, name="child")
        elif message == "hang":
            await asyncio.Event().wait()
        else:
            self.heard.append(message)
            self.hears.set()

    async def hear(self, count: int) -> None:
        """Wait until it has heard so many messages more."""
        async with asyncio.timeout(5):
            for _ in range(count):
                self.hears.clear()
                await self.hears.wait()

    async def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        self.failures.append(exception_value)


async def fail_when(event: asyncio.Event) -> None:
    await event.wait()
    raise ValueError("child")


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "in the middle of a handler"])
async def test_a_childs_exception_is_the_actors_end(busy: bool) -> None:
    """As if a handler had raised: on_failure is called, an asker in the middle is answered, the watcher is told."""
    parent, now = Parent(), asyncio.Event()
    await parent.address.ask(fail_when(now))
    asking = asyncio.create_task(parent.address.ask("hang", timeout_s=5.0)) if busy else None
    await asyncio.sleep(0)
    now.set()
    await parent.join()
    assert [str(death.cause) for death in parent.deaths] == ["child"]
    assert [str(error) for error in parent.failures] == ["child"]
    if asking is not None:
        with pytest.raises(ActorUnavailable, match="died"):
            await asking


async def test_a_child_fails_an_actor_that_swallows_cancellations() -> None:
    """A handler that takes the cancellation for its own does not keep the actor alive."""

    class Stubborn(Parent):
        async def on_receive(self, message: Any) -> Any:
            try:
                await super().on_receive(message)
            except asyncio.CancelledError:
                self.heard.append("swallowed")

    parent, now = Stubborn(), asyncio.Event()
    await parent.address.ask(fail_when(now))
    parent.address.tell("hang")
    await asyncio.sleep(0)
    now.set()
    await parent.join()
    assert [str(death.cause) for death in parent.deaths] == ["child"]
    assert parent.heard == ["swallowed"]


async def test_a_child_that_ends_or_is_cancelled_harms_nobody() -> None:
    """Only an exception is a failure."""
    parent = Parent()
    done = parent.spawn(asyncio.sleep(0, "value"), name="done")
    cancelled = parent.spawn(asyncio.sleep(60), name="cancelled")
    never_begun = parent.spawn(asyncio.sleep(60), name="never begun")
    never_begun.cancel()
    assert await done == "value"
    cancelled.cancel()
    await asyncio.wait([cancelled, never_begun])
    await parent.address.ask(1)
    await parent.actor_ref.ask(Stop(), block=False)
    assert [death.cause for death in parent.deaths] == [None]


@pytest.mark.parametrize("how", ["stop", "kill", "fail"])
async def test_children_end_with_their_actor(how: str) -> None:
    """Cancelled and awaited: their clean-up is over when the watcher is told of the end."""
    cleaned_up = []

    async def child() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned_up.append(not parent.deaths)

    parent = Parent()
    await parent.address.ask(child())
    await asyncio.sleep(0)
    match how:
        case "stop":
            await parent.actor_ref.ask(Stop(), block=False)
        case "kill":
            parent.kill()
        case "fail":
            parent.address.tell(fail_when(_set()))
    await parent.join()
    assert cleaned_up == [True]


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def test_a_child_that_fails_while_it_is_cancelled_is_not_lost_unseen() -> None:
    """The actor is ending already; the exception goes to the loop's handler."""
    lost = lost_on(asyncio.get_running_loop())

    async def child() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("clean-up")

    parent = Parent()
    await parent.address.ask(child())
    await asyncio.sleep(0)
    await parent.actor_ref.ask(Stop(), block=False)
    assert [str(context["exception"]) for context in lost] == ["clean-up"]


async def test_a_child_that_ignores_its_cancellation_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for children is bounded; the one left behind is named."""
    monkeypatch.setattr("dispatcher.actors.runtime.children.CHILDREN_TIMEOUT_S", 0.01)
    lost, release = lost_on(asyncio.get_running_loop()), asyncio.Event()

    async def child() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    parent = Parent()
    task = parent.spawn(child(), name="mule")
    await asyncio.sleep(0)
    await parent.actor_ref.ask(Stop(), block=False)
    assert [str(context["exception"]) for context in lost] == ["mule did not end when it was cancelled"]
    release.set()
    await task


async def test_a_child_has_no_say_in_the_end_of_the_process() -> None:
    """SystemExit in a child fails its actor; what becomes of the process is the supervisor's to say."""

    async def child() -> None:
        raise SystemExit(3)

    parent = Parent()
    parent.address.tell(child())
    await parent.join()
    assert [type(death.cause) for death in parent.deaths] == [ActorExit]


async def test_children_are_bounded() -> None:
    """One too many is a bug, raised where it is spawned; the coroutine is closed."""
    parent = Parent()
    for _ in range(4):
        parent.spawn(asyncio.sleep(60), name="child")
    with pytest.raises(RuntimeError, match="4 child tasks run already, fifth is one too many"):
        parent.spawn(asyncio.sleep(60), name="fifth")
    await parent.actor_ref.ask(Stop(), block=False)
    with pytest.raises(RuntimeError, match="parent has ended and cannot spawn late"):
        parent.spawn(asyncio.sleep(60), name="late")
    assert len(Children(1, lambda _: None)) == 0


async def test_every_tells_itself_again_and_again() -> None:
    """Until the ticker is cancelled, or the actor ends."""
    parent = Parent()
    ticker = parent.every(0.001, "tick")
    await parent.hear(3)
    ticker.cancel()
    await parent.address.ask("cancelled")  # one may have been in the inbox
    parent.heard.clear()
    parent.every(0.001, "tock")
    await parent.hear(3)
    assert parent.heard == ["tock"] * len(parent.heard)
    await parent.actor_ref.ask(Stop(), block=False)
    assert parent.deaths == [Death("parent", None)]


async def test_every_skips_while_the_former_one_waits() -> None:
    """A slow actor finds one tick in its inbox, not a heap of them."""
    parent, gate = Parent(), asyncio.Event()

    class Slow(Parent):
        async def on_receive(self, message: Any) -> Any:
            if message == "slow":
                self.hears.set()
                await gate.wait()
            else:
                self.heard.append(message)

    slow = Slow()
    slow.address.tell("slow")
    await slow.hears.wait()
    beats = [slow.every(0.001, "tick"), slow.every(0.001, "tock")]
    counter = parent.every(0.001, "beat")
    await parent.hear(5)
    depth = len(slow.actor_inbox)
    for beat in [*beats, counter]:
        beat.cancel()
    gate.set()
    await slow.address.ask("last")
    assert (depth, sorted(slow.heard[:2]), slow.heard[-1]) == (2, ["tick", "tock"], "last")
    assert len(slow.heard) == 3
    for actor in (parent, slow):
        await actor.actor_ref.ask(Stop(), block=False)


async def test_an_interval_is_positive() -> None:
    """Zero would spin."""
    parent = Parent()
    with pytest.raises(ValueError, match="interval_s must be positive"):
        parent.every(0, "tick")
    await parent.actor_ref.ask(Stop(), block=False)
