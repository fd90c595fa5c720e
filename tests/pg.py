"""PostgreSQL for tests: one server a session in a process of its own, a fresh database for each test.

Run as `python -m tests.pg FOLDER`, it is that process: it starts the embedded server, makes the template (with this
checkout's migrations), prints the address of the template, and stops everything when its standard input ends.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from dispatcher.storage.embedded import EmbeddedPostgres
from dispatcher.storage.migrate import migrate

ROOT = Path(__file__).resolve().parent.parent
# Nothing of a test outlives a crash of the machine. Tests about durability start a server with the real settings.
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "128MB",
    "max_wal_size": "256MB",
}
TEMPLATE = "template_of_tests"
# Copying the template is 300 files: 12 ms in memory, 300 ms on a disk.
_MEMORY = Path("/dev/shm")
_DISK = Path("/tmp")
_MEMORY_FREE_MIN = 2 * 1024**3


@contextmanager
def temporary_state_dir(parent: Path = _DISK) -> Iterator[Path]:
    """A short path that PostgreSQL's user may enter too (pytest's own temporary folders are closed to it)."""
    folder = Path(tempfile.mkdtemp(prefix="dispatcher-test-", dir=parent))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def server_process() -> Iterator[str]:
    """Run the session's server; the address of its template database, to which nobody may be connected."""
    with temporary_state_dir(quickest_place()) as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.pg", str(folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            template = process.stdout.readline().decode().strip()
            assert template, "the server of the tests did not start: see above"
            yield template
        finally:
            process.stdin.close()
            process.wait(timeout=60)
            process.stdout.close()


@contextmanager
def seed_cluster() -> Iterator[Path]:
    """A cluster whose server was started and stopped once, for copies: half a second less than making one each time."""
    with temporary_state_dir(quickest_place()) as folder:
        subprocess.run(
            [sys.executable, "-m", "tests.pg", str(folder)], cwd=ROOT, input=b"", check=True, stdout=sys.stderr
        )
        yield folder / "state" / "postgres"


def copy_cluster(cluster: Path, state_dir: Path) -> None:
    """Put a copy of the cluster, with its owner, into a state directory that has none."""
    if not (state_dir / "postgres").exists():
        state_dir.mkdir(parents=True, exist_ok=True)
        subprocess.run(["/bin/cp", "-a", str(cluster), str(state_dir / "postgres")], check=True)


def quickest_place() -> Path:
    """Memory, where there is room for the databases of some tests (a container may have 64 MB there)."""
    return _MEMORY if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _MEMORY_FREE_MIN else _DISK


def with_database(dsn: str, name: str) -> str:
    """The same address with another database."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


def socket_dir(dsn: str) -> str:
    """The folder of the server's socket."""
    return dict(part.split("=") for part in urlsplit(dsn).query.split("&"))["host"].replace("%2F", "/")


@asynccontextmanager
async def fresh_database(template: str, *, empty: bool = False) -> AsyncIterator[str]:
    """The address of a new copy of the template (or of an empty database), dropped at the end with whoever is in it."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    copied = "template0" if empty else urlsplit(template).path.lstrip("/")
    admin = with_database(template, "postgres")
    await _execute(admin, f"CREATE DATABASE {name} TEMPLATE {copied} STRATEGY file_copy")
    try:
        yield with_database(template, name)
    finally:
        await _execute(admin, f"DROP DATABASE {name} WITH (FORCE)")


async def until(condition: Callable[[], bool], *, within_s: float = 30.0) -> None:
    """Wait for what tells nobody when it happens, such as the end of another process's child."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


async def ask(dsn: str, sql: str) -> object:
    """One question, on a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def _execute(dsn: str, sql: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def _serve(folder: Path, address: TextIO) -> None:
    server = EmbeddedPostgres(folder / "state", settings=FAST)
    dsn = await server.start()
    template = with_database(dsn, TEMPLATE)
    try:
        await _execute(dsn, f"CREATE DATABASE {TEMPLATE}")
        await migrate(template)
        print(template, file=address, flush=True)
        await asyncio.to_thread(sys.stdin.read)
    finally:
        await server.stop()


if __name__ == "__main__":
    # Messages of the keeper go to standard error, where pytest's user sees them; the address alone goes to the pipe.
    with os.fdopen(os.dup(1), "w") as pipe:
        os.dup2(2, 1)
        asyncio.run(_serve(Path(sys.argv[1]), pipe))
