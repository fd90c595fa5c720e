"""The auditor's statements about messages: each lies in one batch, and has one delivery, to its own phone.

What it is for: the first promise (nobody gets a message twice) as statements about the rows. What it is not: code;
`audit.py` runs these. Each answers one row (checked, differences, first: the first difference in words). A million messages
take seconds; the one index that matters is the key of `msg`, which the ranges of the batches follow.
"""

from dispatcher.storage.audit_ledger import Statement

# Positions 1, 2, 3 ... without a gap, phones rising: then a position and a phone lie in one batch at most.
_RANGES = """
WITH x AS (
    SELECT tenant_id, campaign_id, batch_id, n_from, phone_from, phone_to, lag(n_from + size, 1, 1) OVER w AS n_due,
           lag(phone_to, 1, 0::bigint) OVER w AS phone_before
    FROM batch WHERE campaign_id IS NOT NULL WINDOW w AS (PARTITION BY tenant_id, campaign_id ORDER BY n_from, batch_id)
), wrong AS (
    SELECT * FROM x WHERE n_from <> n_due OR phone_from <= phone_before OR phone_to < phone_from
)
SELECT (SELECT count(*) FROM x) AS checked, (SELECT count(*) FROM wrong) AS differences, (
    SELECT format('tenant %s, campaign %s, batch %s: starts at position %s where %s is due, its phones %s',
                  tenant_id, campaign_id, batch_id, n_from, n_due, CASE WHEN phone_from <= phone_before
                  THEN 'overlap those of the batch before' WHEN phone_to < phone_from THEN 'end before they start'
                  ELSE 'follow those of the batch before' END)
    FROM wrong ORDER BY tenant_id, campaign_id, n_from, batch_id LIMIT 1) AS first
"""

_IN_RANGES = """
WITH x AS (
    SELECT b.tenant_id, b.campaign_id, b.batch_id, b.size, m.found, m.misplaced
    FROM batch b CROSS JOIN LATERAL (
        SELECT count(*) AS found, count(*) FILTER (WHERE n <> b.n_from + place - 1) AS misplaced
        FROM (SELECT n, row_number() OVER (ORDER BY phone) AS place FROM msg
              WHERE tenant_id = b.tenant_id AND campaign_id = b.campaign_id AND phone BETWEEN b.phone_from AND b.phone_to) r
    ) m WHERE b.campaign_id IS NOT NULL
    UNION ALL
    SELECT b.tenant_id, NULL, b.batch_id, b.size, coalesce(d.found, 0), coalesce(d.misplaced, 0)
    FROM batch b LEFT JOIN (
        SELECT tenant_id, batch_id, count(*) AS found, (max(n) <> count(*) OR min(n) <> 1)::int AS misplaced
        FROM direct GROUP BY tenant_id, batch_id
    ) d ON d.tenant_id = b.tenant_id AND d.batch_id = b.batch_id WHERE b.campaign_id IS NULL
), outside AS (
    SELECT tenant_id, campaign_id, sum(messages) AS messages, sum(size) AS size FROM (
        SELECT tenant_id, campaign_id, count(*) AS messages, 0 AS size FROM msg GROUP BY tenant_id, campaign_id
        UNION ALL
        SELECT tenant_id, campaign_id, 0, sum(size) FROM batch WHERE campaign_id IS NOT NULL GROUP BY tenant_id, campaign_id
    ) both_sides GROUP BY tenant_id, campaign_id HAVING sum(messages) <> sum(size)
), wrong AS (
    SELECT tenant_id, campaign_id, batch_id, format('batch %s of %s messages: %s lie in its range, %s of them at a wrong position',
           batch_id, size, found, misplaced) AS words FROM x WHERE found <> size OR misplaced > 0
    UNION ALL
    SELECT o.tenant_id, o.campaign_id, NULL, format('%s messages, but batches for %s%s', o.messages, o.size,
           ' (in no batch: position ' || (
               SELECT min(m.n) FROM msg m WHERE m.tenant_id = o.tenant_id AND m.campaign_id = o.campaign_id AND NOT EXISTS (
                   SELECT FROM batch b WHERE b.tenant_id = m.tenant_id AND b.campaign_id = m.campaign_id
                   AND m.phone BETWEEN b.phone_from AND b.phone_to)) || ')') FROM outside o
)
SELECT (SELECT sum(found) FROM x)::bigint AS checked, (SELECT count(*) FROM wrong) AS differences, (
    SELECT format('tenant %s%s, %s', tenant_id, ', campaign ' || campaign_id, words)
    FROM wrong ORDER BY tenant_id, campaign_id, batch_id LIMIT 1) AS first
"""

