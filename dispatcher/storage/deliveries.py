"""What became of messages: the rows that a batch's end writes, in one transaction with its credits and counters."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, ClassVar

from dispatcher.domain import money
from dispatcher.domain.lattice import MessageState
from dispatcher.storage import batches
from dispatcher.storage.unit import Done, PoolName

COLUMNS = (
    "batch_id",
    "campaign_id",
    "phone",
    "provider_key",
    "recorded_at",
    "tenant_id",
    "n",
    "price",
    "recorded_on",
    "state",
    "segments",
    "id_form",
    "provider_raw",
    "reason",
    "text",
)
# Places in a record, for whoever filters or sums records.
N, PRICE, STATE = COLUMNS.index("n"), COLUMNS.index("price"), COLUMNS.index("state")

Record = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """A batch's answer was recorded. `late`: evidence had settled some messages before; they were left as they were."""

    accepted: int
    rejected: int
    suppressed: int
    captured: int
    late: int
    completed: bool


@dataclass(frozen=True, slots=True)
class NotOurs:
    """The batch was taken by another claim since: nothing was recorded. If the provider accepted messages of ours, some
    may have been sent twice; unless the state is 'recorded' under our own fence: then a commit whose answer was lost had
    recorded it already."""

    state: str | None
    fence: int


async def ensure_partitions(conn: Any, first: date, days: int) -> int:
    """Make sure that the delivery partitions of `days` days from `first` on exist; how many were made."""
    made: int = await conn.fetchval("SELECT ensure_delivery_partitions($1, $2)", first, days)
    return made


async def summarize(conn: Any, day: date) -> int:
    """Let the batch index of a day know its newest pages, which autovacuum may leave out for long: until then each read of a
    batch reads them all. Cheap when there is nothing new. How many ranges were summarized."""
    made: int | None = await conn.fetchval(
        """SELECT brin_summarize_new_values(c.oid::regclass) FROM pg_class c
           WHERE c.oid = to_regclass('delivery_' || to_char($1::date, 'YYYYMMDD') || '_batch')""",
        day,
    )
    return made or 0


async def copy_records(conn: Any, records: Sequence[Record]) -> None:
    """Insert delivery rows. Raises asyncpg.UniqueViolationError when a provider id is there already that day."""
    await conn.copy_records_to_table("delivery", records=records, columns=COLUMNS)


_LOCK = """
SELECT state, hold, size, resolved FROM batch
WHERE tenant_id = $1 AND batch_id = $2 AND fence = $3 AND state IN ('claimed', 'submitting', 'unknown') FOR UPDATE
"""

_RECORD = """
WITH b AS (
    UPDATE batch SET state = 'recorded', hold = 0, owner = NULL, lease_until = NULL, finished_at = clock_timestamp(), reason = $4
    WHERE tenant_id = $1 AND batch_id = $2
)
UPDATE campaign_counter SET
    planned = planned - CASE WHEN $5 = 'claimed' THEN $6::int ELSE 0 END,
    submitting = submitting - CASE WHEN $5 = 'submitting' THEN $6::int ELSE 0 END,
    unknown = unknown - CASE WHEN $5 = 'unknown' THEN $6::int ELSE 0 END,
    accepted = accepted + $7, rejected = rejected + $8, suppressed = suppressed + $9,
    held = held - $10::bigint, captured = captured + $11::bigint, released = released + $10::bigint - $11::bigint
WHERE tenant_id = $1 AND campaign_id = $3
RETURNING planned + submitting AS open
"""


# A small direct batch in one statement: no counters, nothing settled before. No row: the long way finds out why.
_SETTLE_DIRECT = """
WITH old AS MATERIALIZED (
    SELECT hold FROM batch WHERE tenant_id = $1 AND batch_id = $2 AND fence = $3 AND resolved = 0 AND campaign_id IS NULL
      AND state IN ('claimed', 'submitting', 'unknown') FOR UPDATE
), b AS (
    UPDATE batch SET state = 'recorded', hold = 0, owner = NULL, lease_until = NULL, finished_at = clock_timestamp(), reason = $4
    WHERE tenant_id = $1 AND batch_id = $2 AND EXISTS (SELECT FROM old)
), d AS (
    INSERT INTO delivery (batch_id, tenant_id, recorded_at, recorded_on, phone, provider_key, n, price, state, segments, id_form,
                          provider_raw, reason, text)
    SELECT $2, $1, $5, $6, r.* FROM unnest($7::bigint[], $8::uuid[], $9::int[], $10::int[], $11::smallint[], $12::smallint[],
                                           $13::smallint[], $14::text[], $15::text[], $16::text[]) AS r
    WHERE EXISTS (SELECT FROM old)
)
SELECT hold FROM old
"""
_DIRECT_COLUMNS = [
    COLUMNS.index(name)
    for name in (
        "phone",
        "provider_key",
        "n",
        "price",
        "state",
        "segments",
        "id_form",
        "provider_raw",
        "reason",
        "text",
    )
]
_RECORDED_AT, _RECORDED_ON = COLUMNS.index("recorded_at"), COLUMNS.index("recorded_on")


