"""Delivery reports: the durable inbox, applying reports to deliveries in batches, and parking those without a message."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, ClassVar, NamedTuple

from dispatcher.domain import money
from dispatcher.domain.lattice import MessageState
from dispatcher.storage.unit import Done, PoolName

# Reports mostly come within days: look there first, in the older partitions only for what is left. A message may have been
# recorded tomorrow, by a node whose clock is ahead.
RECENT_DAYS = 3


class KeyedReport(NamedTuple):
    """A report with its message's key (32 hex digits). `state`: a final state, ACCEPTED (on its way), or None (a word that
    is not known). `at`: the provider's time of it, a datetime or None."""

    key: str
    provider: str
    provider_id: str
    state: int | None
    word: str
    at: datetime | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Applied:
    """How many reports changed a message, found it already there, or found no message and are parked."""

    changed: int
    known: int
    parked: int


async def insert_inbox(conn: Any, provider: str, bodies: Sequence[bytes]) -> int:
    """Make webhook bodies durable; the id of their row."""
    inbox_id: int = await conn.fetchval(
        "INSERT INTO dlr_inbox (provider, bodies) VALUES ($1, $2) RETURNING inbox_id", provider, bodies
    )
    return inbox_id


async def left_inbox(
    conn: Any, older_than_s: float, limit: int, providers: Sequence[str], without: Sequence[int]
) -> list[Any]:
    """Rows (inbox_id, provider, bodies) that no living process seems to apply, of these providers, `without` those ids."""
    rows: list[Any] = await conn.fetch(
        """SELECT inbox_id, provider, bodies FROM dlr_inbox
           WHERE received_at <= now() - $1 * interval '1 second' AND provider = ANY($3::text[])
             AND NOT inbox_id = ANY($4::bigint[])
           ORDER BY inbox_id LIMIT $2""",
        older_than_s,
        limit,
        list(providers),
        list(without),
    )
    return rows


async def strange_inbox(conn: Any, providers: Sequence[str]) -> list[str]:
    """Providers that the inbox has bodies of and that are none of these."""
    rows = await conn.fetch(
        "SELECT DISTINCT provider FROM dlr_inbox WHERE NOT provider = ANY($1::text[])", list(providers)
    )
    return [row["provider"] for row in rows]


# The reports come as arrays sorted by their keys, so that a row finds its report by binary search (width_bucket). A join of
# the same is planned by what a day's partition looked like when it was last analyzed, which for a young one is nothing: it
# then compares each report with each row. This form has one plan only: the index, once for each key.
_APPLY = """
WITH up AS (
    UPDATE delivery d SET
        state = ($2::smallint[])[width_bucket(d.provider_key, $1::uuid[])],
        reported_at = ($3::timestamptz[])[width_bucket(d.provider_key, $1::uuid[])],
        reason = coalesce(($6::text[])[($4::smallint[])[width_bucket(d.provider_key, $1::uuid[])]], d.reason),
        reports = concat_ws('; ', d.reports, concat_ws(' ',
            ($5::text[])[($4::smallint[])[width_bucket(d.provider_key, $1::uuid[])]],
            date_trunc('second', ($3::timestamptz[])[width_bucket(d.provider_key, $1::uuid[])] AT TIME ZONE 'UTC')))
    WHERE d.provider_key = ANY($1::uuid[]) AND d.state = 30 AND d.recorded_on >= $7 AND d.recorded_on < $8
    RETURNING d.tenant_id, d.campaign_id, d.state, d.price, d.batch_id, d.n, d.provider_key
), g AS (
    SELECT tenant_id, campaign_id, count(*) AS n,
           count(*) FILTER (WHERE state = 40) AS delivered, count(*) FILTER (WHERE state = 41) AS undelivered,
           count(*) FILTER (WHERE state = 42) AS expired, count(*) FILTER (WHERE state = 43) AS rejected,
           coalesce(sum(price) FILTER (WHERE state <> 40), 0)::bigint AS lost,
           min(batch_id || ':' || n) FILTER (WHERE state <> 40) AS first_message
    FROM up GROUP BY tenant_id, campaign_id
), s AS (
    SELECT g.*, CASE WHEN t.refund_failed THEN g.lost ELSE 0 END AS refund FROM g JOIN tenant t ON t.tenant_id = g.tenant_id
), k AS (
    UPDATE campaign_counter k SET accepted = k.accepted - s.n, delivered = k.delivered + s.delivered,
           undelivered = k.undelivered + s.undelivered, expired = k.expired + s.expired, rejected = k.rejected + s.rejected,
           refunded = k.refunded + s.refund
    FROM s WHERE k.tenant_id = s.tenant_id AND k.campaign_id = s.campaign_id
)
SELECT tenant_id, campaign_id, n, refund, first_message,
       (SELECT array_agg(provider_key) FROM (SELECT provider_key FROM up GROUP BY 1 HAVING count(*) > 1) twice) AS ambiguous
FROM s
"""

