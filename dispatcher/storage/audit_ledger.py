"""The auditor's statements about credits: movements, balances, prices, and each campaign's counters.

What it is for: one place to read what must be true of the ledger. What it is not: code; `audit.py` runs these. Each answers
one row (checked, differences, first: the first difference in words), is set-based, and reads a table once.

The open part of a batch is `size - resolved`: evidence may have settled some of its messages.
"""

from typing import NamedTuple


class Statement(NamedTuple):
    """A check: its stable name, what it counts, and its SQL."""

    name: str
    of: str
    sql: str


_SUM_TO_ZERO = """
WITH e AS (
    SELECT tenant_id, journal_id, sum(amount) AS total, count(*) AS entries FROM entry GROUP BY tenant_id, journal_id
), x AS (
    SELECT tenant_id, journal_id, j.kind, e.total, coalesce(e.entries, 0) AS entries
    FROM journal j FULL JOIN e USING (tenant_id, journal_id)
), wrong AS (
    SELECT * FROM x WHERE total IS DISTINCT FROM 0 OR entries < 2 OR kind IS NULL
)
SELECT (SELECT count(*) FROM x) AS checked, (SELECT count(*) FROM wrong) AS differences, (
    SELECT format('tenant %s, movement %s (%s): %s entries that sum to %s',
                  tenant_id, journal_id, coalesce(kind, 'no journal row'), entries, coalesce(total, 0))
    FROM wrong ORDER BY tenant_id, journal_id LIMIT 1) AS first
"""

_KEYS_UNIQUE = """
SELECT coalesce(sum(n), 0)::bigint AS checked, count(*) FILTER (WHERE n > 1) AS differences,
       min(format('tenant %s: %s movements with the key %s', tenant_id, n, idempotency_key)) FILTER (WHERE n > 1) AS first
FROM (SELECT tenant_id, idempotency_key, count(*) AS n FROM journal GROUP BY tenant_id, idempotency_key) k
"""

_WALLETS = """
WITH e AS (
    SELECT tenant_id, coalesce(sum(amount) FILTER (WHERE account = 1), 0) AS available,
           coalesce(sum(amount) FILTER (WHERE account = 2), 0) AS held
    FROM entry GROUP BY tenant_id
), x AS (
    SELECT tenant_id, w.available, w.held, coalesce(e.available, 0) AS entries_available, coalesce(e.held, 0) AS entries_held
    FROM wallet w FULL JOIN e USING (tenant_id)
), wrong AS (
    SELECT * FROM x WHERE available IS DISTINCT FROM entries_available OR held IS DISTINCT FROM entries_held
)
SELECT (SELECT count(*) FROM x) AS checked, (SELECT count(*) FROM wrong) AS differences, (
    SELECT format('tenant %s: the wallet says available %s, held %s; its entries say available %s, held %s',
                  tenant_id, available, held, entries_available, entries_held)
    FROM wrong ORDER BY tenant_id LIMIT 1) AS first
"""

_HELD = """
WITH b AS (
    SELECT tenant_id, sum(hold) AS hold FROM batch
    WHERE state IN ('planned', 'claimed', 'submitting', 'unknown') GROUP BY tenant_id
), x AS (
    SELECT tenant_id, coalesce(w.held, 0) AS held, coalesce(b.hold, 0) AS hold FROM wallet w FULL JOIN b USING (tenant_id)
), wrong AS (
    SELECT * FROM x WHERE held <> hold
)
SELECT (SELECT count(*) FROM x) AS checked, (SELECT count(*) FROM wrong) AS differences, (
    SELECT format('tenant %s: the wallet holds %s credits, its open batches %s', tenant_id, held, hold)
    FROM wrong ORDER BY tenant_id LIMIT 1) AS first
"""

_ENDED_HOLD_NOTHING = """
WITH wrong AS (
    SELECT tenant_id, batch_id, state, hold FROM batch WHERE state IN ('recorded', 'closed', 'cancelled') AND hold <> 0
)
SELECT (SELECT count(*) FROM batch WHERE state IN ('recorded', 'closed', 'cancelled')) AS checked,
       (SELECT count(*) FROM wrong) AS differences, (
    SELECT format('tenant %s, batch %s is %s and still holds %s credits', tenant_id, batch_id, state, hold)
    FROM wrong ORDER BY tenant_id, batch_id LIMIT 1) AS first
"""