_BATCH_DELIVERIES = """
WITH d AS (
    SELECT tenant_id, batch_id, count(*) AS rows, min(n) AS first_n, max(n) AS last_n,
           min(campaign_id) AS campaign_id FROM delivery GROUP BY tenant_id, batch_id
), x AS (
    SELECT tenant_id, batch_id, b.campaign_id, b.state, CASE WHEN b.state = 'recorded' THEN b.size ELSE b.resolved END AS due,
           coalesce(d.rows, 0) AS rows,
           d.first_n < b.n_from OR d.last_n >= b.n_from + b.size AS outside, d.campaign_id IS DISTINCT FROM b.campaign_id AS other
    FROM batch b FULL JOIN d USING (tenant_id, batch_id)
), wrong AS (
    SELECT * FROM x WHERE due IS DISTINCT FROM rows OR outside OR (other AND rows > 0)
)
SELECT (SELECT count(*) FROM x) AS checked, (SELECT count(*) FROM wrong) AS differences, (
    SELECT format('tenant %s, batch %s (%s): %s deliveries where %s are due%s%s', tenant_id, batch_id, coalesce(state, 'no such batch'),
                  rows, coalesce(due, 0), CASE WHEN outside THEN ', some at positions outside its range' END,
                  CASE WHEN other AND state IS NOT NULL THEN ', some of another campaign' END)
    FROM wrong ORDER BY tenant_id, batch_id LIMIT 1) AS first
"""

# A campaign's message is (campaign, n), in whichever batch it lies; a direct one is (batch, n).
_ONE_DELIVERY = """
WITH g AS (
    SELECT coalesce(sum(rows), 0)::bigint AS checked, count(*) FILTER (WHERE rows > 1) AS differences,
           min(ARRAY[tenant_id, coalesce(campaign_id, 0), coalesce(batch_id, 0), n, rows]) FILTER (WHERE rows > 1) AS first
    FROM (SELECT tenant_id, campaign_id, CASE WHEN campaign_id IS NULL THEN batch_id END AS batch_id, n, count(*) AS rows
          FROM delivery GROUP BY 1, 2, 3, 4) d
)
SELECT checked, differences, format('tenant %s, %s, position %s: %s deliveries of one message', first[1],
       CASE WHEN first[2] <> 0 THEN 'campaign ' || first[2] ELSE 'batch ' || first[3] END, first[4], first[5]) AS first FROM g
"""

_TO_THE_RIGHT_PHONE = """
WITH x AS (
    SELECT d.tenant_id, d.batch_id, d.n, m.n IS NOT DISTINCT FROM d.n AS ok
    FROM delivery d LEFT JOIN msg m ON m.tenant_id = d.tenant_id AND m.campaign_id = d.campaign_id AND m.phone = d.phone
    WHERE d.campaign_id IS NOT NULL
    UNION ALL
    SELECT d.tenant_id, d.batch_id, d.n, m.phone IS NOT DISTINCT FROM d.phone
    FROM delivery d LEFT JOIN direct m ON m.tenant_id = d.tenant_id AND m.batch_id = d.batch_id AND m.n = d.n
    WHERE d.campaign_id IS NULL
), g AS (
    SELECT count(*) AS checked, count(*) FILTER (WHERE NOT ok) AS differences,
           min(ARRAY[tenant_id, batch_id, n]) FILTER (WHERE NOT ok) AS first FROM x
)
SELECT checked, differences, format('tenant %s, batch %s, position %s: its delivery is to a phone that the message is not for',
       first[1], first[2], first[3]) AS first FROM g
"""

_PROVIDER_KEYS = """
SELECT coalesce(sum(rows), 0)::bigint AS checked, count(*) FILTER (WHERE rows > 1) AS differences,
       min(format('provider key %s: %s deliveries, of batches %s and %s', provider_key, rows, low, high))
           FILTER (WHERE rows > 1) AS first
FROM (SELECT provider_key, count(*) AS rows, min(batch_id) AS low, max(batch_id) AS high
      FROM delivery WHERE provider_key IS NOT NULL GROUP BY provider_key) k
"""

MESSAGE_CHECKS = (
    Statement("batches_follow_each_other", "batches", _RANGES),
    Statement("messages_lie_in_their_batch", "messages", _IN_RANGES),
    Statement("batches_have_their_deliveries", "batches", _BATCH_DELIVERIES),
    Statement("one_delivery_a_message", "deliveries", _ONE_DELIVERY),
    Statement("deliveries_are_to_the_message_s_phone", "deliveries", _TO_THE_RIGHT_PHONE),
    Statement("provider_keys_are_unique", "deliveries", _PROVIDER_KEYS),
)
