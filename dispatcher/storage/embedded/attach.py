"""For commands beside the daemon: the address of a server that runs already, or one of their own while they run."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from dispatcher.storage.embedded import former
from dispatcher.storage.embedded.problems import EmbeddedError, StateDirInUse
from dispatcher.storage.embedded.server import Dsn, EmbeddedPostgres, dsn_of

_POLL_S = 0.1


def running(state_dir: Path) -> Dsn | None:
    """The address of the server that another process runs in `state_dir`, None when none is ready. Raises EmbeddedError."""
    data = state_dir / "postgres"
    try:
        found = former.read(data)
    except PermissionError as error:
        raise EmbeddedError(
            f"{data} belongs to another user", "Run the command as root, or as the user that the daemon runs as"
        ) from error
    if found is None or found.status != "ready" or not former.serves(found.pid, data):
        return None
    return dsn_of(found.socket_dir, found.port)


@asynccontextmanager
async def server_of(state_dir: Path, *, wait_s: float = 15.0) -> AsyncIterator[Dsn]:
    """The address of a daemon's running server, or of one that is started here and stopped at the end of the block.

    Waits up to `wait_s` for a daemon that is starting or stopping. Raises EmbeddedError, StateDirInUse.
    """
    deadline = time.monotonic() + wait_s
    while True:
        there = running(state_dir)
        if there is not None:
            yield there
            return
        own = EmbeddedPostgres(state_dir)
        try:
            address = await own.start(lock_wait_s=0)
        except StateDirInUse:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(_POLL_S)
            continue
        try:
            yield address
        finally:
            await own.stop()
        return
