"""Asking and telling: what an asker gets, and what becomes of messages that cannot be taken."""

import asyncio
from typing import Any

import pytest
from pykka import ActorDeadError, ActorRegistry

from dispatcher.actors.runtime import ActorUnavailable, Address, AsyncioActor, InboxFull, Ping, Stop
from tests.loopguard import lost_on


class Till(AsyncioActor):
    """Adds up numbers; waits at a gate when told to; fails at words."""

    inbox_max = 4

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []
        self.gate = asyncio.Event()
        self.at_gate = asyncio.Event()

    async def on_receive(self, message: Any) -> Any:
        match message:
            case int():
                self.seen.append(message)
                return sum(self.seen)
            case "wait":
                self.at_gate.set()
                await self.gate.wait()
                return "waited"
            case "inner cancellation":
                future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                future.cancel()
                await future
            case _:
                raise ValueError(message)
        return None


def started(actor: AsyncioActor) -> Address:
    address = Address("till")
    address.bind(actor.launch(name="till"))
    return address


async def stopped(actor: AsyncioActor) -> None:
    await actor.actor_ref.ask(Stop(), block=False)


async def test_messages_are_handled_one_at_a_time_in_order() -> None:
    """Twenty askers at once: every one gets its answer, and the actor has seen the messages in the order of asking."""
    till = Till()
    address = started(till)
    assert await asyncio.gather(*(address.ask(n) for n in range(20))) == [sum(range(n + 1)) for n in range(20)]
    assert till.seen == list(range(20))
    assert till.handled_total == 20
    await stopped(till)


async def test_an_exception_in_an_ask_is_the_askers_and_the_actor_lives() -> None:
    """The asker gets the exception itself; the next ask is answered by the same actor."""
    till = Till()
    address = started(till)
    with pytest.raises(ValueError, match="words"):
        await address.ask("words")
    assert await address.ask(1) == 1
    await stopped(till)


async def test_an_exception_in_a_tell_is_the_actors_end() -> None:
    """Nobody waits for a tell, so its exception fails the actor; unsupervised, the loop's handler is told."""
    lost = lost_on(asyncio.get_running_loop())
    till = Till()
    address = started(till)
    assert address.tell("words")
    with pytest.raises(ActorUnavailable) as error:
        await address.ask(1)
    assert error.value.why == "died"
    await till.join()
    assert [type(context["exception"]) for context in lost] == [ValueError]


async def test_an_unknown_message_is_a_bug() -> None:
    """An actor without a handler for a message says so, loudly."""
    actor = AsyncioActor()
    address = started(actor)
    with pytest.raises(TypeError, match="does not take 'hello'"):
        await address.ask("hello")
    await stopped(actor)


async def test_an_ask_waits_for_the_actor_to_be_bound() -> None:
    """An address exists before its actor: an ask made then is answered once there is one."""
    address = Address("till")
    asking = asyncio.create_task(address.ask(5))
    await asyncio.sleep(0)
    till = Till()
    address.bind(till.launch())
    assert await asking == 5
    await stopped(till)


async def test_an_ask_of_nobody_says_not_started() -> None:
    """`why` tells that the message was never taken."""
    with pytest.raises(ActorUnavailable, match="till is unavailable: not_started") as error:
        await Address("till").ask(1, timeout_s=0.01)
    assert (error.value.name, error.value.why) == ("till", "not_started")


async def test_an_ask_that_is_not_answered_in_time_says_timeout() -> None:
    """The message was taken; the asker does not know more. The late answer hurts nobody."""
    till = Till()
    address = started(till)
    with pytest.raises(ActorUnavailable) as error:
        await address.ask("wait", timeout_s=0.01)
    assert error.value.why == "timeout"
    till.gate.set()
    assert await address.ask(1) == 1
    await stopped(till)


async def test_a_full_inbox_pushes_back() -> None:
    """`tell` is refused and counted, `tell_or_raise` raises, an ask waits for room and is answered in turn."""
    till = Till()
    address = started(till)
    address.tell("wait")
    await till.at_gate.wait()
    assert [address.tell(n) for n in range(5)] == [True, True, True, True, False]
    assert address.dropped_total == 1
    with pytest.raises(InboxFull, match=r"the inbox of till is full \(4 messages\)"):
        address.tell_or_raise(9)
    with pytest.raises(InboxFull):
        till.actor_ref.tell(9)
    with pytest.raises(ActorUnavailable) as error:
        await address.ask(9, timeout_s=0.01)
    assert error.value.why == "full"
    waiting = [asyncio.create_task(address.ask(n)) for n in (10, 20)]
    await asyncio.sleep(0)
    till.gate.set()
    assert await asyncio.gather(*waiting) == [16, 36]
    assert till.seen == [0, 1, 2, 3, 10, 20]
    await stopped(till)