class SettleUnit:
    """The provider answered (or nothing was left to ask): provider ids, batch, counters and credits, all or none."""

    pool: ClassVar[PoolName] = "main"

    def __init__(self, claim: batches.Claim, records: Sequence[Record], reason: str | None = None) -> None:
        self.claim = claim
        self.records = records
        self.reason = reason

    async def run(self, conn: Any) -> Done:
        """The value is Settled, or NotOurs."""
        c = self.claim
        if c.campaign_id is None and (hold := await self._settle_direct(conn)) is not None:
            return self._done(self.records, hold, completed=False)
        row = await conn.fetchrow(_LOCK, c.tenant_id, c.batch_id, c.fence)
        if row is None:
            return Done(await self._not_ours(conn))
        records = self.records
        if row["resolved"] and row["state"] == "unknown":
            settled = await batches.settled_positions(conn, c.tenant_id, c.batch_id)
            records = [r for r in records if r[N] not in settled]
        await copy_records(conn, records)
        counts = _counts(records)
        open_ = await conn.fetchval(
            _RECORD,
            c.tenant_id,
            c.batch_id,
            c.campaign_id,
            self.reason,
            row["state"],
            len(records),
            counts[MessageState.ACCEPTED],
            counts[MessageState.REJECTED],
            counts[MessageState.SUPPRESSED],
            row["hold"],
            sum(r[PRICE] for r in records),
        )
        completed = open_ == 0 and await batches.complete_if_done(conn, c.tenant_id, c.campaign_id or 0)
        return self._done(records, row["hold"], completed=completed)

    def _done(self, records: Sequence[Record], hold: int, *, completed: bool) -> Done:
        c = self.claim
        counts = _counts(records)
        captured = sum(r[PRICE] for r in records)
        movement = money.settle(
            c.tenant_id,
            hold,
            captured,
            key=f"settle:{c.batch_id}:{c.fence}",
            campaign_id=c.campaign_id,
            batch_id=c.batch_id,
        )
        value = Settled(
            counts[MessageState.ACCEPTED],
            counts[MessageState.REJECTED],
            counts[MessageState.SUPPRESSED],
            captured,
            len(self.records) - len(records),
            completed,
        )
        return Done(value, [movement] if movement else ())

    async def _settle_direct(self, conn: Any) -> int | None:
        """The hold that the batch had; None when it is not as simple as this."""
        c, records = self.claim, self.records
        if not records:
            return None
        columns = [[record[place] for record in records] for place in _DIRECT_COLUMNS]
        hold: int | None = await conn.fetchval(
            _SETTLE_DIRECT,
            c.tenant_id,
            c.batch_id,
            c.fence,
            self.reason,
            records[0][_RECORDED_AT],
            records[0][_RECORDED_ON],
            *columns,
        )
        return hold

    async def _not_ours(self, conn: Any) -> NotOurs:
        row = await conn.fetchrow(
            "SELECT state, fence FROM batch WHERE tenant_id = $1 AND batch_id = $2",
            self.claim.tenant_id,
            self.claim.batch_id,
        )
        return NotOurs(None, 0) if row is None else NotOurs(row["state"], row["fence"])


def _counts(records: Sequence[Record]) -> dict[int, int]:
    counts: dict[int, int] = dict.fromkeys((MessageState.ACCEPTED, MessageState.REJECTED, MessageState.SUPPRESSED), 0)
    for record in records:
        counts[record[STATE]] += 1
    return counts


_UNKNOWN = """
WITH old AS (
    SELECT * FROM batch WHERE tenant_id = $1 AND batch_id = $2 AND fence = $3 AND state = 'submitting' FOR UPDATE
), b AS (
    UPDATE batch b SET state = 'unknown', owner = NULL, lease_until = NULL, reason = $4
    FROM old WHERE b.tenant_id = old.tenant_id AND b.batch_id = old.batch_id
    RETURNING b.tenant_id, b.campaign_id, b.size - b.resolved AS size
), k AS (
    UPDATE campaign_counter k SET submitting = k.submitting - b.size, unknown = k.unknown + b.size
    FROM b WHERE k.tenant_id = b.tenant_id AND k.campaign_id = b.campaign_id
    RETURNING k.planned + k.submitting
), p AS (
    INSERT INTO dlr_parked (provider_key, provider, provider_id, word)
    SELECT key, $5, id, '' FROM unnest($6::uuid[], $7::text[]) AS x(key, id) WHERE EXISTS (SELECT FROM b)
    ON CONFLICT DO NOTHING
)
SELECT count(*) FROM b
"""


async def mark_unknown(
    conn: Any, claim: batches.Claim, *, reason: str, provider: str, keys: Sequence[str], ids: Sequence[str]
) -> bool:
    """Asked, and no certain answer: the batch is `unknown`, its hold stays, and the ids that an incomplete answer named
    are parked for look-up. In a transaction. False when the sweep had said so already."""
    changed = await conn.fetchval(
        _UNKNOWN, claim.tenant_id, claim.batch_id, claim.fence, reason, provider, list(keys), list(ids)
    )
    if changed and claim.campaign_id is not None:
        await batches.complete_if_done(conn, claim.tenant_id, claim.campaign_id)
    return bool(changed)
