"""Reports whose message is not known here: when each is tried again, what its provider said of it, and when it is forgotten.

How a parked report is applied is `reports.ApplyParkedUnit`.
"""

from collections.abc import Mapping, Sequence
from typing import Any


async def take_due_parked(conn: Any, limit: int, delays_s: Mapping[str, float]) -> list[Any]:
    """Parked reports whose next try is due; each is put off before it is tried, twice as long as the last time (bounded by
    `delays_s`: first, max), so that a crash in between costs one interval and two nodes share the work. One that the provider
    was asked about and that found no message within a day is not tried again."""
    rows: list[Any] = await conn.fetch(
        """UPDATE dlr_parked p SET attempts = p.attempts + 1,
                  next_try_at = CASE
                      WHEN p.looked_up IS NOT NULL AND p.parked_at < now() - interval '1 day' THEN 'infinity'
                      ELSE clock_timestamp() + least($2 * 2.0 ^ least(p.attempts, 30), $3) * interval '1 second' END
           FROM (SELECT provider_key FROM dlr_parked WHERE next_try_at <= clock_timestamp()
                 ORDER BY next_try_at LIMIT $1 FOR UPDATE SKIP LOCKED) due
           WHERE p.provider_key = due.provider_key
           RETURNING p.provider_key, p.provider, p.provider_id, p.state, p.word, p.reported_at, p.reason, p.attempts,
                     p.looked_up, extract(epoch FROM clock_timestamp() - p.parked_at)::float AS age_s""",
        limit,
        delays_s["first"],
        delays_s["max"],
    )
    return rows


async def note_lookups(conn: Any, keys: Sequence[str], words: Sequence[str]) -> None:
    """What the provider said of parked ids, in a word each: they are not looked up again."""
    await conn.execute(
        """UPDATE dlr_parked p SET looked_up = w.word FROM unnest($1::uuid[], $2::text[]) AS w(key, word)
           WHERE p.provider_key = w.key""",
        list(keys),
        list(words),
    )


async def set_aside(conn: Any, keys: Sequence[str], word: str) -> None:
    """Leave parked reports to a person, with the word that says why: they are not tried again."""
    await conn.execute(
        "UPDATE dlr_parked SET looked_up = $2, next_try_at = 'infinity' WHERE provider_key = ANY($1::uuid[])",
        list(keys),
        word,
    )


async def forget_parked(conn: Any, after_days: int) -> int:
    """Forget reports that found no message for so long; how many."""
    done: str = await conn.execute("DELETE FROM dlr_parked WHERE parked_at < now() - $1 * interval '1 day'", after_days)
    return int(done.rsplit(" ", 1)[1])


async def parked_count(conn: Any) -> int:
    """How many reports have no message: a small table, counted for the gauge only."""
    count: int = await conn.fetchval("SELECT count(*) FROM dlr_parked")
    return count


async def still_parked(conn: Any, keys: Sequence[Any]) -> set[Any]:
    """Those of these keys (UUIDs) that are still parked."""
    rows = await conn.fetch("SELECT provider_key FROM dlr_parked WHERE provider_key = ANY($1::uuid[])", list(keys))
    return {row["provider_key"] for row in rows}
