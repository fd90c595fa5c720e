"""What an error of the database means: wait, give way, or a bug."""

import asyncio

import asyncpg
import pytest

from dispatcher.storage.errors import DatabaseAway, is_away, is_disk_full, is_unique_violation, retry_away
from dispatcher.storage.pool import Database
from tests import pg
from tests.conftest import FreshPg


async def value(db: Database, sql: str, pool: str = "main") -> object:
    """One question to the database."""
    async with db.acquire(pool) as conn:  # type: ignore[arg-type]
        return await conn.fetchval(sql)


async def test_error_of_somebody_else_in_a_block_stays_its_own(db: Database) -> None:
    """A reset connection of an HTTP client inside a block is not the database's absence."""
    with pytest.raises(ConnectionResetError):
        async with db.acquire():
            raise ConnectionResetError


async def test_errors_of_data_are_told_apart(db: Database) -> None:
    """A key that exists already is known by its constraint's name."""
    await value(db, "CREATE TABLE t (x int CONSTRAINT only_once UNIQUE)")
    await value(db, "INSERT INTO t VALUES (1)")
    with pytest.raises(asyncpg.UniqueViolationError) as twice:
        await value(db, "INSERT INTO t VALUES (1)")
    assert is_unique_violation(twice.value)
    assert is_unique_violation(twice.value, "only_once")
    assert not is_unique_violation(twice.value, "another")
    assert not is_away(twice.value)


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (ConnectionRefusedError(), True),
        (ConnectionResetError(), True),
        (FileNotFoundError(), True),
        (TimeoutError(), True),
        (asyncpg.CannotConnectNowError("starting up"), True),
        (asyncpg.AdminShutdownError("terminating"), True),
        (asyncpg.CrashShutdownError("crashed"), True),
        (asyncpg.TooManyConnectionsError("sorry"), True),
        (asyncpg.ConnectionDoesNotExistError("lost"), True),
        (asyncpg.InterfaceError("connection is closed"), True),
        (asyncpg.InterfaceError("cannot perform operation: another operation is in progress"), False),
        (asyncpg.QueryCanceledError("timeout"), False),
        (asyncpg.DiskFullError("full"), False),
        (asyncpg.DeadlockDetectedError("deadlock"), False),
        (PermissionError(), False),
        (OSError(28, "No space left on device"), False),
        (ValueError(), False),
    ],
)
def test_absence_is_known_by_its_error(error: Exception, away: bool) -> None:
    """Only what waiting can heal is an absence."""
    assert away == is_away(error)


def test_full_disk_is_known_by_its_error() -> None:
    """The server's, and this machine's."""
    assert [True, True, False] == [
        is_disk_full(error)
        for error in (asyncpg.DiskFullError("full"), OSError(28, "No space"), ConnectionResetError())
    ]


async def test_retry_goes_on_until_the_database_is_back(fresh_pg: FreshPg) -> None:
    """An actor that waits for the database gets its answer when it is there again, and says meanwhile that it waits."""
    server, dsn = await fresh_pg(settings=pg.FAST)
    db = await Database.open(dsn)
    try:
        await server.stop()
        seen: list[DatabaseAway] = []
        waiting = asyncio.create_task(retry_away(lambda: value(db, "SELECT 1"), wait_max_s=0.1, on_away=seen.append))
        await pg.until(lambda: len(seen) > 1)
        assert not waiting.done()
        await fresh_pg(settings=pg.FAST)
        async with asyncio.timeout(10):
            assert 1 == await waiting
    finally:
        await db.close()


async def test_retry_is_cancellable_and_may_be_bounded() -> None:
    """It waits as long as it is let."""

    async def away() -> None:
        raise DatabaseAway("gone")

    tried = asyncio.Event()
    task = asyncio.create_task(retry_away(away, on_away=lambda _: tried.set()))
    await tried.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(DatabaseAway, match="gone"):
        await retry_away(away, give_up_s=0.05)


async def test_retry_repeats_a_lost_commit_only_of_what_may_run_twice() -> None:
    """A transaction that may have been committed is not run again behind its author's back."""
    calls: list[int] = []

    async def once_uncertain() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise DatabaseAway("lost", commit_uncertain=True)
        return len(calls)

    with pytest.raises(DatabaseAway, match="lost"):
        await retry_away(once_uncertain)
    calls.clear()
    assert 2 == await retry_away(once_uncertain, idempotent=True)
