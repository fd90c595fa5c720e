"""The tree as the daemon and the operators see it: snapshot, probe, restart on demand."""

import asyncio
from typing import Any

import pytest

from dispatcher.actors.runtime import ActorUnavailable, AsyncioActor
from dispatcher.actors.supervision import ChildSpec, RestartBackoff, Supervisor, Tree, Unhealthy, UnknownActor
from tests.actors.supervisor.family import MANY, SOON, Family, until


async def test_a_snapshot_shows_every_actor_as_it_is() -> None:
    """Before, during and after; counts go on over restarts."""
    family = Family("a", "b")
    tree = Tree(family.supervisor())
    await tree.start()
    await family.ask("a", "count")
    family.addresses["b"].tell("hang")
    await family.diary.until(lambda entries: "hang b" in entries)
    family.addresses["b"].tell("more")
    root, a, b = tree.snapshot()
    assert (root.name, root.path, root.parent, root.state) == ("Root", "Root", None, "running")
    assert (a.path, a.parent, a.state, a.handled_total) == ("Root/a", "Root", "running", 1)
    assert (b.mailbox_depth, b.mailbox_max) == (1, 1024)
    assert a.started_at is not None and a.age_s is not None and a.age_s >= 0
    await tree.restart("a")
    await family.ask("a")
    assert tree.snapshot()[1].handled_total == 2
    tree._root.actor.children[1].actor.kill()  # type: ignore[union-attr]
    await tree.stop()
    assert [(info.state, info.mailbox_depth, info.age_s) for info in tree.snapshot()] == [("stopped", 0, None)] * 3


async def test_a_probe_finds_nothing_in_a_healthy_tree() -> None:
    """Every actor and every supervisor has answered."""
    family = Family("a", "x")
    root = Supervisor([family.spec("a"), ChildSpec("inner", lambda: family.supervisor("x"))])
    tree = Tree(root)
    await tree.start()
    assert await tree.probe(1.0) == []
    await tree.stop()
    assert [sick.why for sick in await tree.probe(1.0)] == ["stopped"] * 4


async def test_a_probe_names_the_sick_all_at_once() -> None:
    """One that hangs and one that waits for its restart; two hanging ones cost the timeout once."""
    family = Family("a", "b", "c", "d")
    tree = Tree(family.supervisor(backoff=RestartBackoff(30.0, 30.0), stop_timeout_s=0.02))
    await tree.start()
    family.addresses["a"].tell("hang")
    family.addresses["b"].tell("hang")
    family.addresses["c"].tell(ValueError("bug"))
    await family.diary.until(lambda entries: {"hang a", "hang b", "fail c"} <= set(entries))
    await until(lambda: tree.snapshot()[3].state == "restarting")
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    sick = await tree.probe(0.2)
    assert loop.time() - started_s < 0.39
    assert sick == [
        Unhealthy("a", "Root/a", "timeout"),
        Unhealthy("b", "Root/b", "timeout"),
        Unhealthy("c", "Root/c", "restarting"),
    ]
    await tree.stop()


async def test_a_restart_on_demand_costs_no_budget() -> None:
    """Stopped in order and started; by name or by path; it is not a death."""
    family = Family("a", "b")
    tree = Tree(family.supervisor())
    await tree.start()
    family.diary.take()
    await tree.restart("a")
    await tree.restart("Root/b")
    assert family.diary.take() == ["stop a", "start a", "stop b", "start b"]
    assert [(info.restarts, info.last_error) for info in tree.snapshot()] == [(0, None), (1, None), (1, None)]
    await tree.stop()


async def test_a_restart_on_demand_follows_the_strategy() -> None:
    """With rest_for_one those after it, too."""
    family = Family("a", "b", "c")
    tree = Tree(family.supervisor(strategy="rest_for_one"))
    await tree.start()
    family.diary.take()
    await tree.restart("b")
    await family.diary.until(lambda entries: "start c" in entries)
    assert family.diary.take() == ["stop c", "stop b", "start b", "start c"]
    await tree.stop()


async def test_a_restart_on_demand_cuts_a_backoff_short() -> None:
    """An operator who has repaired something does not wait half an hour."""
    family = Family("a")
    tree = Tree(family.supervisor(backoff=RestartBackoff(1800.0, 1800.0)))
    await tree.start()
    family.addresses["a"].tell(ValueError("bug"))
    await family.diary.until(lambda entries: "fail a" in entries)
    with pytest.raises(ActorUnavailable, match="not_started"):
        await family.addresses["a"].ask("read", timeout_s=0.01)
    await tree.restart("a")
    assert await family.ask("a") == 0
    await tree.stop()


async def test_a_restart_of_a_nested_supervisor_restarts_what_is_below() -> None:
    """As a child like any other."""
    family = Family("x", "y")
    tree = Tree(Supervisor([ChildSpec("inner", family.supervisor)]))
    await tree.start()
    family.diary.take()
    await tree.restart("inner")
    assert family.diary.take() == ["stop y", "stop x", "start x", "start y"]
    await tree.stop()


async def test_a_restart_of_nobody_is_refused() -> None:
    """Unknown, ambiguous, or the root."""
    family = Family("x")
    twins = [ChildSpec(name, lambda: Supervisor([ChildSpec("twin", AsyncioActor)])) for name in ("left", "right")]
    tree = Tree(Supervisor([family.spec("x"), *twins]))
    await tree.start()
    for name, why in [("z", "0 actors"), ("twin", "2 actors"), ("Root", "is the root")]:
        with pytest.raises(UnknownActor, match=why):
            await tree.restart(name)
    await tree.restart("Root/left/twin")
    await tree.stop()


async def test_the_observer_hears_of_restarts_below() -> None:
    """A tree hands its observer down through every supervisor."""
    restarted, failed = [], []

    class Watcher:
        def handled(self, actor: str, seconds: float, /) -> None:
            """Not the subject."""

        def restarted(self, actor: str, /) -> None:
            restarted.append(actor)

        def failed(self, actor: str, exc: BaseException, /) -> None:
            failed.append((actor, str(exc)))

        def dropped(self, actor: str, /) -> None:
            """Not the subject."""

    family = Family("x")
    inner: Any = ChildSpec("inner", family.supervisor)
    tree = Tree(Supervisor([inner], budget=MANY, backoff=SOON), observer=Watcher())
    await tree.start()
    family.addresses["x"].tell(ValueError("bug"))
    with pytest.raises(ActorUnavailable):
        await family.ask("x")
    await family.ask("x")
    assert (restarted, failed) == (["x"], [("x", "bug")])
    await tree.stop()
