"""Link codes of messages, followed by people: which campaign and which phone a code stands for.

What it is not: evidence for uncertain sends (`unknowns.place_of_code`), or the making of codes (`domain/codes.py`).
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Target:
    """What a code stands for. `link_url`: where the campaign's short link leads, if it has one."""

    tenant_id: int
    campaign_id: int
    n: int
    phone: int
    tenant_name: str
    link_url: str | None


# The message is found in its batch's range of phones: `n` is in the row, not in the index.
_RESOLVE = """
WITH l AS MATERIALIZED (
    SELECT l.tenant_id, l.campaign_id, l.n_base + array_position(l.suffixes, $2::bigint) - 1 AS n
    FROM link_prefix p JOIN link_block l ON l.tenant_id = p.tenant_id AND l.prefix = p.prefix
    WHERE p.prefix = $1
), b AS MATERIALIZED (
    SELECT b.phone_from, b.phone_to FROM l CROSS JOIN LATERAL (
        SELECT phone_from, phone_to FROM batch
        WHERE tenant_id = l.tenant_id AND campaign_id = l.campaign_id AND n_from <= l.n
        ORDER BY n_from DESC LIMIT 1) b
)
SELECT l.tenant_id, l.campaign_id, l.n, m.phone, t.name, c.link_url
FROM l
CROSS JOIN b
JOIN msg m ON m.tenant_id = l.tenant_id AND m.campaign_id = l.campaign_id
          AND m.phone BETWEEN b.phone_from AND b.phone_to AND m.n = l.n
JOIN campaign c ON c.tenant_id = l.tenant_id AND c.campaign_id = l.campaign_id
JOIN tenant t ON t.tenant_id = l.tenant_id
WHERE l.n IS NOT NULL
"""


async def resolve(conn: Any, prefix: int, suffix: int) -> Target | None:
    """What a code stands for; None for a code that no message has."""
    row = await conn.fetchrow(_RESOLVE, prefix, suffix)
    return None if row is None else Target(*row)
