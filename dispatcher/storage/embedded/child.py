"""A PostgreSQL program as our direct child, which ends when we do.

On Linux the kernel signals it when the thread that started it dies (PR_SET_PDEATHSIG): a killed daemon leaves no server
behind. Elsewhere a server left behind is ended by the next start.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dispatcher.storage.embedded.account import Account

_POLL_S = 0.05

# Runs in a small interpreter between us and the program: it becomes the user, ties itself to us and turns into the
# program. In a function for Popen's preexec_fn it would be Python between fork and exec, which is not safe beside threads
# (Python 3.12 warns). A change of user clears the death signal, so that it is set after it; a parent that died before that
# is noticed by the parent's pid.
_LAUNCHER = """
import ctypes, os, sys
uid, gid, death, parent, *argv = sys.argv[1:]
if int(uid) >= 0:
    os.setgroups([])
    os.setgid(int(gid))
    os.setuid(int(uid))
if sys.platform == "linux":
    if ctypes.CDLL(None, use_errno=True).prctl(1, int(death), 0, 0, 0) != 0:
        sys.exit("prctl(PR_SET_PDEATHSIG): " + os.strerror(ctypes.get_errno()))
    if os.getppid() != int(parent):
        sys.exit("the daemon ended while it started this program")
try:
    os.execv(argv[0], argv)
except OSError as error:
    sys.exit(argv[0] + ": " + os.strerror(error.errno))
"""
# The programs get this and nothing of ours: no PGDATA or PGOPTIONS of the operator's shell, no secrets.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "LC_MESSAGES": "C", "TZ": "UTC"}


@dataclass(frozen=True, slots=True)
class Child:
    """A started program, and where in `log` (bytes) its messages begin."""

    process: subprocess.Popen[bytes]
    log: Path
    log_offset: int

    @property
    def pid(self) -> int:
        """Its process id, which stays the same when the launcher turns into the program."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        self.process.send_signal(number)

    async def wait(self) -> int:
        """Wait until it ends, and answer its exit status (negative: the signal that ended it)."""
        watch = _open_pidfd(self.pid) if self.alive else None
        if watch is None:
            while self.alive:  # noqa: ASYNC110 - this system has no event for it
                await asyncio.sleep(_POLL_S)
            return self.process.wait()
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(watch, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(watch)
            os.close(watch)
        return self.process.wait()


def start(argv: Sequence[str], *, account: Account, log: Path, death_signal: signal.Signals) -> Child:
    """Start `argv` as `account`, its output appended to `log`, in a session of its own.

    Of its own, so that Ctrl-C in a terminal reaches the daemon alone, which then ends things in their order.
    """
    if threading.current_thread() is not threading.main_thread():
        # The kernel's death signal follows the thread, not the process.
        raise RuntimeError("the embedded PostgreSQL must be started from the main thread")
    uid, gid = (account.uid, account.gid) if account.switch else (-1, -1)
    launch = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(uid), str(gid), str(int(death_signal)), str(os.getpid())]
    with log.open("ab") as output:
        offset = output.tell()
        process = subprocess.Popen(  # noqa: S603 - our launcher and a program of the wheel or the system
            [*launch, *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=_ENVIRONMENT,
            start_new_session=True,
            umask=0o077,
        )
    return Child(process, log, offset)


def _open_pidfd(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None where the system has none (then we poll)."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None
