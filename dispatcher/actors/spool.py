"""The spool: contact files on this node's disk, between their upload and their import.

What it is for: an upload of any size takes little memory and survives a crash. What it is not: shared; a file is imported
by a node with the same spool, which is why each spool has an identity of its own that the import's row names.
"""

import asyncio
import os
from pathlib import Path
from uuid import uuid4

HEAD_BYTES = 16 * 1024
_IDENTITY = "identity"
_SUFFIX = ".csv"


class SpoolWriter:
    """A file that is being received. `head`: its first bytes; `size`: bytes so far."""

    def __init__(self, path: Path) -> None:
        self.file_name = path.name
        self.size = 0
        self.head = b""
        self._path = path
        self._file = path.open("xb")

    def write(self, chunk: bytes) -> None:
        """Append; into the page cache, so quick enough for the loop."""
        if len(self.head) < HEAD_BYTES:
            self.head += chunk[: HEAD_BYTES - len(self.head)]
        self.size += len(chunk)
        self._file.write(chunk)

    async def close(self) -> None:
        """The file is on the disk when this returns: its name too."""
        await asyncio.to_thread(self._sync)

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def discard(self) -> None:
        """Forget the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)


class Spool:
    """The directory `imports` under a state directory; made when it is not there. Raises OSError when it cannot be."""

    def __init__(self, state_dir: Path) -> None:
        self._directory = state_dir / "imports"

    def identity(self) -> str:
        """The spool's own name, made once: whoever has the same directory has the same identity."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directory / _IDENTITY
        fresh = self._directory / f"{_IDENTITY}.{uuid4().hex}"
        if not path.exists():
            fresh.write_text(uuid4().hex)
            try:
                os.link(fresh, path)  # atomic, and the first of two wins
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
        return path.read_text().strip()

    def create(self) -> SpoolWriter:
        """A new, empty file."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return SpoolWriter(self._directory / f"{uuid4().hex}{_SUFFIX}")

    def path(self, file_name: str) -> Path:
        """Where a file lies. ValueError for a name that is no plain file name."""
        if Path(file_name).name != file_name:
            raise ValueError(f"{file_name!r} is no name of a spool file")
        return self._directory / file_name

    def discard(self, file_name: str) -> None:
        """Forget a file; one that is gone already is fine."""
        self.path(file_name).unlink(missing_ok=True)

    def old_files(self, older_than_s: float, now_epoch_s: float) -> list[str]:
        """Files that were written longer ago than this: of uploads that broke off, unless an import needs them."""
        if not self._directory.is_dir():
            return []
        return [
            path.name
            for path in self._directory.glob(f"*{_SUFFIX}")
            if now_epoch_s - path.stat().st_mtime > older_than_s
        ]
