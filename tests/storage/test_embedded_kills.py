"""What kill -9 leaves behind: nothing. Each test runs a process that holds an embedded server, and kills it."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from dispatcher.storage.embedded import EmbeddedPostgres, Restarts, StateDirInUse, former
from tests import pg

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal at a parent's death is Linux's")

HOLDER = """
import asyncio, sys
from pathlib import Path
from dispatcher.storage.embedded import EmbeddedPostgres
async def main():
    server = EmbeddedPostgres(Path(sys.argv[1]))
    await server.start()
    print(server.pid, file=sys.stderr, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()
asyncio.run(main())
"""


@dataclass(frozen=True)
class Holder:
    """A process that holds a server, and the server's number."""

    process: subprocess.Popen[bytes]
    server_pid: int


@contextmanager
def holder(state_dir: Path, *, prefix: list[str] | None = None) -> Iterator[Holder]:
    """Run a process that holds a server in `state_dir` until the block ends; `prefix` may change who runs it."""
    process = subprocess.Popen(
        [*(prefix or []), sys.executable, "-c", HOLDER, str(state_dir)],
        cwd=pg.ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    with process.stdin, process.stderr:
        line = process.stderr.readline().decode()
        assert line.strip().isdigit(), line + process.stderr.read().decode()
        yield Holder(process, int(line))
        process.stdin.close()
        process.wait(timeout=30)


def log_of(state_dir: Path) -> str:
    """What the server wrote."""
    return (state_dir / "postgres.log").read_text()


async def test_killed_daemon_takes_its_server_with_it(state_dir: Path, seed_cluster: Path) -> None:
    """The daemon is killed with -9: PostgreSQL shuts down by itself, cleanly."""
    pg.copy_cluster(seed_cluster, state_dir)
    with holder(state_dir) as held:
        held.process.kill()
        await pg.until(lambda: not former.serves(held.server_pid, state_dir / "postgres"))
    assert "database system is shut down" in log_of(state_dir)


async def test_daemon_may_be_started_again_right_after_it_was_killed(state_dir: Path, seed_cluster: Path) -> None:
    """The next start waits for the former server, which is still ending, and needs no recovery."""
    pg.copy_cluster(seed_cluster, state_dir)
    with holder(state_dir) as held:
        held.process.kill()
        held.process.wait()
    with holder(state_dir) as again:
        assert held.server_pid != again.server_pid
    assert "was not properly shut down" not in log_of(state_dir)


async def test_daemon_and_server_killed_together_recover(state_dir: Path, seed_cluster: Path) -> None:
    """Both are killed with -9 at once: the next start recovers from the log, whatever files and zombies are there."""
    pg.copy_cluster(seed_cluster, state_dir)
    with holder(state_dir) as held:
        os.kill(held.server_pid, signal.SIGKILL)
        held.process.kill()
        held.process.wait()
    with holder(state_dir) as again:
        assert psutil.Process(again.server_pid).is_running()
    assert "was not properly shut down" in log_of(state_dir)


async def test_server_whose_daemon_died_without_a_word_is_ended_by_the_next_start(
    state_dir: Path, seed_cluster: Path
) -> None:
    """Where no signal came (another system, or a debugger's server), the next start ends the former server itself."""
    pg.copy_cluster(seed_cluster, state_dir)
    server = EmbeddedPostgres(state_dir, allowed=Restarts(max=0))
    await server.start()
    try:
        async with asyncio.timeout(30):
            await former.gone(state_dir / "postgres", timeout_s=20, patience_s=0)
        assert not (state_dir / "postgres" / "postmaster.pid").exists()
    finally:
        await server.stop()


async def test_two_daemons_cannot_have_one_state_directory(state_dir: Path, seed_cluster: Path) -> None:
    """The second is told the process id of the first."""
    pg.copy_cluster(seed_cluster, state_dir)
    with holder(state_dir) as held:
        with pytest.raises(StateDirInUse) as refused:
            await EmbeddedPostgres(state_dir).start(lock_wait_s=0)
        assert held.process.pid == refused.value.pid


async def test_it_needs_no_root(state_dir: Path) -> None:
    """An unprivileged user starts it in a directory of its own; the server runs as that user, and ends with its daemon."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None:
        pytest.skip("only root becomes somebody else; as somebody else, all the other tests show this")
    nobody = pwd.getpwnam("nobody")
    state_dir.mkdir(mode=0o700)
    os.chown(state_dir, nobody.pw_uid, nobody.pw_gid)
    # The interpreter of this virtual environment may be under root's home: nobody may read it here, and not write.
    reading = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
    prefix = [setpriv, f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", *reading]
    with holder(state_dir, prefix=prefix) as held:
        assert nobody.pw_uid == psutil.Process(held.process.pid).uids().effective
        assert nobody.pw_uid == psutil.Process(held.server_pid).uids().effective
        held.process.kill()
        await pg.until(lambda: not former.serves(held.server_pid, state_dir / "postgres"))
    assert "database system is shut down" in log_of(state_dir)