_KNOWN = """
SELECT provider_key, state FROM delivery WHERE provider_key = ANY($1::uuid[]) AND recorded_on >= $2 AND recorded_on < $3
"""

# A word that no table knows moves no message, but is kept with it: once, and up to a bound.
_KEEP_WORDS = """
UPDATE delivery d SET reports = concat_ws('; ', d.reports, ev.word)
FROM unnest($1::uuid[], $2::text[]) AS ev(key, word)
WHERE d.provider_key = ev.key AND d.recorded_on >= $3 AND d.recorded_on < $4
  AND position(ev.word IN coalesce(d.reports, '')) = 0 AND length(coalesce(d.reports, '')) < 1000
"""

# A report that comes for an id already parked replaces it only when it says more: a final state over none or "on its way".
_PARK = """
INSERT INTO dlr_parked (provider_key, provider, provider_id, state, word, reported_at, reason)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::smallint[], $5::text[], $6::timestamptz[], $7::text[])
ON CONFLICT (provider_key) DO UPDATE SET state = excluded.state, word = excluded.word, reported_at = excluded.reported_at,
    reason = excluded.reason
WHERE coalesce(dlr_parked.state, 0) < 40 AND coalesce(excluded.state, 0) > coalesce(dlr_parked.state, 0)
"""

_BEFORE = date(1, 1, 1)


# For a person to look at: not tried again.
_PARK_ASIDE = """
INSERT INTO dlr_parked (provider_key, provider, provider_id, state, word, reported_at, reason, looked_up, next_try_at)
SELECT *, 'ambiguous_id', 'infinity'
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::smallint[], $5::text[], $6::timestamptz[], $7::text[])
ON CONFLICT (provider_key) DO UPDATE SET looked_up = excluded.looked_up, next_try_at = excluded.next_try_at
"""


class AmbiguousIds(Exception):
    """Rolls the apply back: a provider gave these ids (keys) to several of our messages that wait for a report, so a report
    of one says nothing certain. To be applied again without them."""

    def __init__(self, keys: Collection[str]) -> None:
        super().__init__(f"{len(keys)} provider ids stand for more than one message")
        self.keys = frozenset(keys)


class ApplyUnit:
    """Apply reports, one for each key at most, and forget the inbox rows that they came in: all or none.

    Only an accepted message changes, and only to a final state: repeated and late reports find nothing to do. Refunds for
    failed messages, where the tenant's policy gives them, are movements of the same transaction.
    """

    pool: ClassVar[PoolName] = "dlr"

    def __init__(
        self,
        reports: Sequence[KeyedReport],
        *,
        inbox_ids: Sequence[int] = (),
        today: date,
        ambiguous: Collection[str] = (),
    ) -> None:
        self.reports = [r for r in reports if r.key not in ambiguous] if ambiguous else reports
        self.aside = [r for r in reports if r.key in ambiguous] if ambiguous else ()
        self.inbox_ids = list(inbox_ids)
        self.since = today - timedelta(days=RECENT_DAYS)

    async def run(self, conn: Any) -> Done:
        """The value is Applied. Raises AmbiguousIds."""
        applied, left, movements = await _apply_all(conn, self.reports, self.since)
        await _park(conn, _PARK, left)
        await _park(conn, _PARK_ASIDE, self.aside)
        if self.inbox_ids:
            await conn.execute("DELETE FROM dlr_inbox WHERE inbox_id = ANY($1::bigint[])", self.inbox_ids)
        return Done(applied, movements)


