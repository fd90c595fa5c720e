"""The state directory, and the lock that gives it to one process at a time."""

import asyncio
import fcntl
import os
import time
from pathlib import Path

from dispatcher.storage.embedded.problems import EmbeddedError, StateDirInUse

_POLL_S = 0.05


def make(path: Path) -> Path:
    """Make the directory and answer its real path; one that exists keeps its permissions. Raises EmbeddedError.

    Made by root, others may pass through it (0711, nothing to list), as PostgreSQL then runs as another user.
    """
    mode = 0o711 if os.geteuid() == 0 else 0o700
    try:
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            folder.chmod(mode)
        return path.resolve(strict=True)
    except OSError as error:
        raise EmbeddedError(
            f"cannot make the state directory {path}: {error.strerror}", "Make it, or set another DISPATCHER_STATE_DIR"
        ) from error


class StateDirLock:
    """Held by the process that runs the server of a state directory; the system lets go of it when that process ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    async def take(cls, state_dir: Path, *, wait_s: float) -> "StateDirLock":
        """Take it, waiting up to `wait_s` for a former process that is ending. Raises StateDirInUse, EmbeddedError."""
        path = state_dir / "postgres.lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise EmbeddedError(f"cannot open {path}: {error.strerror}", "Make the state directory writable") from error
        deadline = time.monotonic() + wait_s
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise StateDirInUse(state_dir, _holder(descriptor)) from None
                await asyncio.sleep(_POLL_S)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def release(self) -> None:
        """Let the next one have it."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def _holder(descriptor: int) -> int:
    words = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    return int(words) if words.isdigit() else 0
