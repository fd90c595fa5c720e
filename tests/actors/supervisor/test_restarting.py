"""A child that dies is started again: by the strategy, behind its ping, with its state from outside."""

import asyncio
from typing import Any

import pytest

from dispatcher.actors.runtime import ActorUnavailable, Address, AsyncioActor
from dispatcher.actors.supervision import ChildSpec, RestartBackoff, StartFailed, Supervisor, TooManyDeaths, Tree
from tests.actors.supervisor.family import MANY, SOON, Family


async def test_children_start_in_order_and_stop_in_reverse() -> None:
    """Each has answered a ping before the next is made."""
    family = Family("a", "b", "c")
    tree = Tree(family.supervisor())
    await tree.start()
    assert family.diary.take() == ["start a", "start b", "start c"]
    await tree.stop()
    assert family.diary.take() == ["stop c", "stop b", "stop a"]
    assert not tree.failed.done()


async def test_a_child_waits_for_the_one_before() -> None:
    """The second is not made while the first is still in its on_start."""
    family, gate = Family("b"), asyncio.Event()

    class Slow(AsyncioActor):
        async def on_start(self) -> None:
            family.diary.write("starting a")
            await gate.wait()

    tree = Tree(Supervisor([ChildSpec("a", Slow), family.spec("b")]))
    starting = asyncio.create_task(tree.start())
    await family.diary.until(lambda entries: entries == ["starting a"])
    assert [info.state for info in tree.snapshot()] == ["starting", "starting", "starting"]
    gate.set()
    await starting
    assert family.diary.entries == ["starting a", "start b"]
    await tree.stop()


@pytest.mark.parametrize("cause", [ValueError("bug"), SystemExit(3), asyncio.CancelledError()])
async def test_a_child_that_dies_once_is_back(cause: BaseException) -> None:
    """Whatever it dies of. Who asks meanwhile is answered by the next life, whose state comes from outside it."""
    family = Family("a", "b")
    tree = Tree(family.supervisor())
    await tree.start()
    assert [await family.ask("a", "count") for _ in range(2)] == [1, 2]
    family.addresses["a"].tell(cause)
    with pytest.raises(ActorUnavailable, match="died"):
        await family.ask("a")  # in the inbox of the life that dies
    assert await family.ask("a", "count") == 3
    assert family.diary.take() == ["start a", "start b", "fail a", "start a"]
    infos = {info.name: info for info in tree.snapshot()}
    assert (infos["a"].restarts, infos["a"].last_error, infos["a"].state) == (1, repr(cause), "running")
    assert (infos["b"].restarts, infos["b"].last_error) == (0, None)
    await tree.stop()


async def test_a_child_stopped_by_somebody_else_is_back_too() -> None:
    """Children are there to stay: an end that the supervisor did not ask for is a death."""
    family = Family("a")
    tree = Tree(family.supervisor())
    await tree.start()
    await tree._root.actor.children[0].actor.actor_ref.stop(block=False)  # type: ignore[union-attr]
    assert await family.ask("a") == 0
    assert family.diary.take() == ["start a", "stop a", "start a"]
    assert {info.name: info.last_error for info in tree.snapshot()}["a"] == "stopped by somebody else"
    await tree.stop()


async def test_rest_for_one_restarts_those_after_it() -> None:
    """They may rely on the dead one: stopped in reverse, then all started in order; those before are left alone."""
    family = Family("a", "b", "c", "d")
    tree = Tree(family.supervisor(strategy="rest_for_one"))
    await tree.start()
    family.diary.take()
    family.addresses["b"].tell(ValueError("bug"))
    await family.diary.until(lambda entries: "start d" in entries)
    assert family.diary.take() == ["fail b", "stop d", "stop c", "start b", "start c", "start d"]
    assert await family.ask("d") == 0
    assert {info.name: info.restarts for info in tree.snapshot()} == {"Root": 0, "a": 0, "b": 1, "c": 1, "d": 1}
    await tree.stop()


async def test_rest_for_one_when_an_earlier_one_dies_during_the_restart() -> None:
    """The restart begins again at the earlier one."""
    family = Family("a", "b", "c")
    slow = RestartBackoff(base_s=0.05, max_s=0.05)
    tree = Tree(family.supervisor(strategy="rest_for_one", backoff=slow))
    await tree.start()
    family.diary.take()
    family.addresses["b"].tell(ValueError("bug"))
    await family.diary.until(lambda entries: "stop c" in entries)
    family.addresses["a"].tell(ValueError("bug"))
    await family.diary.until(lambda entries: "start c" in entries)
    assert family.diary.take() == ["fail b", "stop c", "fail a", "start a", "start b", "start c"]
    await tree.stop()


