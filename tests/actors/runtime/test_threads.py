"""Other threads: they may ask and tell an actor on the loop; nobody may block the loop itself."""

import asyncio
import threading
from typing import Any

import pykka
import pytest

from dispatcher.actors.runtime import ActorUnavailable, Address, AsyncioActor, AsyncioFuture, InboxFull, ReplyLost, Stop


class Counter(AsyncioActor):
    """Counts; notes in which thread."""

    inbox_max = 16

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self.threads: set[int] = set()
        self.gate = asyncio.Event()

    async def on_receive(self, message: Any) -> Any:
        self.threads.add(threading.get_ident())
        match message:
            case int():
                self.total += message
                return self.total
            case "later":
                return asyncio.create_task(asyncio.sleep(0.001, "late"))
            case "wait":
                await self.gate.wait()
            case _:
                raise ValueError(message)
        return None


@pytest.fixture
async def counter() -> Any:
    actor = Counter()
    address = Address("counter")
    address.bind(actor.launch(name="counter", on_death=lambda _: None))
    yield actor, address
    actor.kill()
    await actor.join()


async def test_a_thread_asks_and_tells(counter: Any) -> None:
    """The thread waits for the answer; the handler runs on the loop's thread."""
    actor, address = counter

    def work() -> list[Any]:
        answers = [address.call_from_thread(1), address.call_from_thread("later")]
        address.tell_from_thread(2)
        answers.append(address.call_from_thread(3))
        with pytest.raises(ValueError, match="words"):
            address.call_from_thread("words")
        with pytest.raises(ActorUnavailable, match="timeout"):
            address.call_from_thread("wait", timeout_s=0.01)
        return answers

    assert await asyncio.to_thread(work) == [1, "late", 6]
    assert actor.threads == {threading.get_ident()}


async def test_pykkas_own_ways_work_from_a_thread(counter: Any) -> None:
    """A ref's ask blocks the thread, its tell is in order, its timeout is Pykka's."""
    actor, _ = counter
    ref = actor.actor_ref

    def work() -> list[Any]:
        ref.tell(1)
        answers = [ref.ask(2), ref.ask(3, block=False).get(timeout=5)]
        with pytest.raises(pykka.Timeout):
            ref.ask("wait", timeout=0.01)
        return answers

    assert await asyncio.to_thread(work) == [3, 6]
    actor.gate.set()
    assert await asyncio.to_thread(lambda: (ref.stop(), ref.stop())) == (True, False)


async def test_four_threads_lose_nothing(counter: Any) -> None:
    """A full inbox holds the teller, it does not lose its message."""
    actor, address = counter

    def tell() -> None:
        for _ in range(250):
            actor.actor_ref.tell(1)

    await asyncio.gather(*(asyncio.to_thread(tell) for _ in range(4)))
    assert await address.ask(0) == 1000


async def test_a_thread_is_not_held_by_a_full_inbox_for_ever(counter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """InboxFull after a while; and after the end of the actor ReplyLost."""
    monkeypatch.setattr("dispatcher.actors.runtime.inbox.THREAD_PUT_TIMEOUT_S", 0.01)
    actor, address = counter
    address.tell("wait")
    await asyncio.sleep(0)
    while address.tell(1):
        pass
    with pytest.raises(InboxFull):
        await asyncio.to_thread(actor.actor_ref.tell, 1)
    inbox = actor.actor_inbox
    actor.kill()
    await actor.join()
    with pytest.raises(ReplyLost):
        await asyncio.to_thread(inbox.put, pykka._envelope.Envelope(1))


async def test_the_loop_cannot_be_blocked(counter: Any) -> None:
    """Every blocking way raises on the loop instead of waiting for what the loop itself has to do."""
    actor, address = counter
    reply = actor.actor_ref.ask("later", block=False)
    with pytest.raises(RuntimeError, match="would block the event loop"):
        reply.get()
    with pytest.raises(RuntimeError, match="would block the event loop"):
        address.call_from_thread(1)
    assert await reply == "late"
    assert reply.get() == "late"  # nothing to wait for any more
    with pytest.raises(RuntimeError, match="would block the event loop"):
        actor.actor_ref.stop()


async def test_an_actor_cannot_be_made_off_the_loop() -> None:
    """It is a task of a loop: without one it says so."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        await asyncio.to_thread(Counter)


async def test_a_thread_that_asks_nobody() -> None:
    """An address that was never bound has no loop to wait on."""
    with pytest.raises(ActorUnavailable, match="not_started"):
        await asyncio.to_thread(Address("nobody").call_from_thread, 1)
    with pytest.raises(ActorUnavailable, match="not_started"):
        await asyncio.to_thread(Address("nobody").tell_from_thread, 1)


def test_a_loop_that_is_gone_answers_nobody() -> None:
    """After the process's loop has closed, a thread is told, and no coroutine is left behind."""
    address = Address("counter")

    async def live() -> pykka.ActorRef[Any]:
        actor = Counter()
        address.bind(actor.launch(on_death=lambda _: None))
        await actor.actor_ref.ask(Stop(), block=False)
        return actor.actor_ref

    inbox = asyncio.run(live()).actor_inbox
    with pytest.raises(ActorUnavailable, match="died"):
        address.call_from_thread(1)
    with pytest.raises(ReplyLost):
        inbox.put(pykka._envelope.Envelope(1))


async def test_futures_cross_threads() -> None:
    """Set here and got there, set there and awaited here; what is derived from one is awaited on a thread."""
    here: AsyncioFuture[int] = AsyncioFuture()
    waiting = asyncio.create_task(asyncio.to_thread(here.get))
    here.set(1)
    assert await waiting == 1
    there: AsyncioFuture[int] = await asyncio.to_thread(AsyncioFuture)
    await asyncio.to_thread(there.set, 2)
    assert await there == 2
    again: AsyncioFuture[int] = AsyncioFuture()
    await asyncio.to_thread(again.set, 3)
    assert await again.map(lambda value: value + 1) == 4


async def test_a_future_is_set_once() -> None:
    """A second value, or a value for what a hook computes, is a bug."""
    future: AsyncioFuture[int] = AsyncioFuture()
    future.set(1)
    with pytest.raises(asyncio.InvalidStateError):
        future.set(2)
    with pytest.raises(asyncio.InvalidStateError):
        future.map(lambda value: value).set(2)
    with pytest.raises(ValueError, match="no exception"):
        AsyncioFuture[int]().set_exception()


async def test_a_future_carries_any_exception() -> None:
    """The one being handled; a StopIteration, wrapped, for it would end who awaits; a handler's own TimeoutError."""
    future: AsyncioFuture[int] = AsyncioFuture()
    try:
        dict[str, int]()["handled"]
    except KeyError:
        future.set_exception()
    with pytest.raises(KeyError, match="handled"):
        await future
    stop: AsyncioFuture[int] = AsyncioFuture()
    stop.fail(StopIteration())
    with pytest.raises(RuntimeError, match="StopIteration"):
        await stop
    late: AsyncioFuture[int] = AsyncioFuture()
    getting = asyncio.create_task(asyncio.to_thread(late.get))
    late.fail(TimeoutError("its own"))
    with pytest.raises(TimeoutError, match="its own"):
        await getting
