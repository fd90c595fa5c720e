"""Processes that the demo starts, and that end with it whatever happens: by signal, in `finally`, and by the kernel.

What it is not: supervision; a child that ends by itself is an error to tell.
"""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import click

import dispatcher

_TAIL_LINES = 20
_KILL_TIMEOUT_S = 10.0

# Between us and the program: on Linux the kernel sends it SIGTERM when we die, even by SIGKILL.
_LAUNCHER = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 15, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("its parent ended while it started")
os.execv(sys.argv[2], sys.argv[2:])
"""


class ChildFailed(click.ClickException):
    """A process did not start, or ended by itself."""


class Child:
    """A running program; `log` is where its output goes (None: it has ours)."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path | None) -> None:
        self.name = name
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    async def first_line(self, timeout_s: float) -> bytes:
        """The first line that it prints. ChildFailed when there is none in time, or it ends before."""
        if self.process.stdout is None:
            raise RuntimeError(f"the output of {self.name} is not read here")
        try:
            async with asyncio.timeout(timeout_s):
                line = await self.process.stdout.readline()
                if not line:
                    raise self.failed(f"ended with status {await self.process.wait()}")
        except TimeoutError as error:
            raise self.failed(f"said nothing within {timeout_s:g} s") from error
        return line

    def check_alive(self) -> None:
        """Raise ChildFailed when it has ended."""
        if self.process.returncode is not None:
            raise self.failed(f"ended with status {self.process.returncode}")

    def failed(self, what: str) -> ChildFailed:
        """An error that shows the end of its log."""
        lines = self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:] if self.log is not None else []
        return ChildFailed("\n  ".join([f"{self.name} {what}", *lines]))

    async def end(self, timeout_s: float) -> int:
        """SIGTERM, and after `timeout_s` SIGKILL; its exit status. Nothing of it is left."""
        if self.process.returncode is None:
            self.process.terminate()
            try:
                async with asyncio.timeout(timeout_s):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
                async with asyncio.timeout(_KILL_TIMEOUT_S):
                    await self.process.wait()
        return await self.process.wait()


async def start(
    name: str, arguments: Sequence[str], environment: Mapping[str, str], *, log: Path | None, read_output: bool = False
) -> Child:
    """Start `dispatcher` with `arguments` and exactly these DISPATCHER_* settings: none of this process's environment
    goes along. In a session of its own, so that Ctrl-C reaches us alone and the end comes in order."""
    output: IO[bytes] | int | None = log.open("ab") if log is not None else None
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _LAUNCHER, str(os.getpid())),
            *(sys.executable, "-m", "dispatcher.cli", *arguments),
            env=_base_environment() | dict(environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if read_output else output,
            stderr=output,
            start_new_session=True,
        )
    finally:
        if output is not None and not isinstance(output, int):
            output.close()
    return Child(name, process, log)


def _base_environment() -> dict[str, str]:
    """What a Python program needs to find this package, in whatever way it was installed."""
    root = str(Path(dispatcher.__file__ or "").resolve().parent.parent)
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "PYTHONPATH": root, "PYTHONUNBUFFERED": "1"}
