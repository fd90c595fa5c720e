"""The auditor: does the database tell one story? Every balance, counter and range, computed again from the rows beneath it.

What it is for: a proof at any moment, and the name of the first row that does not fit. What it is not: a repair; what is
wrong here is a fault to understand first. All checks see one snapshot (REPEATABLE READ, READ ONLY), so a daemon that is
sending meanwhile neither disturbs them nor is disturbed. The rules are architecture.md, "Money" and "Counters"; the
statements are in `audit_ledger.py` and `audit_messages.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dispatcher.storage.audit_ledger import LEDGER_CHECKS, Statement
from dispatcher.storage.audit_messages import MESSAGE_CHECKS

CHECKS = (*LEDGER_CHECKS, *MESSAGE_CHECKS)

# Enough for the aggregates over a million messages to stay in memory; hash tables may take twice this.
_WORK_MEM = "128MB"
TIMEOUT_MAX_S = 900


@dataclass(frozen=True, slots=True)
class Check:
    """One statement about the rows, and whether it holds. `detail` says how many rows were looked at, or which is wrong."""

    name: str
    ok: bool
    detail: str


async def audit(conn: Any, *, timeout_s: float = 300.0) -> list[Check]:
    """Run every check on one snapshot; `conn` must not be in a transaction. Each statement may take `timeout_s` seconds
    (1..TIMEOUT_MAX_S). ValueError outside this; asyncpg.QueryCanceledError when one takes longer."""
    if not 1 <= timeout_s <= TIMEOUT_MAX_S:
        raise ValueError(f"an audit's statement may take 1 to {TIMEOUT_MAX_S} seconds, not {timeout_s}")
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        await conn.execute(
            "SELECT set_config('statement_timeout', $1, true), set_config('work_mem', $2, true), "
            "set_config('jit', 'off', true)",
            f"{int(timeout_s * 1000)}ms",
            _WORK_MEM,
        )
        return [await _run(conn, statement) for statement in CHECKS]


async def _run(conn: Any, statement: Statement) -> Check:
    row = await conn.fetchrow(statement.sql)
    checked, differences = row["checked"] or 0, row["differences"] or 0
    if not differences:
        return Check(statement.name, ok=True, detail=f"{checked:,} {statement.of}")
    more = f" (the first of {differences:,} differences)" if differences > 1 else ""
    return Check(statement.name, ok=False, detail=f"{row['first']}{more}")


def is_ok(checks: Sequence[Check]) -> bool:
    """Whether all hold."""
    return all(check.ok for check in checks)
