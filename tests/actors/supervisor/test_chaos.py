"""Deaths of every kind at every moment: lives never overlap, order holds, no asker hangs, and everybody is back."""

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest

from dispatcher.actors.runtime import ActorUnavailable, Address, AsyncioActor
from dispatcher.actors.supervision import ChildSpec, RestartBudget, Strategy, Supervisor, Tree
from tests.actors.supervisor.family import SOON, until
from tests.loopguard import lost_on

_NAMES = ("a", "b", "c", "d")
_ROUNDS = 60


class Frail(AsyncioActor):
    """May die in its start, in a message, in a child task, or be killed; knows who lives."""

    def __init__(self, alive: set[str], overlaps: list[str], dice: random.Random) -> None:
        super().__init__()
        self._alive = alive
        self._overlaps = overlaps
        self._dice = dice

    async def on_start(self) -> None:
        """One start in five fails."""
        if self.name in self._alive:
            self._overlaps.append(self.name)
        self._alive.add(self.name)
        await asyncio.sleep(0)
        if self._dice.random() < 0.2:
            raise ValueError("start")

    async def on_stop(self) -> None:
        """In order."""
        await asyncio.sleep(0)
        self._alive.remove(self.name)

    async def on_failure(self, *_cause: Any) -> None:
        """Or not."""
        await asyncio.sleep(0)
        self._alive.discard(self.name)

    async def on_receive(self, message: Any) -> Any:
        """Die in this way, or answer."""
        match message:
            case "raise":
                raise ValueError("message")
            case "child":
                self.spawn(self._break(), name="child")
            case "exit":
                raise SystemExit(3)
            case "kill":
                self.kill()
            case "stop":
                self.stop()
        return self.name

    async def _break(self) -> None:
        await asyncio.sleep(0)
        raise ValueError("child")


def _below(tree: Tree) -> Iterator[str]:
    return (info.name for info in tree.snapshot() if info.state == "running" and info.name in _NAMES)


async def _answer(address: Address) -> Any:
    """The answer of the first life that lives long enough for one."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await address.ask("name")
            except ActorUnavailable:
                continue


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one"])
async def test_whatever_dies_and_when_all_is_well_in_the_end(strategy: Strategy, seed: int) -> None:
    """Two levels of supervisors, two of the children below the inner one, whose budget is spent again and again."""
    dice, alive, overlaps = random.Random(seed), set[str](), list[str]()
    lost = lost_on(asyncio.get_running_loop())
    addresses = {name: Address(name) for name in _NAMES}
    ever = RestartBudget(1_000_000, 60.0)

    def spec(name: str) -> ChildSpec:
        return ChildSpec(name, lambda: Frail(alive, overlaps, dice), addresses[name])

    def inner() -> Supervisor:
        return Supervisor([spec("b"), spec("c")], strategy=strategy, budget=RestartBudget(3, 60.0), backoff=SOON)

    tree = Tree(
        Supervisor([spec("a"), ChildSpec("inner", inner), spec("d")], strategy=strategy, budget=ever, backoff=SOON)
    )
    await tree.start()
    for _ in range(_ROUNDS):
        name = dice.choice(_NAMES)
        addresses[name].tell(dice.choice(("raise", "child", "exit", "kill", "stop")))
        if dice.random() < 0.5:
            try:
                assert await addresses[name].ask("name") == name
            except ActorUnavailable as error:
                assert error.why == "died"  # taken by the life that died, never left without an answer
        for _ in range(dice.randrange(6)):
            await asyncio.sleep(0)
    answers = [await _answer(addresses[name]) for name in _NAMES]
    assert answers == list(_NAMES)
    await until(lambda: set(_below(tree)) == alive == set(_NAMES))
    assert not tree.failed.done()
    await tree.stop()
    assert (alive, overlaps) == (set(), [])
    # A child task may fail in the last moments of an actor that dies of something else: reported, not lost.
    assert {context["message"].rpartition(" ")[0] for context in lost} <= {"the last moments of actor"}