_REVENUE = """
WITH e AS (
    SELECT j.tenant_id, coalesce(sum(e.amount), 0) AS revenue,
           -coalesce(sum(e.amount) FILTER (WHERE j.kind NOT IN ('settle', 'resolve')), 0) AS refunds
    FROM journal j JOIN entry e ON e.tenant_id = j.tenant_id AND e.journal_id = j.journal_id
    WHERE e.account = 3 GROUP BY j.tenant_id
), d AS (
    SELECT tenant_id, sum(price) AS prices, coalesce(sum(price) FILTER (WHERE state BETWEEN 41 AND 43), 0) AS failed
    FROM delivery GROUP BY tenant_id
), x AS (
    SELECT tenant_id, coalesce(e.revenue, 0) AS revenue, coalesce(e.refunds, 0) AS refunds,
           coalesce(d.prices, 0) AS prices, coalesce(d.failed, 0) AS failed
    FROM e FULL JOIN d USING (tenant_id)
), wrong AS (
    SELECT * FROM x WHERE revenue <> prices - refunds OR refunds < 0 OR refunds > failed
)
SELECT (SELECT count(*) FROM x) AS checked, (SELECT count(*) FROM wrong) AS differences, (
    SELECT format('tenant %s: revenue is %s; the prices of its deliveries are %s (of failed ones %s), its refunds %s',
                  tenant_id, revenue, prices, failed, refunds)
    FROM wrong ORDER BY tenant_id LIMIT 1) AS first
"""

_REVENUE_POSITIVE = """
WITH x AS (
    SELECT tenant_id, sum(amount) AS revenue FROM entry WHERE account = 3 GROUP BY tenant_id
)
SELECT count(*) AS checked, count(*) FILTER (WHERE revenue < 0) AS differences, (
    SELECT format('tenant %s: revenue is %s', tenant_id, revenue) FROM x WHERE revenue < 0 ORDER BY tenant_id LIMIT 1) AS first
FROM x
"""

_COUNTERS = """
WITH b AS (
    SELECT tenant_id, campaign_id, sum(size) AS size,
           sum(size - resolved) FILTER (WHERE state IN ('planned', 'claimed')) AS planned,
           sum(size - resolved) FILTER (WHERE state = 'submitting') AS submitting,
           sum(size - resolved) FILTER (WHERE state IN ('unknown', 'closed')) AS unknown,
           sum(size - resolved) FILTER (WHERE state = 'cancelled') AS cancelled
    FROM batch WHERE campaign_id IS NOT NULL GROUP BY tenant_id, campaign_id
), d AS (
    SELECT tenant_id, campaign_id,
           count(*) FILTER (WHERE state = 30) AS accepted, count(*) FILTER (WHERE state = 40) AS delivered,
           count(*) FILTER (WHERE state = 41) AS undelivered, count(*) FILTER (WHERE state = 42) AS expired,
           count(*) FILTER (WHERE state = 43) AS rejected, count(*) FILTER (WHERE state = 44) AS suppressed
    FROM delivery WHERE campaign_id IS NOT NULL GROUP BY tenant_id, campaign_id
), m AS (
    SELECT tenant_id, campaign_id, count(*) AS messages FROM msg GROUP BY tenant_id, campaign_id
), x AS (
    SELECT tenant_id, campaign_id, place, what, coalesce(counted, 0) AS counted, coalesce(found, 0) AS found
    FROM campaign c LEFT JOIN campaign_counter k USING (tenant_id, campaign_id)
    LEFT JOIN b USING (tenant_id, campaign_id) LEFT JOIN d USING (tenant_id, campaign_id)
    LEFT JOIN m USING (tenant_id, campaign_id)
    CROSS JOIN LATERAL (VALUES
        (1, 'recipients (of its messages)', k.recipients, m.messages), (2, 'recipients (of its batches)', k.recipients, b.size),
        (3, 'recipients (planned so far)', k.recipients, c.plan_count),
        (4, 'recipients (sum of the states)', k.recipients, k.planned + k.submitting + k.accepted + k.delivered
            + k.undelivered + k.expired + k.rejected + k.suppressed + k.cancelled + k.unknown),
        (5, 'planned', k.planned, b.planned), (6, 'submitting', k.submitting, b.submitting),
        (7, 'unknown', k.unknown, b.unknown), (8, 'cancelled', k.cancelled, b.cancelled),
        (9, 'accepted', k.accepted, d.accepted), (10, 'delivered', k.delivered, d.delivered),
        (11, 'undelivered', k.undelivered, d.undelivered), (12, 'expired', k.expired, d.expired),
        (13, 'rejected', k.rejected, d.rejected), (14, 'suppressed', k.suppressed, d.suppressed)
    ) AS v(place, what, counted, found)
), wrong AS (
    SELECT * FROM x WHERE counted <> found
)
SELECT (SELECT count(*) FROM campaign) AS checked, (SELECT count(*) FROM wrong) AS differences, (
    SELECT format('tenant %s, campaign %s: %s is counted as %s, the rows say %s', tenant_id, campaign_id, what, counted, found)
    FROM wrong ORDER BY tenant_id, campaign_id, place LIMIT 1) AS first
"""

