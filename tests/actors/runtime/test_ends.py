"""How an actor ends: asked, failing, cancelled, or by an exit; and that nobody waits for it after that."""

import asyncio
from typing import Any

import pytest
from pykka import ActorDeadError, ActorRegistry

from dispatcher.actors.runtime import ActorUnavailable, Address, AsyncioActor, Death, ReplyLost, Stop, watch_lost
from tests.loopguard import lost_on


class Mortal(AsyncioActor):
    """Writes down what happens to it; dies as it is told."""

    inbox_max = 4

    def __init__(self, dies_in: str = "") -> None:
        super().__init__()
        self.life: list[Any] = []
        self.deaths: list[Death] = []
        self.gate = asyncio.Event()
        self.at_gate = asyncio.Event()
        self._dies_in = dies_in

    async def on_start(self) -> None:
        self._note("on_start")

    async def on_stop(self) -> None:
        self._note("on_stop")

    async def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        self.life.append(repr(exception_value))
        self.life.append(self.actor_ref in ActorRegistry.get_all())
        self._note("on_failure")

    async def on_receive(self, message: Any) -> Any:
        self.life.append(message)
        match message:
            case "wait":
                self.at_gate.set()
                await self.gate.wait()
            case BaseException():
                raise message

    def _note(self, hook: str) -> None:
        self.life.append(hook)
        if self._dies_in == hook:
            raise ValueError(hook)


def begun(actor: Mortal) -> Address:
    address = Address("mortal")
    address.bind(actor.launch(name="mortal", on_death=actor.deaths.append))
    return address


async def test_a_stop_drains_in_order() -> None:
    """Messages before it are handled, those after are refused; then on_stop, then the watcher is told."""
    mortal = Mortal()
    address = begun(mortal)
    ref = mortal.actor_ref
    before = [ref.ask(n, block=False) for n in (1, 2)]
    stop = ref.ask(Stop(), block=False)
    after = ref.ask(3, block=False)
    with pytest.raises(ActorDeadError):
        ref.tell(4)
    assert address.tell(5) is False
    assert [await reply for reply in [*before, stop]] == [None, None, None]
    with pytest.raises(ReplyLost):
        await after
    await mortal.join()
    assert mortal.life == ["on_start", 1, 2, "on_stop"]
    assert mortal.deaths == [Death("mortal", None)]


async def test_a_full_inbox_still_takes_a_stop() -> None:
    """And who waited for room there is not left waiting: the next life is what they wait for."""
    mortal = Mortal()
    address = begun(mortal)
    address.tell("wait")
    await mortal.at_gate.wait()
    while address.tell(1):
        pass
    waiting = asyncio.create_task(address.ask(2))
    await asyncio.sleep(0)
    stops = [mortal.actor_ref.ask(Stop(), block=False) for _ in range(2)]
    mortal.gate.set()
    assert [await stop for stop in stops] == [None, None]
    second = Mortal()
    address.bind(second.launch())
    assert await waiting is None
    assert second.life == ["on_start", 2]
    await second.actor_ref.ask(Stop(), block=False)


@pytest.mark.parametrize("how", ["fail", "kill", "exit"])
async def test_every_waiting_asker_is_answered_at_the_end(how: str) -> None:
    """One in the handler, some in the inbox, one waiting for room: none hangs."""
    mortal = Mortal()
    address = begun(mortal)
    inside = asyncio.create_task(address.ask("wait"))
    await mortal.at_gate.wait()
    if how != "kill":
        address.tell(ValueError("told") if how == "fail" else SystemExit(3))
    queued = [asyncio.create_task(address.ask(n)) for n in range(6)]
    await asyncio.sleep(0)
    if how == "kill":
        mortal.kill()
    mortal.gate.set()
    await mortal.join()
    second = Mortal()
    address.bind(second.launch())
    whys = []
    for asker in queued:
        try:
            whys.append(await asker)
        except ActorUnavailable as error:
            whys.append(error.why)
    taken = 4 if how == "kill" else 3
    assert whys == ["died"] * (taken + (how != "kill")) + [None] * (6 - taken - (how != "kill"))
    if how == "kill":
        with pytest.raises(ActorUnavailable, match="died"):
            await inside
    else:
        assert await inside is None
    await second.actor_ref.ask(Stop(), block=False)


@pytest.mark.parametrize(
    ("cause", "life"),
    [
        (ValueError("told"), ["ValueError('told')", False, "on_failure"]),
        (SystemExit(3), ["SystemExit(3)", False, "on_failure"]),
    ],
)
async def test_a_failure_unregisters_first_then_runs_the_hook_then_tells(cause: BaseException, life: list[Any]) -> None:
    """An actor has no say in the end of the process: SystemExit is a death like any other."""
    mortal = Mortal()
    begun(mortal).tell(cause)
    await mortal.join()
    assert mortal.life == ["on_start", cause, *life]
    assert mortal.deaths == [Death("mortal", cause)]
    assert not mortal.actor_ref.is_alive()


async def test_system_exit_in_an_ask_is_the_actors_end_too() -> None:
    """It is no answer to anybody."""
    mortal = Mortal()
    with pytest.raises(ActorUnavailable, match="died"):
        await begun(mortal).ask(SystemExit(3))
    await mortal.join()
    assert [type(death.cause) for death in mortal.deaths] == [SystemExit]


async def test_a_kill_is_the_end_wherever_the_actor_waits() -> None:
    """Its own task cancelled in the middle of a handler: on_failure is called with the cancellation."""
    mortal = Mortal()
    address = begun(mortal)
    address.tell("wait")
    await mortal.at_gate.wait()
    mortal.kill()
    await mortal.join()
    assert mortal.life == ["on_start", "wait", "CancelledError()", False, "on_failure"]
    assert [type(death.cause) for death in mortal.deaths] == [asyncio.CancelledError]


