"""The migration runner: each file once, in order, whole or not at all."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from dispatcher.storage.migrate import (
    LOCK_KEY,
    Migration,
    MigrationError,
    MigrationFailed,
    SchemaNewer,
    load,
    migrate,
    pending,
    status,
)
from tests import pg

FIRST = Migration(1, "first", "CREATE TABLE first (x int);\nCREATE TABLE also_first (x int);\n")
SECOND = Migration(2, "second", "ALTER TABLE first ADD COLUMN y int;\n")
OUTSIDE = Migration(
    2,
    "index",
    "-- no-transaction\n-- Two statements; this comment; has semicolons.\nDROP INDEX IF EXISTS first_x;\n"
    "CREATE INDEX CONCURRENTLY first_x\n    ON first (x);\n-- The end.\n",
)


async def test_product_migrates_from_nothing(empty_database_url: str) -> None:
    """A new database gets every migration of this release, and a second run finds nothing to do."""
    known = load()
    applied = await migrate(empty_database_url)
    assert [m.version for m in known] == [a.version for a in applied]
    assert [] == await migrate(empty_database_url)


async def test_what_was_applied_is_remembered(empty_database_url: str) -> None:
    """Number, name, checksum, time and duration of each are in the database; a later release applies the rest only."""
    await migrate(empty_database_url, migrations=[FIRST])
    later = await migrate(empty_database_url, migrations=[FIRST, SECOND])
    assert [(2, "second")] == [(a.version, a.name) for a in later]
    connection = await asyncpg.connect(empty_database_url)
    rows = await connection.fetch("SELECT version, name, checksum, duration_ms >= 0 AS timed FROM schema_migration")
    await connection.close()
    assert [(1, "first", FIRST.checksum, True), (2, "second", SECOND.checksum, True)] == [tuple(row) for row in rows]


async def test_status_tells_applied_pending_and_newer(empty_database_url: str) -> None:
    """Asking changes nothing, not even in an empty database."""
    connection = await asyncpg.connect(empty_database_url)
    try:
        assert [FIRST] == await pending(connection, [FIRST])
        assert await connection.fetchval("SELECT to_regclass('schema_migration')") is None
        await migrate(connection, migrations=[FIRST])
        found = await status(connection, [FIRST, SECOND])
        assert ((1,), (SECOND,), ()) == (found.applied, found.pending, found.newer)
        await migrate(connection, migrations=[FIRST, SECOND])
        assert (2,) == (await status(connection, [FIRST])).newer
    finally:
        await connection.close()


async def test_older_release_may_run_but_not_migrate(empty_database_url: str) -> None:
    """A database that is newer than the code is not touched by the code's migrations."""
    await migrate(empty_database_url, migrations=[FIRST, SECOND])
    with pytest.raises(SchemaNewer, match="at 0002, this release knows up to 0001"):
        await migrate(empty_database_url, migrations=[FIRST])
    assert [] == await migrate(empty_database_url, migrations=[FIRST], allow_newer=True)


async def test_changed_file_is_refused(empty_database_url: str) -> None:
    """What ran elsewhere must be what ran here: a file that was changed afterwards is named."""
    await migrate(empty_database_url, migrations=[FIRST])
    changed = Migration(1, "first", FIRST.sql + "-- harmless?\n")
    with pytest.raises(MigrationError, match=r"0001_first\.sql was changed after it was applied"):
        await migrate(empty_database_url, migrations=[changed])


async def test_failure_in_the_middle_undoes_the_file_and_names_the_line(empty_database_url: str) -> None:
    """The file that fails leaves nothing; those before it stay."""
    broken = Migration(2, "broken", "CREATE TABLE half (x int);\n\nALTER TABLE first\n    ADD COLUMN y no_such_type;\n")
    with pytest.raises(
        MigrationFailed, match=r"0002_broken\.sql, line 4: type .no_such_type. does not exist"
    ) as failed:
        await migrate(empty_database_url, migrations=[FIRST, broken])
    assert 4 == failed.value.line
    assert await pg.ask(empty_database_url, "SELECT to_regclass('half')") is None
    assert 1 == await pg.ask(empty_database_url, "SELECT max(version) FROM schema_migration")