_CAMPAIGN_MONEY = """
WITH b AS (
    SELECT tenant_id, campaign_id, sum(hold) AS hold FROM batch WHERE campaign_id IS NOT NULL GROUP BY tenant_id, campaign_id
), d AS (
    SELECT tenant_id, campaign_id, sum(price) AS prices FROM delivery WHERE campaign_id IS NOT NULL GROUP BY tenant_id, campaign_id
), j AS (
    SELECT tenant_id, campaign_id, sum(e.amount) FILTER (WHERE e.account = 2) AS held,
           sum(e.amount) FILTER (WHERE e.account = 3 AND j.kind IN ('settle', 'resolve')) AS captured,
           sum(e.amount) FILTER (WHERE e.account = 1 AND j.kind IN ('settle', 'resolve', 'release')) AS released,
           -sum(e.amount) FILTER (WHERE e.account = 3 AND j.kind = 'refund') AS refunded
    FROM journal j JOIN entry e USING (tenant_id, journal_id)
    WHERE campaign_id IS NOT NULL GROUP BY tenant_id, campaign_id
), x AS (
    SELECT tenant_id, campaign_id, place, what, coalesce(counted, 0) AS counted, coalesce(found, 0) AS found
    FROM campaign c LEFT JOIN campaign_counter k USING (tenant_id, campaign_id)
    LEFT JOIN b USING (tenant_id, campaign_id) LEFT JOIN d USING (tenant_id, campaign_id)
    LEFT JOIN j USING (tenant_id, campaign_id)
    CROSS JOIN LATERAL (VALUES
        (1, 'held (by its batches)', k.held, b.hold), (2, 'held (by the ledger)', k.held, j.held),
        (3, 'captured (prices of its deliveries)', k.captured, d.prices), (4, 'captured (by the ledger)', k.captured, j.captured),
        (5, 'released', k.released, j.released), (6, 'refunded', k.refunded, j.refunded)
    ) AS v(place, what, counted, found)
), wrong AS (
    SELECT * FROM x WHERE counted <> found
)
SELECT (SELECT count(*) FROM campaign) AS checked, (SELECT count(*) FROM wrong) AS differences, (
    SELECT format('tenant %s, campaign %s: %s is counted as %s, the rows say %s', tenant_id, campaign_id, what, counted, found)
    FROM wrong ORDER BY tenant_id, campaign_id, place LIMIT 1) AS first
"""

LEDGER_CHECKS = (
    Statement("movements_sum_to_zero", "movements", _SUM_TO_ZERO),
    Statement("journal_keys_are_unique", "movements", _KEYS_UNIQUE),
    Statement("wallets_equal_their_entries", "wallets", _WALLETS),
    Statement("held_equals_the_open_batches", "wallets", _HELD),
    Statement("ended_batches_hold_nothing", "ended batches", _ENDED_HOLD_NOTHING),
    Statement("revenue_equals_prices_less_refunds", "tenants", _REVENUE),
    Statement("revenue_is_not_negative", "tenants", _REVENUE_POSITIVE),
    Statement("campaign_counters_equal_the_rows", "campaigns", _COUNTERS),
    Statement("campaign_credits_equal_the_rows", "campaigns", _CAMPAIGN_MONEY),
)