async def test_a_cancellation_inside_a_told_handler_is_an_error_like_any() -> None:
    """The handler awaited something that somebody cancelled: nobody takes that, so the actor fails."""
    mortal = Mortal()
    begun(mortal).tell(asyncio.CancelledError())
    await mortal.join()
    assert [type(death.cause) for death in mortal.deaths] == [asyncio.CancelledError]
    assert mortal.life[-1] == "on_failure"


async def test_an_actor_cancelled_before_its_first_step_is_dead_all_the_same() -> None:
    """No hook has run; askers are answered, the watcher is told."""
    mortal = Mortal()
    ref = mortal.launch(name="mortal", on_death=mortal.deaths.append)
    reply = ref.ask(1, block=False)
    mortal.kill()
    with pytest.raises(ReplyLost):
        await reply
    await mortal.join()
    assert mortal.life == []
    assert [type(death.cause) for death in mortal.deaths] == [asyncio.CancelledError]


@pytest.mark.parametrize("hook", ["on_start", "on_stop"])
async def test_a_failing_hook_is_a_failure(hook: str) -> None:
    """The watcher gets the hook's exception; on_failure is called."""
    mortal = Mortal(dies_in=hook)
    begun(mortal)
    mortal.actor_ref.ask(Stop(), block=False)
    await mortal.join()
    assert [str(death.cause) for death in mortal.deaths] == [hook]
    assert mortal.life[-1] == "on_failure"


async def test_a_failing_on_failure_is_not_lost_unseen() -> None:
    """The cause of the death stays the cause; the second error goes to the loop's handler."""
    lost = lost_on(asyncio.get_running_loop())
    mortal = Mortal(dies_in="on_failure")
    begun(mortal).tell(KeyError("told"))
    await mortal.join()
    assert [type(death.cause) for death in mortal.deaths] == [KeyError]
    assert [str(context["exception"]) for context in lost] == ["on_failure"]


async def test_on_failure_is_bounded() -> None:
    """A hook that hangs does not keep the dead."""

    class Clinging(Mortal):
        failure_timeout_s = 0.01

        async def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
            await asyncio.Event().wait()

    lost = lost_on(asyncio.get_running_loop())
    mortal = Clinging()
    begun(mortal).tell(KeyError("told"))
    await mortal.join()
    assert [type(context["exception"]) for context in lost] == [TimeoutError]
    assert [type(death.cause) for death in mortal.deaths] == [KeyError]


async def test_a_cancellation_that_is_pending_at_a_failure_does_not_cut_on_failure_short() -> None:
    """Killed and failing in one step of the loop: one death, with its hook run to the end."""

    class Twice(Mortal):
        async def on_receive(self, message: Any) -> Any:
            self.kill()
            raise ValueError(message)

        async def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
            await asyncio.sleep(0)
            self.life.append("let go")

    mortal = Twice()
    begun(mortal).tell("told")
    await mortal.join()
    assert mortal.life == ["on_start", "let go"]
    assert [str(death.cause) for death in mortal.deaths] == ["told"]


async def test_a_second_kill_cuts_the_teardown_short_and_loses_nothing() -> None:
    """Impatience leaves no asker hanging, and no child running."""

    class Slow(Mortal):
        async def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
            self.at_gate.set()
            await asyncio.Event().wait()

    mortal = Slow()
    address = begun(mortal)
    await address.ask(1)
    child = mortal.spawn(asyncio.sleep(60), name="child")
    asking = asyncio.create_task(address.ask(asyncio.get_running_loop().create_future()))
    await asyncio.sleep(0)
    mortal.kill()
    await mortal.at_gate.wait()
    mortal.kill()
    await mortal.join()
    await asyncio.wait([child])
    assert child.cancelled()
    with pytest.raises(ActorUnavailable, match="died"):
        await asking
    assert [type(death.cause) for death in mortal.deaths] == [asyncio.CancelledError]


async def test_an_exception_is_never_lost_unseen() -> None:
    """`watch_lost` logs and counts: asyncio's forgotten tasks and futures, and what the runtime hands over."""
    seen: list[tuple[str, str]] = []
    loop = asyncio.get_running_loop()
    watch_lost(loop, lambda message, exc: seen.append((message, str(exc))))
    forgotten = loop.create_future()
    forgotten.set_exception(ValueError("forgotten"))
    del forgotten
    mortal = Mortal()
    mortal.launch(name="alone")
    mortal.actor_ref.tell(ValueError("told"))
    await mortal.join()
    assert seen == [
        ("Future exception was never retrieved", "forgotten"),
        ("the death, unsupervised, of actor alone", "told"),
    ]


async def test_the_observer_is_told_of_everything() -> None:
    """What metrics are made of."""
    seen: list[tuple[Any, ...]] = []

    class Watcher:
        def handled(self, actor: str, seconds: float, /) -> None:
            seen.append(("handled", actor, seconds >= 0))

        def restarted(self, actor: str, /) -> None:
            seen.append(("restarted", actor))

        def failed(self, actor: str, exc: BaseException, /) -> None:
            seen.append(("failed", actor, str(exc)))

        def dropped(self, actor: str, /) -> None:
            seen.append(("dropped", actor))

    mortal = Mortal()
    address = Address("mortal")
    address.bind(mortal.launch(name="mortal", observer=Watcher(), on_death=mortal.deaths.append), Watcher())
    address.tell(ValueError("told"))
    for n in range(4):
        address.tell(n)
    await mortal.join()
    assert seen == [
        ("dropped", "mortal"),  # the fifth tell found the inbox full
        ("handled", "mortal", True),
        ("failed", "mortal", "told"),
        *[("dropped", "mortal")] * 3,  # those that waited when it died
    ]
