"""The embedded PostgreSQL, as an operator meets it: starts, stops, deaths and wrong places. All of it with real servers."""

import asyncio
import os
import pwd
import signal
import stat
from pathlib import Path

import asyncpg
import psutil
import pytest

from dispatcher.storage.embedded import (
    EmbeddedPostgres,
    Restarts,
    account,
    binaries,
    cluster,
    running,
    server_of,
)
from dispatcher.storage.errors import DatabaseAway, retry_away
from dispatcher.storage.migrate import migrate
from dispatcher.storage.pool import Database
from tests import pg
from tests.conftest import FreshPg

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root switches users")


async def test_first_start_makes_a_database_and_the_next_finds_it_again(state_dir: Path) -> None:
    """What was committed before a stop is there after the next start, and nothing is left running or listening."""
    first = EmbeddedPostgres(state_dir)
    dsn = await first.start()
    await pg.ask(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
    process = psutil.Process(first.pid)
    assert [] == process.net_connections(kind="inet")
    await first.stop()
    assert not process.is_running()
    assert running(state_dir) is None

    second = EmbeddedPostgres(state_dir)
    try:
        assert 42 == await pg.ask(await second.start(), "SELECT answer FROM kept")
    finally:
        await second.stop()


async def test_database_is_utf8_durable_and_checked(fresh_pg: FreshPg) -> None:
    """The product's settings hold: nothing acknowledged is lost, pages have checksums, case works for Greek."""
    _, dsn = await fresh_pg()
    names = ["fsync", "synchronous_commit", "full_page_writes", "data_checksums", "server_encoding", "wal_compression"]
    assert ["on", "on", "on", "on", "UTF8", "pglz"] == [await pg.ask(dsn, f"SHOW {name}") for name in names]
    assert "αθήνα" == await pg.ask(dsn, "SELECT lower('ΑΘΉΝΑ')")


async def test_only_its_user_may_enter_the_folder_of_the_socket(fresh_pg: FreshPg) -> None:
    """The folder is what keeps others out, so it is closed, and belongs to the server's user."""
    server, dsn = await fresh_pg()
    about = Path(pg.socket_dir(dsn)).stat()
    assert 0o700 == stat.S_IMODE(about.st_mode)
    assert psutil.Process(server.pid).uids().effective == about.st_uid


@as_root
async def test_started_by_root_the_server_is_somebody_unprivileged(fresh_pg: FreshPg) -> None:
    """Root starts it, an existing user without rights runs it and owns the data; the user is not made for it."""
    users = pwd.getpwall()
    server, _ = await fresh_pg()
    uids = psutil.Process(server.pid).uids()
    assert 0 not in uids
    assert uids.real in {user.pw_uid for user in users}
    assert users == pwd.getpwall()


async def test_settings_overlay_ours_and_the_operator_overlays_both(state_dir: Path, seed_cluster: Path) -> None:
    """ALTER SYSTEM survives a start; what decides who can connect is not to be set."""
    pg.copy_cluster(seed_cluster, state_dir)
    server = EmbeddedPostgres(state_dir, settings={"work_mem": "7MB", "maintenance_work_mem": "70MB"})
    dsn = await server.start()
    await pg.ask(dsn, "ALTER SYSTEM SET work_mem = '9MB'")
    await server.stop()
    async with server_of(state_dir) as dsn:
        assert "9MB" == await pg.ask(dsn, "SHOW work_mem")
    with pytest.raises(ValueError, match="listen_addresses"):
        EmbeddedPostgres(state_dir, settings={"listen_addresses": "*"})


async def test_command_beside_the_daemon_uses_the_running_server(fresh_pg: FreshPg, state_dir: Path) -> None:
    """A command attaches to the daemon's server, and leaves it running."""
    server, dsn = await fresh_pg()
    async with server_of(state_dir) as address:
        assert dsn == address
    assert psutil.pid_exists(server.pid)


async def test_command_without_a_daemon_has_a_server_of_its_own(state_dir: Path, seed_cluster: Path) -> None:
    """A command starts the server for itself, and stops it when it has done."""
    pg.copy_cluster(seed_cluster, state_dir)
    async with server_of(state_dir) as address:
        assert 1 == await pg.ask(address, "SELECT 1")
        assert address == running(state_dir)
    assert running(state_dir) is None


async def test_server_comes_back_after_it_was_killed_and_the_pools_with_it(fresh_pg: FreshPg) -> None:
    """PostgreSQL alone is killed with -9: it is started again, committed rows are there, open pools go on."""
    server, dsn = await fresh_pg()
    db = await Database.open(dsn)
    try:
        async with db.transaction() as conn:
            await conn.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        killed = server.pid

        async def answer() -> object:
            async with db.acquire() as conn:
                return await conn.fetchval("SELECT answer FROM kept")

        os.kill(killed, signal.SIGKILL)
        await pg.until(lambda: server.restarts > 0)
        assert 42 == await retry_away(answer, give_up_s=30)
        assert killed != server.pid
        assert 1 == server.restarts
    finally:
        await db.close()


async def test_server_that_dies_again_and_again_is_given_up(state_dir: Path, seed_cluster: Path) -> None:
    """The restarts are bounded; then whoever waits is told why, and the database is away."""
    pg.copy_cluster(seed_cluster, state_dir)
    server = EmbeddedPostgres(state_dir, settings=pg.FAST, allowed=Restarts(max=2, pause_min_s=0.05))
    dsn = await server.start()
    try:
        (state_dir / "postgres" / "global" / "pg_control").unlink()
        os.kill(server.pid, signal.SIGKILL)
        async with asyncio.timeout(30):
            error = await server.wait_died()
        assert "pg_control" in error.cause
        with pytest.raises(DatabaseAway):
            await Database.open(dsn)
    finally:
        await server.stop()


async def test_stop_cuts_clients_and_is_quick(fresh_pg: FreshPg) -> None:
    """A client in a transaction does not hold up the stop, which may be asked for twice."""
    server, dsn = await fresh_pg()
    client = await asyncpg.connect(dsn)
    await client.execute("BEGIN; CREATE TABLE never_committed (x int)")
    async with asyncio.timeout(5):
        await server.stop()
    await server.stop()
    assert client.is_closed()


async def test_interrupted_initdb_does_not_count(state_dir: Path) -> None:
    """A cluster is made beside its place: what a killed initdb left is made anew."""
    half = state_dir / "postgres.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    async with server_of(state_dir) as dsn:
        assert 1 == await pg.ask(dsn, "SELECT 1")
    assert not half.exists()


@pytest.mark.skipif(not Path("/usr/lib/postgresql/15/bin/postgres").exists(), reason="needs PostgreSQL 15 beside")
async def test_data_of_an_older_version_goes_on_with_the_older_server(state_dir: Path, fresh_pg: FreshPg) -> None:
    """When both are installed, the data decides; the migrations run on the oldest version we support."""
    state_dir.mkdir(mode=0o711)
    old = binaries.find(15)
    user = account.choose(state_dir / "postgres")
    await cluster.create(state_dir / "postgres", old, user, state_dir / "initdb.log", durable=False)
    _, dsn = await fresh_pg(settings=pg.FAST)
    assert 15 == int(str(await pg.ask(dsn, "SHOW server_version_num"))) // 10000
    assert "αθήνα" == await pg.ask(dsn, "SELECT lower('ΑΘΉΝΑ')")
    assert len(await migrate(dsn)) > 0
