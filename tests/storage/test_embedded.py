"""The embedded PostgreSQL, as an operator meets it: starts, stops, deaths and wrong places. All of it with real servers."""

import asyncio
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from dispatcher.storage.embedded import (
    EmbeddedError,
    EmbeddedPostgres,
    Restarts,
    StateDirInUse,
    account,
    binaries,
    cluster,
    former,
    running,
    server_of,
    sockets,
)
from dispatcher.storage.embedded.child import start
from dispatcher.storage.errors import DatabaseAway, retry_away
from dispatcher.storage.migrate import migrate
from dispatcher.storage.pool import Database
from tests import pg
from tests.conftest import FreshPg

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root switches users")


async def ask(dsn: str, sql: str) -> object:
    """One question on a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_first_start_makes_a_database_and_the_next_finds_it_again(state_dir: Path) -> None:
    """What was committed before a stop is there after the next start, and nothing is left running or listening."""
    first = EmbeddedPostgres(state_dir)
    dsn = await first.start()
    await ask(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
    process = psutil.Process(first.pid)
    assert [] == process.net_connections(kind="inet")
    await first.stop()
    assert not process.is_running()
    assert running(state_dir) is None

    second = EmbeddedPostgres(state_dir)
    try:
        assert 42 == await ask(await second.start(), "SELECT answer FROM kept")
    finally:
        await second.stop()


async def test_database_is_utf8_durable_and_checked(fresh_pg: FreshPg) -> None:
    """The product's settings hold: nothing acknowledged is lost, pages have checksums, case works for Greek."""
    _, dsn = await fresh_pg()
    names = ["fsync", "synchronous_commit", "full_page_writes", "data_checksums", "server_encoding", "wal_compression"]
    assert ["on", "on", "on", "on", "UTF8", "pglz"] == [await ask(dsn, f"SHOW {name}") for name in names]
    assert "αθήνα" == await ask(dsn, "SELECT lower('ΑΘΉΝΑ')")


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
    await ask(dsn, "ALTER SYSTEM SET work_mem = '9MB'")
    await server.stop()
    async with server_of(state_dir) as dsn:
        assert "9MB" == await ask(dsn, "SHOW work_mem")
    with pytest.raises(ValueError, match="listen_addresses"):
        EmbeddedPostgres(state_dir, settings={"listen_addresses": "*"})


async def test_second_process_is_told_who_has_the_state_directory(fresh_pg: FreshPg, state_dir: Path) -> None:
    """Two daemons do not share a state directory: the second one fails, naming the first."""
    await fresh_pg()
    with pytest.raises(StateDirInUse, match=str(os.getpid())) as refused:
        await EmbeddedPostgres(state_dir).start(lock_wait_s=0)
    assert os.getpid() == refused.value.pid


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
        assert 1 == await ask(address, "SELECT 1")
        assert address == running(state_dir)
    assert running(state_dir) is None


async def test_state_directory_may_have_a_long_path(state_dir: Path, fresh_pg: FreshPg) -> None:
    """A path longer than a socket's address may be is no obstacle; the short folder used instead is removed at the end."""
    server, dsn = await fresh_pg(state_dir / ("long-" * 20))
    assert 1 == await ask(dsn, "SELECT 1")
    folder = Path(pg.socket_dir(dsn))
    assert state_dir not in folder.parents
    await server.stop()
    assert not folder.exists()


@as_root
async def test_folder_of_the_socket_that_somebody_else_made_is_refused(state_dir: Path) -> None:
    """In a public folder a stranger may have made ours before us."""
    nobody = pwd.getpwnam("nobody")
    squatted = state_dir.parent / "run"
    squatted.mkdir()
    os.chown(squatted, nobody.pw_uid, nobody.pw_gid)
    ours = account.Account(pwd.getpwnam("daemon").pw_uid, 0, "daemon", switch=True)
    with pytest.raises(EmbeddedError, match="somebody else"):
        sockets.prepare(squatted, ours)


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


async def test_data_of_a_version_that_is_not_here_is_refused_with_the_remedy(state_dir: Path) -> None:
    """A major version cannot read another's files; the message says which one is needed."""
    data = state_dir / "postgres"
    data.mkdir(parents=True)
    state_dir.chmod(0o711)
    (data / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedError, match=r"made by PostgreSQL 9.*Install PostgreSQL 9"):
        await EmbeddedPostgres(state_dir).start()


async def test_folder_that_is_not_a_cluster_is_left_alone(state_dir: Path) -> None:
    """Files of somebody else are neither removed nor initialised over."""
    foreign = state_dir / "postgres" / "letter.txt"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("dear")
    with pytest.raises(EmbeddedError, match="no PostgreSQL cluster"):
        await EmbeddedPostgres(state_dir).start()
    assert "dear" == foreign.read_text()


async def test_interrupted_initdb_does_not_count(state_dir: Path) -> None:
    """A cluster is made beside its place: what a killed initdb left is made anew."""
    half = state_dir / "postgres.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    async with server_of(state_dir) as dsn:
        assert 1 == await ask(dsn, "SELECT 1")
    assert not half.exists()