async def test_a_failed_start_is_a_death_and_is_tried_again() -> None:
    """Within the budget; the next child waits for it."""
    family = Family("a", "b")
    family.failing_starts["a"] += [ValueError("not yet"), ValueError("not yet")]
    tree = Tree(family.supervisor())
    await tree.start()
    assert family.diary.take() == ["fail a", "fail a", "start a", "start b"]
    assert {info.name: info.last_error for info in tree.snapshot()}["a"] == "ValueError('not yet')"
    await tree.stop()


async def test_a_start_that_takes_too_long_is_cancelled_and_is_a_death() -> None:
    """The life that hangs in its on_start is gone before the next is made."""
    family = Family()

    class Hanging(AsyncioActor):
        async def on_start(self) -> None:
            family.diary.write("start")
            if len(family.diary.entries) == 1:
                await asyncio.Event().wait()

        async def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
            family.diary.write("cancelled")

    tree = Tree(Supervisor([ChildSpec("a", Hanging, start_timeout_s=0.02)], budget=MANY, backoff=SOON))
    await tree.start()
    assert family.diary.take() == ["start", "cancelled", "start"]
    assert tree.snapshot()[1].last_error == "TimeoutError('no answer to a ping within 0.02 s')"
    await tree.stop()


async def test_a_factory_that_fails_is_a_failed_start() -> None:
    """Also one that makes no actor: the supervisor gives up within its budget, with the cause."""
    tree = Tree(Supervisor([ChildSpec("a", lambda: 1 // 0)], backoff=SOON))  # type: ignore[arg-type, return-value]
    with pytest.raises(StartFailed, match="Root did not start"):
        await tree.start()
    cause = await tree.failed
    assert isinstance(cause, TooManyDeaths)
    assert isinstance(cause.__cause__, ZeroDivisionError)
    assert [info.state for info in tree.snapshot()] == ["failed", "failed"]
    await tree.stop()


async def test_a_child_that_does_not_stop_is_cancelled() -> None:
    """After its stop timeout; the stop of the others goes on."""
    family = Family("a", "b")
    tree = Tree(family.supervisor(stop_timeout_s=0.02))
    await tree.start()
    family.addresses["b"].tell("hang")
    await family.diary.until(lambda entries: "hang b" in entries)
    await tree.stop()
    assert family.diary.entries[-2:] == ["fail b", "stop a"]


async def test_backoff_grows_with_each_death_in_a_row() -> None:
    """The wait before a restart is the rule's: measured by the loop's clock, never shorter."""
    family, loop = Family("a"), asyncio.get_running_loop()
    tree = Tree(family.supervisor(backoff=RestartBackoff(base_s=0.02, max_s=1.0)))
    await tree.start()
    waits_s = []
    for _ in range(3):
        family.addresses["a"].tell(ValueError("bug"))
        family.diary.take()
        await family.diary.until(lambda entries: "fail a" in entries)
        died_s = loop.time()
        await family.ask("a")
        waits_s.append(loop.time() - died_s)
    assert all(wait_s >= least_s for wait_s, least_s in zip(waits_s, (0.01, 0.02, 0.04), strict=True))
    await tree.stop()


async def test_a_death_does_not_wait_behind_the_supervisors_inbox() -> None:
    """The inbox of the supervisor is full, and the child is restarted all the same."""
    family = Family("a")
    supervisor = family.supervisor()
    tree = Tree(supervisor)
    await tree.start()
    supervisor.actor_inbox.size_max = 0
    family.addresses["a"].tell(ValueError("bug"))
    await family.diary.until(lambda entries: entries == ["start a", "fail a", "start a"])
    await tree.stop()


async def test_an_unknown_message_to_a_supervisor_is_a_bug() -> None:
    """It fails upward like any other."""
    supervisor = Family("a").supervisor()
    tree = Tree(supervisor)
    await tree.start()
    supervisor.actor_ref.tell("hello")
    async with asyncio.timeout(5):
        assert isinstance(await tree.failed, TypeError)
    await tree.stop()


async def test_children_have_names_of_their_own() -> None:
    """Two of one name is a mistake in the composition, said at once."""
    with pytest.raises(ValueError, match="names of their own"):
        Supervisor([ChildSpec("a", AsyncioActor), ChildSpec("a", AsyncioActor, Address("a"))])