class ApplyParkedUnit:
    """Try parked reports again, as they stand under their lock; those that found their message are parked no longer."""

    pool: ClassVar[PoolName] = "dlr"

    def __init__(self, keys: Sequence[str], *, today: date) -> None:
        self.keys = list(keys)
        self.since = today - timedelta(days=RECENT_DAYS)

    async def run(self, conn: Any) -> Done:
        """The value is Applied. Raises AmbiguousIds."""
        rows = await conn.fetch(
            """SELECT provider_key, provider, provider_id, state, word, reported_at, reason FROM dlr_parked
               WHERE provider_key = ANY($1::uuid[]) ORDER BY provider_key FOR UPDATE""",
            self.keys,
        )
        reports = [KeyedReport(row[0].hex, row[1], row[2], row[3], row[4], row[5], row[6]) for row in rows]
        applied, left, movements = await _apply_all(conn, reports, self.since)
        gone = {r.key for r in reports} - {r.key for r in left}
        await conn.execute("DELETE FROM dlr_parked WHERE provider_key = ANY($1::uuid[])", list(gone))
        return Done(applied, movements)


async def _apply_all(
    conn: Any, reports: Sequence[KeyedReport], since: date
) -> tuple[Applied, Sequence[KeyedReport], list[money.Movement]]:
    movements: list[money.Movement] = []
    until = since + timedelta(days=RECENT_DAYS + 2)
    changed, left = await _apply_between(conn, reports, since, until, movements)
    if left:
        older, left = await _apply_between(conn, left, _BEFORE, since, movements)
        changed += older
    return Applied(changed, len(reports) - changed - len(left), len(left)), left, movements


async def _apply_between(
    conn: Any, reports: Sequence[KeyedReport], since: date, until: date, movements: list[money.Movement]
) -> tuple[int, Sequence[KeyedReport]]:
    """How many messages of these days changed, and the reports that found none."""
    finals = [r for r in reports if _is_final(r)]
    changed = await _apply(conn, finals, since, until, movements)
    if changed == len(reports):
        return changed, ()
    rows = await conn.fetch(_KNOWN, [r.key for r in reports], since, until)
    known = {row["provider_key"].hex: row["state"] for row in rows}
    # Each statement sees what was committed before it began: a message that was recorded between the two is known to the
    # second, and untouched by the first.
    late = [r for r in finals if known.get(r.key) == MessageState.ACCEPTED]
    changed += await _apply(conn, late, since, until, movements)
    strange = [r for r in reports if r.state is None and r.word and r.key in known]
    if strange:
        await conn.execute(_KEEP_WORDS, [r.key for r in strange], [r.word for r in strange], since, until)
    return changed, [r for r in reports if r.key not in known]


def _key(report: KeyedReport) -> str:
    return report.key


def _is_final(report: KeyedReport) -> bool:
    return report.state is not None and report.state >= MessageState.DELIVERED


async def _apply(
    conn: Any, reports: Sequence[KeyedReport], since: date, until: date, movements: list[money.Movement]
) -> int:
    if not reports:
        return 0
    ordered = sorted(reports, key=_key)
    # What reports say is mostly the same few things: told once, and named by their place.
    sayings = {saying: place for place, saying in enumerate(dict.fromkeys((r.word, r.reason) for r in ordered), 1)}
    rows = await conn.fetch(
        _APPLY,
        [r.key for r in ordered],
        [r.state for r in ordered],
        [r.at for r in ordered],
        [sayings[r.word, r.reason] for r in ordered],
        [word for word, _ in sayings],
        [reason for _, reason in sayings],
        since,
        until,
    )
    if rows and rows[0]["ambiguous"]:
        raise AmbiguousIds([key.hex for key in rows[0]["ambiguous"]])
    for row in rows:
        if row["refund"]:
            # A message ends once; its id may have been another's on another day.
            key = f"refund:{row['campaign_id'] or 0}:{row['first_message']}"
            movements.append(
                money.refund(
                    row["tenant_id"], row["refund"], key=key, campaign_id=row["campaign_id"], note="not delivered"
                )
            )
    return sum(row["n"] for row in rows)


async def _park(conn: Any, statement: str, left: Sequence[KeyedReport]) -> None:
    if not left:
        return
    ordered = sorted(left, key=_key)  # one order of locks, whoever else parks
    await conn.execute(
        statement,
        [r.key for r in ordered],
        [r.provider for r in ordered],
        [r.provider_id for r in ordered],
        [r.state for r in ordered],
        [r.word for r in ordered],
        [r.at for r in ordered],
        [r.reason for r in ordered],
    )
