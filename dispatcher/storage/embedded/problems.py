"""What can be wrong with the embedded server, each with what to do about it. The operator reads these, so they are whole
sentences; nothing here decides anything.
"""

import os
from pathlib import Path

_TAIL_LINES = 8


class EmbeddedError(Exception):
    """The embedded PostgreSQL cannot run: `cause` says what was found, `remedy` what to do."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"{cause}. {remedy}")
        self.cause = cause
        self.remedy = remedy


class StateDirInUse(EmbeddedError):
    """Another process has the state directory; `pid` is its, 0 if it could not be read."""

    def __init__(self, state_dir: Path, pid: int) -> None:
        holder = f"process {pid}" if pid else "another process"
        super().__init__(
            f"the state directory {state_dir} is in use by {holder}",
            "Stop that one first, or give this one another DISPATCHER_STATE_DIR or a DISPATCHER_DATABASE_URL",
        )
        self.pid = pid


def from_log(what: str, log: Path, offset: int) -> EmbeddedError:
    """Explain a failure of a PostgreSQL program by the lines that it wrote to `log` after `offset` (bytes)."""
    with log.open("rb") as file:
        file.seek(max(offset, file.seek(0, os.SEEK_END) - 8192))
        lines = file.read().decode(errors="replace").strip().splitlines()
    words = " | ".join(line.strip() for line in lines[-_TAIL_LINES:]) or "it wrote nothing"
    return EmbeddedError(f"{what}: {words}", _remedy(words, log))


def _remedy(words: str, log: Path) -> str:
    if "No space left on device" in words or "Disk quota exceeded" in words:
        return "Make room on the disk of DISPATCHER_STATE_DIR (an empty database needs 60 MB), then start again"
    if "Permission denied" in words:
        return "Let the user that PostgreSQL runs as reach the named file, or choose another DISPATCHER_STATE_DIR"
    if "shared memory" in words:
        return "A server process of an earlier run is still ending: start again in some seconds"
    return f"See {log} for more"
