"""The price table as actors read it: from the database, at most `max_age_s` old."""

from dispatcher.config.clock import Clock
from dispatcher.domain.prices import PriceTable
from dispatcher.storage import ledger
from dispatcher.storage.pool import Database

MAX_AGE_S = 15.0


class Prices:
    """Shared by the actors of one process. A price that changes is used within `MAX_AGE_S` seconds."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._table: PriceTable | None = None
        self._read_at_s = 0.0

    async def table(self) -> PriceTable:
        """The prices valid now, or up to `MAX_AGE_S` ago. Raises DatabaseAway."""
        now_s = self._clock.monotonic_s()
        if self._table is None or now_s - self._read_at_s > MAX_AGE_S:
            async with self._db.acquire() as conn:
                rows = dict(await ledger.price_rows(conn))
            self._table = PriceTable(default=rows.pop("*", 1), by_country=rows)
            self._read_at_s = now_s
        return self._table
