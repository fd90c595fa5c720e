"""The server of an earlier run, as its `postmaster.pid` tells of it: still there, ending, or dead without having tidied.

PostgreSQL itself refuses to start while the process of that number exists, even if it is a zombie that nobody reaps, or,
after a restart of a container, another program that got the number. Here the evidence is better (Linux: /proc), so a
file that speaks of the dead is removed; only when no process uses the cluster's shared memory any more, though.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from dispatcher.storage.embedded.problems import EmbeddedError

_POLL_S = 0.05
# A server whose daemon was killed gets the kernel's signal at once (Linux). One that has not begun to end by then did not
# get it, and is told again.
_PATIENCE_S = 3.0 if sys.platform == "linux" else 0.0
_PS_TIMEOUT_S = 5.0
_SHM = Path("/proc/sysvipc/shm")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PidFile:
    """The lines of postmaster.pid (src/include/utils/pidfile.h) that matter here."""

    pid: int
    port: int
    socket_dir: str
    shm_id: int | None
    status: str


def read(data: Path) -> PidFile | None:
    """Read postmaster.pid; None when there is none, or one that is only half written. Raises PermissionError."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return None
    if not lines or not lines[0].strip().isdigit():
        return None
    lines += [""] * (8 - len(lines))
    segment = lines[6].split()
    port = int(lines[3]) if lines[3].strip().isdigit() else 0
    shm_id = int(segment[1]) if len(segment) == 2 and segment[1].isdigit() else None
    return PidFile(int(lines[0]), port, lines[4].strip(), shm_id, lines[7].strip())


def serves(pid: int, data: Path) -> bool:
    """Whether the process is alive, not a zombie, and a server of `data`."""
    if not Path("/proc/self/stat").exists():
        return _serves_by_ps(pid, data)
    try:
        # The state is the first field after the command's name, which may itself contain spaces and brackets.
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in {"Z", "X"} and Path(f"/proc/{pid}/cwd").resolve(strict=True) == data.resolve()
    except OSError:
        return False


async def gone(data: Path, *, timeout_s: float, patience_s: float = _PATIENCE_S) -> None:
    """Return when no server of an earlier run uses `data`; end it if it does not end by itself within `patience_s`.

    The caller holds the state directory's lock, so a server that is still there has lost its daemon. Raises EmbeddedError when
    it is there after `timeout_s`.
    """
    started = time.monotonic()
    told = False
    while (former := read(data)) is not None:
        alive = serves(former.pid, data)
        if not alive and not _attached(former.shm_id):
            _tidy(data, former)
            return
        waited = time.monotonic() - started
        if waited > timeout_s:
            raise EmbeddedError(
                f"PostgreSQL of an earlier run (process {former.pid}) still uses {data} after {timeout_s:g} s",
                f"End it (kill -INT {former.pid}), then start again",
            )
        if alive and waited >= patience_s and not told:
            log.warning("embedded.former_told_to_end", pid=former.pid)
            os.kill(former.pid, signal.SIGINT)
            told = True
        await asyncio.sleep(_POLL_S)


def _tidy(data: Path, former: PidFile) -> None:
    """Remove the files of a dead server that would stop a new one, if its number is taken by something else."""
    if sys.platform != "linux" or not _exists(former.pid):
        return
    log.info("embedded.stale_pid_file", pid=former.pid)
    (data / "postmaster.pid").unlink(missing_ok=True)
    if former.socket_dir:
        (Path(former.socket_dir) / f".s.PGSQL.{former.port}.lock").unlink(missing_ok=True)


def _serves_by_ps(pid: int, data: Path) -> bool:
    """The same where there is no /proc: the server's command line names its data."""
    listed = subprocess.run(  # noqa: S603 - the system's ps, of one number
        ["/bin/ps", "-p", str(pid), "-o", "stat=,command="], capture_output=True, timeout=_PS_TIMEOUT_S, check=False
    )
    words = listed.stdout.decode(errors="replace").strip()
    return listed.returncode == 0 and not words.startswith("Z") and "postgres" in words and str(data) in words


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _attached(shm_id: int | None) -> bool:
    """Whether a process still has the cluster's shared memory: a backend that outlived its postmaster, for instance."""
    if shm_id is None or not _SHM.exists():
        return False
    for line in _SHM.read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1]) == shm_id:
            return int(fields[6]) > 0
    return False