async def test_file_outside_a_transaction_runs_statement_by_statement(empty_database_url: str) -> None:
    """CREATE INDEX CONCURRENTLY is possible; comments are no statements."""
    await migrate(empty_database_url, migrations=[FIRST, OUTSIDE])
    assert await pg.ask(empty_database_url, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'first_x'::regclass")


async def test_failure_outside_a_transaction_names_the_line_and_may_be_repeated(empty_database_url: str) -> None:
    """What failed is not recorded, so that the next run begins the file again."""
    broken = Migration(
        2, "index", "-- no-transaction\nCREATE TABLE IF NOT EXISTS half (x int);\nDROP INDEX\n  nowhere;\n"
    )
    with pytest.raises(MigrationFailed, match=r"0002_index\.sql, line 3: index .nowhere. does not exist"):
        await migrate(empty_database_url, migrations=[FIRST, broken])
    assert 1 == await pg.ask(empty_database_url, "SELECT max(version) FROM schema_migration")
    await migrate(empty_database_url, migrations=[FIRST, OUTSIDE])
    assert 2 == await pg.ask(empty_database_url, "SELECT max(version) FROM schema_migration")


async def test_of_two_at_once_one_applies_and_the_other_finds_nothing(empty_database_url: str) -> None:
    """Two daemons may start at the same moment; an index made concurrently does not lock them against each other."""
    runs = await asyncio.gather(*(migrate(empty_database_url, migrations=[FIRST, OUTSIDE]) for _ in range(3)))
    assert [0, 0, 2] == sorted(len(applied) for applied in runs)


async def test_wait_for_another_one_is_bounded(empty_database_url: str) -> None:
    """A migration that hangs elsewhere is told of, not waited for for ever."""
    other = await asyncpg.connect(empty_database_url)
    try:
        await other.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
        with pytest.raises(MigrationError, match="another process has been migrating"):
            await migrate(empty_database_url, migrations=[FIRST], lock_wait_s=0)
    finally:
        await other.close()


async def test_table_that_is_in_use_is_not_waited_for_for_ever(empty_database_url: str) -> None:
    """A long transaction makes the migration fail, rather than all traffic queue behind it; it works when it is over."""
    await migrate(empty_database_url, migrations=[FIRST])
    other = await asyncpg.connect(empty_database_url)
    try:
        await other.execute("BEGIN; LOCK TABLE first")
        with pytest.raises(MigrationFailed, match=r"0002_second\.sql, line 1: .*lock timeout"):
            await migrate(empty_database_url, migrations=[FIRST, SECOND], lock_timeout_s=0.05)
    finally:
        await other.close()
    assert 1 == len(await migrate(empty_database_url, migrations=[FIRST, SECOND]))


async def test_connection_is_given_back_as_it_was(empty_database_url: str) -> None:
    """The limits of the migration do not stay on a connection that was lent to it."""
    connection = await asyncpg.connect(empty_database_url, server_settings={"statement_timeout": "12345"})
    try:
        await migrate(connection, migrations=[FIRST])
        assert "12345ms" == await connection.fetchval("SHOW statement_timeout")
        assert "0" == await connection.fetchval("SHOW lock_timeout")
        assert 0 == await connection.fetchval(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        )
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["0001_a.sql", "0003_b.sql"], "0003_b.sql: expected number 0002"),
        (["0001_a.sql", "0001_b.sql"], "0001_b.sql: expected number 0002"),
        (["0002_a.sql"], "0002_a.sql: expected number 0001"),
        (["1_a.sql"], "1_a.sql: a migration is named"),
        (["0001-a.sql"], "0001-a.sql: a migration is named"),
    ],
)
def test_files_are_numbered_without_gap_or_double(tmp_path: Path, names: list[str], words: str) -> None:
    """Two branches that took the same number are found at the first run, not in production."""
    for name in names:
        (tmp_path / name).write_text("SELECT 1;\n")
    with pytest.raises(MigrationError, match=words):
        load(tmp_path)


def test_line_endings_of_a_checkout_do_not_change_the_checksum(tmp_path: Path) -> None:
    """The same commit has the same checksums everywhere."""
    (tmp_path / "0001_a.sql").write_bytes(b"SELECT 1;\r\nSELECT 2;\r\n")
    (tmp_path / "README").write_text("not a migration")
    assert (Migration(1, "a", "SELECT 1;\nSELECT 2;\n"),) == load(tmp_path)
