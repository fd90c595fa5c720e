"""Contact files: their state, the importer's place in each, and the rows that were refused.

A file lies in the spool of the node that took it, so only importers of that spool claim it; two of one spool are kept
apart by the lease and its fence. A slice's contacts, counters and place commit together: a killed import goes on exactly
where it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dispatcher.domain.contacts import FieldError


@dataclass(frozen=True, slots=True)
class Import:
    """A contact file's progress, in rows of the file. `processed` = created + updated + refused."""

    import_id: int
    status: str
    file_name: str
    processed: int
    created: int
    updated: int
    refused: int
    reason: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Job:
    """An import that is ours under `fence`: go on after `rows_done` rows."""

    tenant_id: int
    import_id: int
    fence: int
    spool_file: str
    rows_done: int
    country: str


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that became no contact."""

    row_number: int
    error: FieldError


@dataclass(frozen=True, slots=True)
class Progress:
    """What a slice did: it ended after `rows_done` rows of the file."""

    rows_done: int
    created: int
    updated: int
    refused: Sequence[RefusedRow]


async def queue(conn: Any, tenant_id: int, *, spool: str, spool_file: str, file_name: str) -> int:
    """A file is in the spool and waits; the import's id."""
    import_id: int = await conn.fetchval(
        """INSERT INTO contact_import (tenant_id, spool, spool_file, file_name) VALUES ($1, $2, $3, $4)
           RETURNING import_id""",
        tenant_id,
        spool,
        spool_file,
        file_name,
    )
    return import_id


async def get(conn: Any, tenant_id: int, import_id: int) -> Import | None:
    """One import."""
    row = await conn.fetchrow(
        """SELECT import_id, status, file_name, created + updated + refused AS processed, created, updated, refused, reason,
                  created_at, started_at, finished_at
           FROM contact_import WHERE tenant_id = $1 AND import_id = $2""",
        tenant_id,
        import_id,
    )
    return None if row is None else Import(*row)


async def refused_rows(
    conn: Any, tenant_id: int, import_id: int, *, after: int = 0, limit: int = 100
) -> list[RefusedRow]:
    """The next refused rows after the row `after`, in the file's order."""
    rows = await conn.fetch(
        """SELECT row_number, field, code, message FROM contact_import_error
           WHERE tenant_id = $1 AND import_id = $2 AND row_number > $3 ORDER BY row_number LIMIT $4""",
        tenant_id,
        import_id,
        after,
        limit,
    )
    return [RefusedRow(row["row_number"], FieldError(row["field"], row["code"], row["message"])) for row in rows]


_CLAIM = """
WITH picked AS (
    SELECT tenant_id, import_id FROM contact_import
    WHERE spool = $1 AND status IN ('pending', 'running')
      AND (status = 'pending' OR lease_until < clock_timestamp() OR owner = $2)
    ORDER BY import_id LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE contact_import i SET status = 'running', fence = i.fence + 1, owner = $2,
       lease_until = clock_timestamp() + $3 * interval '1 second', started_at = coalesce(i.started_at, now())
FROM picked p, tenant t
WHERE i.tenant_id = p.tenant_id AND i.import_id = p.import_id AND t.tenant_id = p.tenant_id
RETURNING i.tenant_id, i.import_id, i.fence, i.spool_file, i.rows_done, t.country
"""


async def claim(conn: Any, spool: str, owner: str, lease_s: float) -> Job | None:
    """The oldest import of this spool that waits, or that nobody works on any more."""
    row = await conn.fetchrow(_CLAIM, spool, owner, lease_s)
    return None if row is None else Job(*row)


async def advance(conn: Any, job: Job, progress: Progress, lease_s: float) -> bool:
    """In the slice's transaction: its counters, its refused rows and the place. False when the import is another's now:
    then roll back."""
    row = await conn.fetchrow(
        """UPDATE contact_import SET rows_done = $4, created = created + $5, updated = updated + $6, refused = refused + $7,
                  lease_until = clock_timestamp() + $8 * interval '1 second'
           WHERE tenant_id = $1 AND import_id = $2 AND fence = $3 AND status = 'running' RETURNING 1""",
        job.tenant_id,
        job.import_id,
        job.fence,
        progress.rows_done,
        progress.created,
        progress.updated,
        len(progress.refused),
        lease_s,
    )
    if row is None:
        return False
    if progress.refused:
        await conn.execute(
            """INSERT INTO contact_import_error (tenant_id, import_id, row_number, field, code, message)
               SELECT $1::int, $2::bigint, * FROM unnest($3::int[], $4::text[], $5::text[], $6::text[])""",
            job.tenant_id,
            job.import_id,
            [r.row_number for r in progress.refused],
            [r.error.field for r in progress.refused],
            [r.error.code for r in progress.refused],
            [r.error.message for r in progress.refused],
        )
    return True


async def finish(conn: Any, job: Job, *, reason: str | None = None) -> bool:
    """The import is completed, or failed for `reason`. False when it is another's now."""
    row = await conn.fetchrow(
        """UPDATE contact_import SET status = CASE WHEN $4::text IS NULL THEN 'completed' ELSE 'failed' END, reason = $4,
                  finished_at = now(), lease_until = NULL, owner = NULL
           WHERE tenant_id = $1 AND import_id = $2 AND fence = $3 AND status = 'running' RETURNING 1""",
        job.tenant_id,
        job.import_id,
        job.fence,
        reason,
    )
    return row is not None


async def open_files(conn: Any, spool: str) -> set[str]:
    """The files of a spool that an open import needs."""
    rows = await conn.fetch(
        "SELECT spool_file FROM contact_import WHERE spool = $1 AND status IN ('pending', 'running')", spool
    )
    return {row["spool_file"] for row in rows}
