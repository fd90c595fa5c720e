"""Brings the database's schema forward: numbered SQL files, each once, in order, under one lock. It never goes back.

A file `NNNN_name.sql` runs in a transaction of its own. A file whose first line is `-- no-transaction` (for CREATE INDEX
CONCURRENTLY) runs statement by statement; there a statement ends at a `;` that ends its line, and since a failure leaves
the statements before it done, each must be one that may run again (IF NOT EXISTS).

Each file must be safe while the previous release still runs, so a database that is newer than the code is allowed to
run with (a release can be taken back: the daemon passes `allow_newer`, which warns), but the command `migrate` refuses it.
"""

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import asyncpg
import structlog

from dispatcher.storage.errors import DatabaseAway, is_away

# Any number will do, as long as nobody else takes it: the first eight bytes of sha256("dispatcher schema").
LOCK_KEY = int.from_bytes(hashlib.sha256(b"dispatcher schema").digest()[:8], "big", signed=True)

_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_OUTSIDE = "-- no-transaction"
_LOCK_POLL_S = 0.1
_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migration (
    version     integer PRIMARY KEY,
    name        text NOT NULL,
    checksum    text NOT NULL CHECK (length(checksum) = 64),
    applied_at  timestamptz NOT NULL DEFAULT now(),
    duration_ms integer NOT NULL
)
"""
_RECORD = "INSERT INTO schema_migration (version, name, checksum, duration_ms) VALUES ($1, $2, $3, $4)"

log = structlog.get_logger(__name__)


class MigrationError(Exception):
    """The schema cannot be brought forward; the text says which file, and what to do."""


class SchemaNewer(MigrationError):
    """The database has migrations that this release does not know."""


class MigrationFailed(MigrationError):
    """A statement of a file failed; its transaction was rolled back. `__cause__` has the server's error."""

    def __init__(self, migration: "Migration", line: int, reason: str) -> None:
        super().__init__(f"{migration.file}, line {line}: {reason}")
        self.migration = migration
        self.line = line


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its text is what runs, its checksum (sha256, hex) tells whether it was changed afterwards."""

    version: int
    name: str
    sql: str

    @property
    def file(self) -> str:
        """The file's name."""
        return f"{self.version:04d}_{self.name}.sql"

    @property
    def checksum(self) -> str:
        """Of the text, whatever the line endings of the checkout are."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def outside_transaction(self) -> bool:
        """Whether its statements run one by one, without a transaction."""
        return self.sql.split("\n", 1)[0].strip() == _OUTSIDE


@dataclass(frozen=True, slots=True)
class Applied:
    """A migration that this run applied, and how long it took."""

    version: int
    name: str
    duration_ms: int


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """What the database has (`applied`), lacks (`pending`), and has that this release does not know (`newer`)."""

    applied: tuple[int, ...]
    pending: tuple[Migration, ...]
    newer: tuple[int, ...]


def load(folder: Traversable | None = None) -> tuple[Migration, ...]:
    """Read the migrations of this release, or of `folder`, in order.

    Raises MigrationError for a file that is not named NNNN_name.sql, a number used twice, or a gap (the first is 0001).
    """
    folder = resources.files("dispatcher.storage").joinpath("migrations") if folder is None else folder
    found = []
    for entry in sorted((e for e in folder.iterdir() if e.name.endswith(".sql")), key=lambda e: e.name):
        match = _NAME.fullmatch(entry.name)
        if match is None:
            raise MigrationError(f"{entry.name}: a migration is named NNNN_name.sql (digits, then a-z, 0-9 and _)")
        sql = entry.read_text(encoding="utf-8").replace("\r\n", "\n")
        found.append(Migration(int(match[1]), match[2], sql))
    for expected, migration in enumerate(found, start=1):
        if migration.version != expected:
            raise MigrationError(f"{migration.file}: expected number {expected:04d}; numbers have no gap and no double")
    return tuple(found)


async def migrate(
    target: Any,
    *,
    migrations: Sequence[Migration] | None = None,
    allow_newer: bool = False,
    lock_wait_s: float = 60.0,
    lock_timeout_s: float = 10.0,
) -> list[Applied]:
    """Apply what the database lacks; `target` is a DSN, or an asyncpg connection that is in no transaction.

    Only one runs at a time: another waits up to `lock_wait_s`, and then finds nothing to do. A statement that waits longer
    than `lock_timeout_s` for a table's lock fails, rather than making all traffic queue behind it. A database that is newer than
    this release is left as it is with `allow_newer`, and refused without.
    Raises MigrationFailed, SchemaNewer, MigrationError (changed file, lock not free), DatabaseAway.
    """
    known = load() if migrations is None else tuple(migrations)
    async with _connected(target) as connection:
        try:
            async with _locked(connection, lock_wait_s):
                return await _apply(connection, known, lock_timeout_s, allow_newer=allow_newer)
        except Exception as error:
            if is_away(error) and not isinstance(error, DatabaseAway):
                raise DatabaseAway(f"the connection was lost while migrating: {error}") from error
            raise


async def status(connection: Any, migrations: Sequence[Migration] | None = None) -> SchemaStatus:
    """Compare the database with this release. Raises MigrationError when a file was changed after it was applied."""
    known = load() if migrations is None else tuple(migrations)
    if await connection.fetchval("SELECT to_regclass('schema_migration')") is None:
        return SchemaStatus((), known, ())
    rows = await connection.fetch("SELECT version, name, checksum FROM schema_migration ORDER BY version")
    by_version = {migration.version: migration for migration in known}
    for row in rows:
        migration = by_version.get(row["version"])
        if migration is not None and migration.checksum != row["checksum"]:
            reason = "was changed after it was applied here: restore it, and put the change into a new file"
            raise MigrationError(f"{migration.file} {reason} (applied as {row['name']}, sha256 {row['checksum'][:12]})")
    applied = tuple(row["version"] for row in rows)
    missing = tuple(migration for migration in known if migration.version not in applied)
    if missing and applied and missing[0].version < applied[-1]:
        raise MigrationError(
            f"the database lacks {missing[0].file} but has {applied[-1]:04d}: it was not made by this runner"
        )
    return SchemaStatus(applied, missing, tuple(version for version in applied if version not in by_version))


async def pending(connection: Any, migrations: Sequence[Migration] | None = None) -> list[Migration]:
    """The migrations that the database lacks, in order. Raises MigrationError as `status` does."""
    return list((await status(connection, migrations)).pending)


async def _apply(
    connection: Any, known: Sequence[Migration], lock_timeout_s: float, *, allow_newer: bool
) -> list[Applied]:
    found = await status(connection, known)
    if found.newer:
        last = known[-1].version if known else 0
        reason = f"the database is at {max(found.newer):04d}, this release knows up to {last:04d}"
        if not allow_newer:
            raise SchemaNewer(f"{reason}: use a newer release")
        log.warning("schema.newer", reason=reason)
    if not found.pending:
        return []
    await connection.execute(_TABLE)
    await connection.execute(f"SET lock_timeout = {round(lock_timeout_s * 1000)}; SET statement_timeout = 0")
    try:
        return [await _apply_one(connection, migration) for migration in found.pending]
    finally:
        if not connection.is_closed():
            await connection.execute("RESET lock_timeout; RESET statement_timeout")
            # Types and partitions may have changed under what the connection has cached.
            await connection.reload_schema_state()


async def _apply_one(connection: Any, migration: Migration) -> Applied:
    started = time.monotonic()

    async def record() -> int:
        duration_ms = round((time.monotonic() - started) * 1000)
        await connection.execute(_RECORD, migration.version, migration.name, migration.checksum, duration_ms)
        return duration_ms

    if migration.outside_transaction:
        for offset, statement in _statements(migration.sql):
            await _run(connection, migration, statement, offset)
        duration_ms = await record()
    else:
        async with connection.transaction():
            await _run(connection, migration, migration.sql, 0)
            duration_ms = await record()
    log.info("schema.migrated", file=migration.file, duration_ms=duration_ms)
    return Applied(migration.version, migration.name, duration_ms)


async def _run(connection: Any, migration: Migration, sql: str, offset: int) -> None:
    """Run `sql`, which starts at the `offset`th character of the file."""
    try:
        await connection.execute(sql, timeout=None)
    except asyncpg.PostgresError as error:
        if is_away(error):
            raise
        # The server's position counts characters from 1; without one (a failing constraint), the text's start is named.
        position = offset + int(getattr(error, "position", None) or 1) - 1
        line = migration.sql.count("\n", 0, position) + 1
        detail = f" ({error.detail})" if getattr(error, "detail", None) else ""
        raise MigrationFailed(migration, line, f"{error}{detail}") from error


def _statements(sql: str) -> list[tuple[int, str]]:
    """Split at each `;` that ends a line; with the offset of each part's first character."""
    parts = [(match.start(), match[0]) for match in re.finditer(r".+?(?:;[ \t]*(?:\n|\Z)|\Z)", sql, re.DOTALL)]
    return [(start, part) for start, part in parts if re.sub(r"--[^\n]*", "", part).strip()]


@asynccontextmanager
async def _connected(target: Any) -> AsyncIterator[Any]:
    if not isinstance(target, str):
        yield target
        return
    try:
        connection = await asyncpg.connect(
            target, timeout=10, server_settings={"application_name": "dispatcher migrate"}
        )
    except Exception as error:
        if is_away(error):
            raise DatabaseAway(f"cannot connect to the database: {error}") from error
        raise
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


@asynccontextmanager
async def _locked(connection: Any, wait_s: float) -> AsyncIterator[None]:
    """Hold the schema's lock. Asked for again and again rather than waited for inside the server: a statement that waits
    there holds a snapshot, and CREATE INDEX CONCURRENTLY of the one who has the lock would wait for it in turn.
    """
    deadline = time.monotonic() + wait_s
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK_KEY):
        if time.monotonic() > deadline:
            raise MigrationError(f"another process has been migrating this database for over {wait_s:g} s")
        await asyncio.sleep(_LOCK_POLL_S)
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock($1)", LOCK_KEY)
