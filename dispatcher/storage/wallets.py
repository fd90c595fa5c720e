"""Reading a wallet's movements for whoever owns it. The balance is `ledger.balance`; nothing here moves a credit."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dispatcher.domain.money import Account


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A movement: what each account gained (or lost, below zero), in credits."""

    journal_id: int
    kind: str
    campaign_id: int | None
    batch_id: int | None
    note: str | None
    created_at: datetime
    amounts: Mapping[str, int]


_PAGE = """
WITH j AS MATERIALIZED (
    SELECT tenant_id, journal_id, kind, campaign_id, batch_id, note, created_at FROM journal
    WHERE tenant_id = $1 AND journal_id < $2 ORDER BY journal_id DESC LIMIT $3
)
SELECT j.journal_id, j.kind, j.campaign_id, j.batch_id, j.note, j.created_at,
       array_agg(e.account ORDER BY e.account) AS accounts, array_agg(e.amount ORDER BY e.account) AS amounts
FROM j JOIN entry e ON e.tenant_id = j.tenant_id AND e.journal_id = j.journal_id AND e.tenant_id = $1
GROUP BY j.journal_id, j.kind, j.campaign_id, j.batch_id, j.note, j.created_at
ORDER BY j.journal_id DESC
"""


async def entries(conn: Any, tenant_id: int, *, before: int, limit: int) -> list[JournalEntry]:
    """The movements before the id `before`, newest first."""
    return [
        JournalEntry(
            row["journal_id"],
            row["kind"],
            row["campaign_id"],
            row["batch_id"],
            row["note"],
            row["created_at"],
            {
                Account(account).name.lower(): amount
                for account, amount in zip(row["accounts"], row["amounts"], strict=True)
            },
        )
        for row in await conn.fetch(_PAGE, tenant_id, before, limit)
    ]
