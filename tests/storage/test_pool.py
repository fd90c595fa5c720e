"""The pools: transactions, bounds, and what happens when the server goes away and comes back."""

import asyncio

import asyncpg
import pytest

from dispatcher.storage.errors import DatabaseAway, is_away
from dispatcher.storage.pool import Database
from tests import pg
from tests.conftest import FreshPg


async def value(db: Database, sql: str, pool: str = "main") -> object:
    """One question to the database."""
    async with db.acquire(pool) as conn:  # type: ignore[arg-type]
        return await conn.fetchval(sql)


async def test_transaction_commits_at_its_end_and_rolls_back_when_it_raises(db: Database) -> None:
    """All of a block is there afterwards, or nothing; the error is the block's own."""
    async with db.transaction() as conn:
        await conn.execute("CREATE TABLE t (x int)")
        assert "read committed" == await conn.fetchval("SHOW transaction_isolation")
    with pytest.raises(ZeroDivisionError):
        async with db.transaction() as conn:
            await conn.execute("INSERT INTO t VALUES (1)")
            raise ZeroDivisionError
    assert 0 == await value(db, "SELECT count(*) FROM t")


async def test_cancelled_transaction_is_rolled_back(db: Database) -> None:
    """A cancelled task leaves no transaction open and its connection is lent again."""
    await value(db, "CREATE TABLE t (x int)")
    inside = asyncio.Event()

    async def insert_and_wait() -> None:
        async with db.transaction() as conn:
            await conn.execute("INSERT INTO t VALUES (1)")
            inside.set()
            await conn.execute("SELECT pg_sleep(60)")

    task = asyncio.create_task(insert_and_wait())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert 0 == await value(db, "SELECT count(*) FROM t")
    assert 0 == db.in_use("main")


async def test_pools_differ_in_what_the_planner_may_do(db: Database) -> None:
    """Reports are index look-ups only; nobody compiles; both are named, and in UTC."""
    names = ["enable_seqscan", "enable_hashjoin", "enable_mergejoin", "jit", "application_name", "timezone"]
    main = [await value(db, f"SHOW {name}") for name in names]
    dlr = [await value(db, f"SHOW {name}", "dlr") for name in names]
    assert ["on", "on", "on", "off", "dispatcher", "UTC"] == main
    assert ["off", "off", "off", "off", "dispatcher", "UTC"] == dlr


async def test_lent_connections_are_counted(db: Database) -> None:
    """The gauge of a pool shows what is lent at this moment."""
    async with db.acquire(), db.transaction():
        assert (2, 0) == (db.in_use("main"), db.in_use("dlr"))
    assert 0 == db.in_use("main")


async def test_wait_for_a_connection_is_bounded(database_url: str) -> None:
    """A pool whose connections are all lent is away for the next one, after its time."""
    db = await Database.open(database_url, size_max=1, acquire_timeout_s=0.05)
    try:
        async with db.acquire():
            with pytest.raises(DatabaseAway, match=r"no connection of pool main within 0\.05 s \(1 lent\)"):
                async with db.acquire():
                    pass
        assert 1 == await value(db, "SELECT 1")
    finally:
        await db.close()


async def test_statement_that_takes_too_long_is_cancelled_by_the_server(database_url: str) -> None:
    """It is an error of that statement, not an absence of the database."""
    db = await Database.open(database_url, statement_timeout_s=0.05)
    try:
        with pytest.raises(asyncpg.QueryCanceledError) as cancelled:
            await value(db, "SELECT pg_sleep(10)")
        assert not is_away(cancelled.value)
        assert 1 == await value(db, "SELECT 1")
    finally:
        await db.close()


async def test_close_does_not_wait_for_ever(database_url: str) -> None:
    """What is still lent when the time is over is cut."""
    db = await Database.open(database_url)
    async with asyncio.timeout(5):
        with pytest.raises(DatabaseAway):
            async with db.acquire() as conn:
                await db.close(timeout_s=0.05)
                await conn.fetchval("SELECT 1")
        with pytest.raises(DatabaseAway):
            await value(db, "SELECT 1")


async def test_server_that_is_not_there_is_away(state_dir: object) -> None:
    """A missing socket is an absence, as a refused connection is; a wrong database name is a mistake, and stays one."""
    for dsn in (f"postgresql://dispatcher@/x?host={state_dir}", "postgresql://dispatcher@127.0.0.1:1/x"):
        with pytest.raises(DatabaseAway):
            await Database.open(dsn, connect_timeout_s=1)


async def test_wrong_database_is_not_taken_for_an_absence(database_url: str) -> None:
    """Waiting would not help."""
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await Database.open(pg.with_database(database_url, "no_such_database"))


async def test_pools_heal_after_a_restart_of_the_server(fresh_pg: FreshPg) -> None:
    """Stopped: away. Started again: the next use works, with every connection that was open before."""
    server, dsn = await fresh_pg(settings=pg.FAST)
    db = await Database.open(dsn, size_max=5)
    try:
        async with db.acquire(), db.acquire(), db.acquire(), db.acquire("dlr"):
            pass
        await server.stop()
        with pytest.raises(DatabaseAway):
            await value(db, "SELECT 1")
        await fresh_pg(settings=pg.FAST)
        for _ in range(6):
            assert (1, 2) == (await value(db, "SELECT 1"), await value(db, "SELECT 2", "dlr"))
    finally:
        await db.close()


async def test_connection_lost_in_a_block_is_one_absence(db: Database) -> None:
    """Whoever holds the connection is told once, in one way, also when it asks again; nothing of the block is committed."""
    await value(db, "CREATE TABLE t (x int)")
    with pytest.raises(DatabaseAway) as away:
        async with db.transaction() as conn:
            await conn.execute("INSERT INTO t VALUES (1)")
            pid = await conn.fetchval("SELECT pg_backend_pid()")
            assert await value(db, f"SELECT pg_terminate_backend({pid}, 5000)")
            await conn.execute("INSERT INTO t VALUES (2)")
    assert not away.value.commit_uncertain
    assert 0 == await value(db, "SELECT count(*) FROM t")


async def test_connection_lost_between_statements_is_an_absence_too(db: Database) -> None:
    """The pool takes a lost connection back while somebody still holds it."""
    with pytest.raises(DatabaseAway):
        async with db.acquire() as conn:
            pid = await conn.fetchval("SELECT pg_backend_pid()")
            lost = asyncio.Event()
            conn.add_termination_listener(lambda _: lost.set())
            assert await value(db, f"SELECT pg_terminate_backend({pid}, 5000)")
            await lost.wait()
            await conn.fetchval("SELECT 1")


async def test_connection_lost_at_the_commit_is_called_uncertain(db: Database) -> None:
    """Whoever is told of it must not take the transaction for undone."""
    await value(db, "CREATE TABLE t (x int)")
    await value(
        db, "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(30); RETURN NULL; END'"
    )
    await value(
        db,
        "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()",
    )
    pid = asyncio.get_running_loop().create_future()

    async def insert() -> None:
        async with db.transaction() as conn:
            await conn.execute("INSERT INTO t VALUES (1)")
            pid.set_result(await conn.fetchval("SELECT pg_backend_pid()"))

    task = asyncio.create_task(insert())
    committing = f"SELECT query = 'COMMIT;' AND state = 'active' FROM pg_stat_activity WHERE pid = {await pid}"
    async with asyncio.timeout(10):
        while not await value(db, committing):
            pass
    assert await value(db, f"SELECT pg_terminate_backend({await pid}, 5000)")
    with pytest.raises(DatabaseAway) as away:
        await task
    assert away.value.commit_uncertain
