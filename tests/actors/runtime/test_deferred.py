"""Deferred replies: the actor goes on, the asker is answered when the future completes, whatever way it does."""

import asyncio
from typing import Any

import pytest

from dispatcher.actors.runtime import ActorUnavailable, Address, AsyncioActor, AsyncioFuture, Ping, Stop
from tests.loopguard import lost_on


class Kitchen(AsyncioActor):
    """Every order is a future of the test's; it is the answer."""

    deferred_max = 3

    async def on_receive(self, message: Any) -> Any:
        return message() if callable(message) else message


def opened() -> tuple[Kitchen, Address]:
    kitchen, address = Kitchen(), Address("kitchen")
    address.bind(kitchen.launch(name="kitchen"))
    return kitchen, address


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.mark.parametrize("make", [lambda: asyncio.get_running_loop().create_future(), AsyncioFuture])
async def test_the_actor_goes_on_while_a_reply_is_owed(make: Any) -> None:
    """A ping and other messages are answered meanwhile; then the asker gets the value."""
    kitchen, address = opened()
    soup = make()
    asking = asyncio.create_task(address.ask(soup))
    assert await address.ask(Ping()) is True
    assert await address.ask("salad") == "salad"
    assert not asking.done()
    (soup.set if isinstance(soup, AsyncioFuture) else soup.set_result)("soup")
    assert await asking == "soup"
    await kitchen.actor_ref.ask(Stop(), block=False)


async def test_an_exception_is_piped() -> None:
    """The asker gets it as itself; the actor lives."""
    kitchen, address = opened()

    async def burn() -> None:
        raise ValueError("burnt")

    with pytest.raises(ValueError, match="burnt"):
        await address.ask(lambda: asyncio.create_task(burn()))
    with pytest.raises(ValueError, match="burnt"):
        await address.ask(lambda: kitchen.spawn(burn(), name="burn"))
    assert await address.ask(1) == 1
    await kitchen.actor_ref.ask(Stop(), block=False)


async def test_a_cancellation_is_piped() -> None:
    """Work that was cancelled is no answer: ActorUnavailable at the asker, who is not cancelled itself."""
    kitchen, address = opened()
    soup: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    asking = asyncio.create_task(address.ask(soup))
    await turn()
    soup.cancel()
    with pytest.raises(ActorUnavailable) as error:
        await asking
    assert error.value.why == "died"
    await kitchen.actor_ref.ask(Stop(), block=False)


async def test_one_future_may_answer_many() -> None:
    """Askers of the same work share it."""
    kitchen, address = opened()
    soup: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    askers = [asyncio.create_task(address.ask(soup)) for _ in range(3)]
    await turn()
    soup.set_result("soup")
    assert await asyncio.gather(*askers) == ["soup"] * 3
    await kitchen.actor_ref.ask(Stop(), block=False)


async def test_an_actor_that_stops_first_answers_that_it_is_dead() -> None:
    """The reply is not left hanging, and the task behind it is cancelled."""
    kitchen, address = opened()
    cook = asyncio.create_task(asyncio.Event().wait())
    asking = asyncio.create_task(address.ask(cook))
    await turn()
    await kitchen.actor_ref.ask(Stop(), block=False)
    with pytest.raises(ActorUnavailable) as error:
        await asking
    assert (error.value.why, cook.cancelled()) == ("died", True)


async def test_on_stop_may_wait_for_what_is_owed() -> None:
    """An actor whose on_stop settles gives every asker its answer before it ends."""

    class Careful(Kitchen):
        async def on_stop(self) -> None:
            assert await self.settle(5.0)

    kitchen, address = Careful(), Address("kitchen")
    address.bind(kitchen.launch(name="kitchen"))
    soup: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    asking = asyncio.create_task(address.ask(soup))
    await turn()
    stopping: Any = kitchen.actor_ref.ask(Stop(), block=False)
    await turn()
    assert not stopping.done()
    soup.set_result("soup")
    assert await asking == "soup"
    await stopping


async def test_settling_is_bounded() -> None:
    """What takes too long is left owed."""
    kitchen, address = opened()
    soup: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    asking = asyncio.create_task(address.ask(soup))
    await turn()
    assert await kitchen.settle(0.01) is False
    soup.set_result("soup")
    assert await asking == "soup"
    assert await kitchen.settle(0.01) is True
    await kitchen.actor_ref.ask(Stop(), block=False)


async def test_the_exception_of_a_told_deferred_is_the_actors_end() -> None:
    """Nobody waits for it, so it is as if the handler had raised."""
    lost = lost_on(asyncio.get_running_loop())
    kitchen, address = opened()
    soup: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    address.tell(soup)
    await turn()
    soup.set_exception(ValueError("burnt"))
    with pytest.raises(ActorUnavailable):
        await address.ask("salad", timeout_s=0.1)
    await kitchen.join()
    assert not kitchen.actor_ref.is_alive()
    assert [str(context["exception"]) for context in lost] == ["burnt"]


async def test_an_exception_whose_asker_has_gone_is_not_lost_unseen() -> None:
    """The asker gave up; the exception that comes later goes to the loop's handler, and the actor lives."""
    lost = lost_on(asyncio.get_running_loop())
    kitchen, address = opened()
    soup: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    with pytest.raises(ActorUnavailable):
        await address.ask(soup, timeout_s=0.01)
    soup.set_exception(ValueError("burnt"))
    await turn()
    assert [str(context["exception"]) for context in lost] == ["burnt"]
    assert await address.ask(1) == 1
    await kitchen.actor_ref.ask(Stop(), block=False)


async def test_what_is_owed_is_bounded() -> None:
    """An actor that owes `deferred_max` replies takes the next message when one is paid."""
    kitchen, address = opened()
    orders: list[asyncio.Future[int]] = [asyncio.get_running_loop().create_future() for _ in range(3)]
    askers = [asyncio.create_task(address.ask(order)) for order in orders]
    await turn()
    fourth = asyncio.create_task(address.ask(4))
    await turn()
    assert not fourth.done()
    orders[0].set_result(1)
    assert await fourth == 4
    for order in orders[1:]:
        order.set_result(1)
    assert await asyncio.gather(*askers) == [1, 1, 1]
    await kitchen.actor_ref.ask(Stop(), block=False)
