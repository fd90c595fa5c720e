"""The embedded PostgreSQL in wrong or difficult places: what it refuses, with which remedy, and what it copes with."""

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

import pytest

from dispatcher.storage.embedded import (
    EmbeddedError,
    EmbeddedPostgres,
    StateDirInUse,
    account,
    binaries,
    cluster,
    former,
    sockets,
)
from dispatcher.storage.embedded.child import start
from tests import pg
from tests.conftest import FreshPg

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root switches users")


async def test_second_process_is_told_who_has_the_state_directory(fresh_pg: FreshPg, state_dir: Path) -> None:
    """Two daemons do not share a state directory: the second one fails, naming the first."""
    await fresh_pg()
    with pytest.raises(StateDirInUse, match=str(os.getpid())) as refused:
        await EmbeddedPostgres(state_dir).start(lock_wait_s=0)
    assert os.getpid() == refused.value.pid


async def test_state_directory_may_have_a_long_path(state_dir: Path, fresh_pg: FreshPg) -> None:
    """A path longer than a socket's address may be is no obstacle; the short folder used instead is removed at the end."""
    server, dsn = await fresh_pg(state_dir / ("long-" * 20))
    assert 1 == await pg.ask(dsn, "SELECT 1")
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
        assert 1 == await pg.ask(dsn, "SELECT 1")
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


async def test_user_that_the_system_has_no_name_for_is_told_before_initdb(state_dir: Path) -> None:
    """A container may run as a bare number: initdb would refuse it in words that name no remedy."""
    names = {entry.pw_uid for entry in pwd.getpwall()}
    nameless = account.Account(next(uid for uid in range(61_000, 65_000) if uid not in names), 0, "?", switch=False)
    data = state_dir / "postgres"
    state_dir.mkdir()
    with pytest.raises(
        EmbeddedError, match=r"user id \d+ has no entry in /etc/passwd\. .*DISPATCHER_DATABASE_URL"
    ) as told:
        await cluster.create(data, binaries.find(), nameless, state_dir / "initdb.log", durable=False)
    assert 1 == len(str(told.value).splitlines())
    assert [] == list(state_dir.iterdir())


@as_root
async def test_nameless_owner_of_an_empty_folder_is_told_so(state_dir: Path) -> None:
    """Root runs the server as the owner of its folder, whose number may have no name either."""
    names = {entry.pw_uid for entry in pwd.getpwall()}
    (state_dir / "postgres").mkdir(parents=True)
    state_dir.chmod(0o711)
    os.chown(state_dir / "postgres", next(uid for uid in range(61_000, 65_000) if uid not in names), 0)
    with pytest.raises(EmbeddedError, match="no entry in /etc/passwd"):
        await EmbeddedPostgres(state_dir, settings={"fsync": "off"}).start()


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