@pytest.mark.skipif(not Path("/usr/lib/postgresql/15/bin/postgres").exists(), reason="needs PostgreSQL 15 beside")
async def test_data_of_an_older_version_goes_on_with_the_older_server(state_dir: Path, fresh_pg: FreshPg) -> None:
    """When both are installed, the data decides; the migrations run on the oldest version we support."""
    state_dir.mkdir(mode=0o711)
    old = binaries.find(15)
    user = account.choose(state_dir / "postgres")
    await cluster.create(state_dir / "postgres", old, user, state_dir / "initdb.log", durable=False)
    _, dsn = await fresh_pg(settings=pg.FAST)
    assert 15 == int(str(await ask(dsn, "SHOW server_version_num"))) // 10000
    assert "αθήνα" == await ask(dsn, "SELECT lower('ΑΘΉΝΑ')")
    assert len(await migrate(dsn)) > 0


@pytest.mark.skipif(sys.platform != "linux", reason="evidence of /proc")
@pytest.mark.parametrize("kind", ["another program", "a zombie"])
async def test_number_of_a_dead_server_may_belong_to_something_else(
    state_dir: Path, fresh_pg: FreshPg, kind: str
) -> None:
    """After a restart of a container another program may have the dead server's number, or a zombie may keep it."""
    server, _ = await fresh_pg(settings=pg.FAST)
    data = state_dir / "postgres"
    lines = (data / "postmaster.pid").read_text().splitlines()
    await server.stop()
    user = account.choose(data)
    argv = ["/bin/sleep", "60"] if kind == "another program" else ["/bin/true"]
    other = start(argv, account=user, log=state_dir / "other.log", death_signal=signal.SIGKILL)
    try:
        if kind == "a zombie":
            os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        (data / "postmaster.pid").write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
        os.chown(data / "postmaster.pid", user.uid, user.gid)
        _, dsn = await fresh_pg(settings=pg.FAST)
        assert 1 == await ask(dsn, "SELECT 1")
    finally:
        other.process.kill()
        other.process.wait()


@as_root
async def test_state_directory_that_the_servers_user_cannot_enter_is_named(state_dir: Path) -> None:
    """Nothing is opened up behind the operator's back: the message names the closed folder."""
    closed = state_dir.parent / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(EmbeddedError, match=rf"may not enter {closed}\. .*chmod o\+x {closed}"):
        await EmbeddedPostgres(closed / "state").start()
    assert 0o700 == stat.S_IMODE(closed.stat().st_mode)


@as_root
async def test_binaries_that_the_servers_user_cannot_reach_are_copied_once(state_dir: Path) -> None:
    """A virtual environment under a closed folder: its programs are copied, and the copy makes a working cluster."""
    closed = state_dir.parent / "closed"
    closed.mkdir(mode=0o700)
    state_dir.mkdir(mode=0o711)
    found = binaries.find()
    (closed / "site").symlink_to(found.root)
    root = closed / "site"
    hidden = binaries.Binaries(root / found.bin.relative_to(found.root), found.major, root, found.parts)
    user = account.choose(state_dir / "postgres")
    copy = await asyncio.to_thread(binaries.reachable, hidden, user, state_dir)
    assert state_dir in copy.bin.parents
    changed = copy.bin.stat().st_ctime_ns
    again = await asyncio.to_thread(binaries.reachable, hidden, user, state_dir)
    assert (copy, changed) == (again, again.bin.stat().st_ctime_ns)
    await cluster.create(state_dir / "postgres", copy, user, state_dir / "initdb.log", durable=False)
    assert found.major == cluster.major_of(state_dir / "postgres")


@pytest.fixture
def small_disk(state_dir: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    state_dir.mkdir(mode=0o711)
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root mounts a small disk")
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=16m,mode=711", "tmpfs", state_dir], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"cannot mount here: {made.stderr.decode()}")
    yield state_dir
    subprocess.run(["umount", state_dir], check=True)


async def test_full_disk_is_called_by_its_name(small_disk: Path) -> None:
    """A disk that fills up while the cluster is made: the remedy is room, and what was begun is not taken for a cluster."""
    with pytest.raises(EmbeddedError, match=r"No space left on device.*Make room"):
        await EmbeddedPostgres(small_disk, settings={"fsync": "off"}).start()
    assert not (small_disk / "postgres").exists()


async def test_starting_elsewhere_than_in_the_main_thread_is_a_bug(state_dir: Path) -> None:
    """The kernel's signal follows the thread that started the server, so that it must be one which lives on."""

    def elsewhere() -> None:
        asyncio.run(EmbeddedPostgres(state_dir).start())

    with pytest.raises(RuntimeError, match="main thread"):
        await asyncio.to_thread(elsewhere)


def test_process_is_recognised_without_proc_too() -> None:
    """Where there is no /proc, the command line tells a server of this folder from another process."""
    sleeping = subprocess.Popen(["/bin/sh", "-c", "sleep 60 # postgres -D /some/data"], start_new_session=True)
    try:
        assert former._serves_by_ps(sleeping.pid, Path("/some/data"))
        assert not former._serves_by_ps(sleeping.pid, Path("/other/data"))
        assert not former._serves_by_ps(os.getpid(), Path("/some/data"))
    finally:
        os.killpg(sleeping.pid, signal.SIGKILL)
        sleeping.wait()