async def test_room_goes_to_who_waits_longest() -> None:
    """A tell that comes when room comes does not overtake an asker who waits for it."""
    till = Till()
    address = started(till)
    address.tell("wait")
    await till.at_gate.wait()
    for n in range(4):
        address.tell(n)
    asker = asyncio.create_task(address.ask(100))
    await asyncio.sleep(0)
    till.gate.set()
    while till.seen[:1] != [0]:
        await asyncio.sleep(0)
    while not address.tell(7):
        await asyncio.sleep(0)
    await asker
    await stopped(till)
    assert till.seen == [0, 1, 2, 3, 100, 7]


async def test_tells_to_nobody() -> None:
    """A hint to an actor that is away is dropped and counted; what must not be dropped raises."""
    address = Address("till")
    assert address.tell(1) is False
    assert address.dropped_total == 1
    with pytest.raises(ActorUnavailable, match="not_started"):
        address.tell_or_raise(1)


async def test_work_for_an_asker_who_gave_up_is_not_begun() -> None:
    """Under overload the time goes to those who still wait."""
    till = Till()
    address = started(till)
    address.tell("wait")
    await till.at_gate.wait()
    with pytest.raises(ActorUnavailable):
        await address.ask(1, timeout_s=0.01)
    till.gate.set()
    assert await address.ask(2) == 2
    assert till.seen == [2]
    await stopped(till)


async def test_an_actor_that_asks_itself_is_told() -> None:
    """It would wait for itself until the timeout: a bug, said at once."""

    class Narcissus(AsyncioActor):
        async def on_receive(self, message: Any) -> Any:
            return await address.ask("and you?")

    actor = Narcissus()
    address = started(actor)
    with pytest.raises(RuntimeError, match="asks itself"):
        await address.ask("who?")
    await stopped(actor)


async def test_a_cancelled_asker_is_cancelled_and_an_inner_cancellation_is_not_its_own() -> None:
    """The asker's own cancellation comes through; work that was cancelled under it is ActorUnavailable."""
    till = Till()
    address = started(till)
    with pytest.raises(ActorUnavailable) as error:
        await address.ask("inner cancellation")
    assert error.value.why == "died"
    asker = asyncio.create_task(address.ask("wait"))
    await till.at_gate.wait()
    asker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asker
    till.gate.set()
    assert await address.ask(3) == 3
    await stopped(till)


async def test_a_ping_is_answered_by_the_runtime() -> None:
    """It goes through the inbox, and not through `on_receive`; it does not count as work."""
    till = Till()
    address = started(till)
    assert await address.ask(Ping()) is True
    assert till.handled_total == 0
    await stopped(till)


async def test_a_stopped_actor_is_found_nowhere() -> None:
    """Pykka's registry forgets it, its ref says it is dead, a second stop says so."""
    till = Till()
    ref = till.launch()
    assert ref in ActorRegistry.get_all()
    assert await ref.stop(block=False) is True
    assert ref not in ActorRegistry.get_all()
    assert not ref.is_alive()
    assert await ref.stop(block=False) is False
    with pytest.raises(ActorDeadError):
        ref.tell(1)
    with pytest.raises(ActorDeadError):
        await ref.ask(1, block=False)


async def test_an_error_of_the_handlers_own_is_not_the_actors_death() -> None:
    """A handler that met the death of somebody else passes on that error, as itself."""

    class Between(AsyncioActor):
        async def on_receive(self, message: Any) -> Any:
            return await dead.ask(message, block=False)

    till = Till()
    dead = till.launch()
    await stopped(till)
    between = Between()
    with pytest.raises(ActorDeadError, match="Till"):
        await started(between).ask(1)
    await stopped(between)


async def test_proxies_work_with_plain_and_async_methods() -> None:
    """Pykka's proxies are messages like others; a coroutine is awaited by the actor."""

    class Shop(AsyncioActor):
        town = "Athens"

        def open(self) -> str:
            return "open"

        async def close(self) -> str:
            await asyncio.sleep(0)
            return "closed"

    proxy = Shop.start().proxy()
    assert [await proxy.open(), await proxy.close(), await proxy.town] == ["open", "closed", "Athens"]
    await proxy.actor_ref.ask(Stop(), block=False)


async def test_the_loop_turns_while_an_inbox_is_never_empty() -> None:
    """An actor that tells itself for ever leaves the loop to others every 64 messages."""

    class Busy(AsyncioActor):
        async def on_receive(self, message: Any) -> None:
            self.tell_self(message)

    busy = Busy()
    address = started(busy)
    address.tell("again")
    await asyncio.sleep(0)
    before = busy.handled_total
    await asyncio.sleep(0)
    assert 0 < busy.handled_total - before <= 64
    await stopped(busy)
