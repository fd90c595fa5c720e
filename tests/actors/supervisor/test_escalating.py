"""Failure goes upward: over its budget a supervisor fails, and the one above decides; above the root, the process."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dispatcher.actors.runtime import AsyncioActor
from dispatcher.actors.supervision import ChildSpec, RestartBudget, Supervisor, TooManyDeaths, Tree, Unkillable
from tests.actors.supervisor.family import MANY, SOON, Family, until
from tests.loopguard import lost_on


async def test_over_the_budget_the_tree_fails_with_the_cause() -> None:
    """Two deaths are allowed; at the third the others are stopped in order, and `failed` has the chain of causes."""
    family = Family("a", "b")
    tree = Tree(family.supervisor(budget=RestartBudget(2, 60.0)))
    await tree.start()
    for n in range(3):
        assert await family.ask("a") == 0
        family.addresses["a"].tell(ValueError(f"bug {n}"))
        with pytest.raises(Exception, match="died"):
            await family.ask("a")
    async with asyncio.timeout(5):
        cause = await tree.failed
    assert str(cause) == "Root: a died, and that is more than 2 deaths within 60 s"
    assert str(cause.__cause__) == "bug 2"
    assert family.diary.entries[-1] == "stop b"
    assert [info.state for info in tree.snapshot()] == ["failed", "failed", "stopped"]
    await tree.stop()


async def test_a_nested_supervisor_is_a_child_like_any_other() -> None:
    """Its failure is a death to the one above, which makes it anew, with all its children; siblings live on."""
    family = Family("a", "x", "y")
    once = RestartBudget(1, 60.0)
    root = Supervisor(
        [family.spec("a"), ChildSpec("inner", lambda: family.supervisor("x", "y", budget=once))],
        budget=MANY,
        backoff=SOON,
    )
    tree = Tree(root)
    await tree.start()
    assert family.diary.take() == ["start a", "start x", "start y"]
    for _ in range(2):
        await family.ask("x")
        family.addresses["x"].tell(ValueError("bug"))
        with pytest.raises(Exception, match="died"):
            await family.ask("x")
    await until(lambda: [info.restarts for info in tree.snapshot() if info.name == "inner"] == [1])
    assert family.diary.take() == ["fail x", "start x", "fail x", "stop y", "start x", "start y"]
    infos = {info.path: info for info in tree.snapshot()}
    assert list(infos) == ["Root", "Root/a", "Root/inner", "Root/inner/x", "Root/inner/y"]
    assert (infos["Root/inner"].restarts, infos["Root/inner/x"].parent) == (1, "inner")
    assert infos["Root/inner"].last_error == repr(TooManyDeaths("inner", "x", 1, 60.0))
    await tree.stop()
    assert family.diary.take() == ["stop y", "stop x", "stop a"]


async def test_failures_escalate_through_every_level() -> None:
    """A child that cannot live: each level spends its budget, then the tree has failed."""
    family = Family("x")
    never = RestartBudget(1, 60.0)

    def middle() -> Supervisor:
        return Supervisor([ChildSpec("inner", lambda: family.supervisor(budget=never))], budget=never, backoff=SOON)

    family.failing_starts["x"] += [ValueError("for ever")] * 100
    tree = Tree(Supervisor([ChildSpec("middle", middle)], budget=never, backoff=SOON))
    with pytest.raises(Exception, match="Root did not start"):
        await tree.start()
    cause: BaseException | None = await tree.failed
    chain = []
    while cause is not None:
        chain.append(type(cause).__name__)
        cause = cause.__cause__
    assert chain == ["TooManyDeaths", "TooManyDeaths", "TooManyDeaths", "ValueError"]
    assert len(family.failing_starts["x"]) == 100 - 2 * 2 * 2


async def test_a_killed_supervisor_leaves_no_orphan() -> None:
    """Cancelled, it cancels its children before it is gone; the one above makes all of it anew."""
    family = Family("x", "y")
    tree = Tree(Supervisor([ChildSpec("inner", family.supervisor)], budget=MANY, backoff=SOON))
    await tree.start()
    family.diary.take()
    tree._root.actor.children[0].actor.kill()  # type: ignore[union-attr]
    await family.diary.until(lambda entries: "start y" in entries)
    assert family.diary.take() == ["fail y", "fail x", "start x", "start y"]
    await tree.stop()


async def test_a_bug_in_a_supervisor_is_loud() -> None:
    """It fails upward with the bug as the cause."""

    def broken() -> float:
        raise ZeroDivisionError

    family = Family("a")
    tree = Tree(Supervisor([family.spec("a")], budget=MANY, backoff=SOON, jitter=broken))
    await tree.start()
    family.addresses["a"].tell(ValueError("bug"))
    async with asyncio.timeout(5):
        assert isinstance(await tree.failed, ZeroDivisionError)


async def test_a_child_that_cannot_be_killed_has_no_second_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two lives at once would break 'one at a time': the supervisor fails instead, and says who goes on."""
    monkeypatch.setattr("dispatcher.actors.supervision.child.kill_bound_s", lambda _: 0.02)
    lost, release = lost_on(asyncio.get_running_loop()), asyncio.Event()
    lives: list[AsyncioActor] = []

    class Undead(AsyncioActor):
        async def on_start(self) -> None:
            lives.append(self)

        async def on_receive(self, message: Any) -> None:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue

    tree = Tree(Supervisor([ChildSpec("a", Undead, stop_timeout_s=0.02)], budget=MANY, backoff=SOON))
    await tree.start()
    lives[0].actor_ref.tell("hang")
    with pytest.raises(Exception, match="died"):
        await tree.restart("a")
    async with asyncio.timeout(5):
        assert isinstance(await tree.failed, Unkillable)
    assert len(lives) == 1
    assert [type(context["exception"]) for context in lost] == [Unkillable]
    release.set()
    await lives[0].join()


_PROGRAM = """
import asyncio, sys
from dispatcher.actors.runtime import AsyncioActor
from dispatcher.actors.supervision import ChildSpec, RestartBackoff, Supervisor, Tree

class Doomed(AsyncioActor):
    async def on_start(self):
        self.spawn(self.die(), name="die")

    async def die(self):
        raise ValueError("for ever")

async def main():
    tree = Tree(Supervisor([ChildSpec("doomed", Doomed)], backoff=RestartBackoff(0.001, 0.001)))
    await tree.start()
    cause = await tree.failed
    await tree.stop()
    print(cause, file=sys.stderr)
    return 1

if sys.argv[1] == "uvloop":
    import uvloop
    sys.exit(uvloop.run(main()))
sys.exit(asyncio.run(main()))
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_process_whose_tree_fails_exits_non_zero(loop: str) -> None:
    """A child that dies for ever: restarts, the budget, the root, the process; and its last words say why."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", _PROGRAM, loop],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 1, run.stderr
    assert run.stderr.splitlines()[-1] == "Root: doomed died, and that is more than 5 deaths within 60 s"
    assert run.stdout.count("actor.restarting") == 5
