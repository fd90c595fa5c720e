"""Fixtures of the tests that run the whole daemon: one simulator, and one daemon for the tests of a module."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest

from tests.e2e.rig import Rig, rig
from tests.e2e.site import Site, database_of, site
from tests.loopguard import LoopWatch
from tests.providers.sim import SharedSimulator, shared_simulator

NewSite = Callable[..., Site]
ANY = (201, 202)


@pytest.fixture(autouse=True)
def may_hold(loopguard: LoopWatch) -> None:
    """The product runs in another process: what is on this loop is the test's own work."""
    loopguard.may_hold = True


@pytest.fixture(scope="session")
def simulator() -> Iterator[SharedSimulator]:
    """The provider, for one test after the other."""
    with shared_simulator() as running:
        yield running


@pytest.fixture(scope="module")
def shared_site(template_url: str, simulator: SharedSimulator) -> Iterator[Site]:
    """A daemon for the tests of a module, with a database of its own."""
    with database_of(template_url) as url, site(simulator, url) as place:
        place.start()
        yield place


@pytest.fixture
async def shared(shared_site: Site) -> AsyncIterator[Rig]:
    """The module's daemon, with a provider that behaves."""
    async with rig(shared_site) as test:
        yield test


@pytest.fixture
async def calm(shared: Rig) -> Rig:
    """The module's daemon, with a provider that just took a message: it does not rest after a former test's failures."""
    store = await shared.store()
    await store.message(306960000000, "Is all well?", status=ANY)

    async def taken() -> bool:
        return bool((await shared.sim.stats())["reports"]["sent"])

    await shared.until(taken, lambda: "the provider to take a message")
    await shared.sim.reset()
    return shared


@pytest.fixture
def new_site(database_url: str, simulator: SharedSimulator) -> Iterator[NewSite]:
    """Places of a test's own, with a fresh database; `new_site(LEASE_S="1")`. Nothing runs there yet."""
    with ExitStack() as stack:

        def make(*, url: str | None = database_url, command: Any = None, **settings: str) -> Site:
            more = {} if command is None else {"command": command}
            place: AbstractContextManager[Site] = site(simulator, url, settings, **more)
            return stack.enter_context(place)

        yield make
