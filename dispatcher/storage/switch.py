"""The kill switch: a row that every claim, every step onto the wire and every new direct message looks for.

It works on all nodes at once, since each of those statements reads it. A batch whose step onto the wire committed before the
row did is in flight; none comes after.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Stopped:
    """Since when nothing leaves, and why."""

    stopped_at: datetime
    reason: str


async def stop(conn: Any, reason: str) -> None:
    """Let nothing leave any more. The reason of a stop that is on already stays."""
    await conn.execute("INSERT INTO stop_switch (reason) VALUES ($1) ON CONFLICT DO NOTHING", reason)


async def start(conn: Any) -> None:
    """Let messages leave again."""
    await conn.execute("DELETE FROM stop_switch")


async def stopped(conn: Any) -> Stopped | None:
    """The stop that is on, if one is."""
    row = await conn.fetchrow("SELECT stopped_at, reason FROM stop_switch")
    return None if row is None else Stopped(row["stopped_at"], row["reason"])
