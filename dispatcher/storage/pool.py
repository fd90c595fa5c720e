"""Connections to PostgreSQL: two pools, transactions, and what an error of a connection means.

It holds no SQL of the product: the query modules do. Its rules: a connection is held for database work only (never
across a provider's call), session state is set with SET LOCAL only, every wait is bounded, and a lost connection is one
`DatabaseAway` to whoever used it; the next use connects again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal, Self

import asyncpg
import structlog

from dispatcher.storage.errors import DatabaseAway, is_away, is_away_in_use, is_broken, is_disk_full, is_lost
from dispatcher.storage.listener import Listener

PoolName = Literal["main", "dlr"]

log = structlog.get_logger(__name__)

# A prepared statement of reports, planned while a day's partition had no statistics, took sequential scans: 5-10 times
# slower (measured). The reports' statements are all index look-ups, so their pool allows nothing else.
_PLANNER: dict[PoolName, dict[str, str]] = {
    "main": {"jit": "off"},
    "dlr": {
        "jit": "off",
        "enable_seqscan": "off",
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
        "enable_material": "off",
    },
}
_POOLS: tuple[PoolName, ...] = ("main", "dlr")


class Database:
    """The pools of one process. Make it with `open`, end it with `close`."""

    def __init__(
        self, dsn: str, pools: dict[PoolName, Any], *, acquire_timeout_s: float, connect: dict[str, Any]
    ) -> None:
        self._dsn = dsn
        self._pools = pools
        self._acquire_timeout_s = acquire_timeout_s
        self._connect = connect
        self._listener: Listener | None = None
        self._no_room: tuple[str, float] | None = None

    @classmethod
    async def open(
        cls,
        dsn: str,
        *,
        size_max: int = 16,
        dlr_size_max: int = 4,
        statement_timeout_s: float = 30.0,
        acquire_timeout_s: float = 5.0,
        connect_timeout_s: float = 5.0,
        application_name: str = "dispatcher",
    ) -> Self:
        """Open both pools with one connection each; more are made when needed, up to the sizes.

        A statement that takes longer than `statement_timeout_s` is cancelled by the server (`QueryCanceledError`); one
        whose server does not even answer that is given up 5 s later. Raises DatabaseAway when the server cannot be reached.
        """
        connect = {
            "dsn": dsn,
            "timeout": connect_timeout_s,
            "command_timeout": statement_timeout_s + 5.0,
        }
        session = {
            "application_name": application_name,
            "timezone": "UTC",
            "statement_timeout": str(round(statement_timeout_s * 1000)),
            # A transaction that its owner forgot would hold locks and stop vacuum for ever.
            "idle_in_transaction_session_timeout": str(round((statement_timeout_s + 30.0) * 1000)),
        }
        pools: dict[PoolName, Any] = {}
        try:
            sizes: dict[PoolName, int] = {"main": size_max, "dlr": dlr_size_max}
            for name, size in sizes.items():
                pools[name] = await asyncpg.create_pool(
                    **connect,
                    min_size=0,
                    init_size=1,
                    max_size=size,
                    server_settings=session | _PLANNER[name],
                    reset=_nothing,
                )
        except Exception as error:
            for pool in pools.values():
                pool.terminate()
            if is_away(error):
                raise DatabaseAway(f"cannot connect to the database: {_words(error)}") from error
            raise
        listen = connect | {"server_settings": session | {"statement_timeout": "5000"}}
        return cls(dsn, pools, acquire_timeout_s=acquire_timeout_s, connect=listen)

    @property
    def dsn(self) -> str:
        """The address this database was opened with. It may contain a password: not for logs."""
        return self._dsn

    def in_use(self, pool: PoolName = "main") -> int:
        """How many connections of the pool are lent at this moment."""
        lender = self._pools[pool]
        return int(lender.get_size() - lender.get_idle_size())

    def trouble(self, within_s: float = 5.0) -> str | None:
        """What keeps the database from writing although it answers: its disk was full within the last seconds."""
        if self._no_room is None or asyncio.get_running_loop().time() - self._no_room[1] > within_s:
            return None
        return self._no_room[0]

    @asynccontextmanager
    async def acquire(self, pool: PoolName = "main") -> AsyncIterator[Any]:
        """Lend a connection in autocommit mode: for reads, and single statements that are a transaction themselves.

        Raises DatabaseAway when none is free within the acquire timeout, when the server cannot be reached, when the
        connection is lost inside the block, or when the server has no room on its disk: that, too, is waited out.
        """
        connection = await self._take(pool)
        try:
            yield connection
        except DatabaseAway:
            raise
        except Exception as error:
            if is_broken(error):
                _cut(connection)
            if is_away_in_use(error, connection):
                raise DatabaseAway(f"the connection was lost: {_words(error)}") from error
            if isinstance(error, asyncpg.PostgresError) and is_disk_full(error):
                reason = f"the database has no room left on its disk: {_words(error)}"
                self._no_room = (reason, asyncio.get_running_loop().time())
                raise DatabaseAway(reason) from error
            raise
        finally:
            await self._give_back(pool, connection)

    @asynccontextmanager
    async def transaction(self, pool: PoolName = "main") -> AsyncIterator[Any]:
        """Lend a connection inside a READ COMMITTED transaction: committed at the end of the block, rolled back if it raises.

        Raises DatabaseAway as `acquire` does; with `commit_uncertain` when the connection was lost during COMMIT.
        """
        async with self.acquire(pool) as connection:
            transaction = connection.transaction()
            try:
                await transaction.start()
            except BaseException:
                # Cancelled, or lost: whether it has begun is not known.
                _cut(connection)
                raise
            try:
                yield connection
            except BaseException:
                await _roll_back(transaction)
                raise
            try:
                await transaction.commit()
            except Exception as error:
                if is_away_in_use(error, connection):
                    reason = f"the connection was lost during COMMIT: {_words(error)}"
                    raise DatabaseAway(reason, commit_uncertain=True) from error
                raise

    async def listen(self, channel: str, callback: Callable[[str], None]) -> None:
        """Call `callback(payload)` for each NOTIFY on `channel`, and `callback("")` after each (re)connect.

        A notification sent while the connection was down is lost, hence the empty one: "look for yourself". All channels
        share one connection, apart from the pools, which checks itself and connects again; `close` ends it. Returns once
        the channel is listened to, or the server was found away (then it is tried again until it is back).
        """
        if self._listener is None:
            self._listener = Listener(self._connect)
        await self._listener.add(channel, callback)

    async def close(self, timeout_s: float = 5.0) -> None:
        """Wait until lent connections are back, at most `timeout_s`, then close all; those still lent are cut."""
        if self._listener is not None:
            await self._listener.close()
        await asyncio.gather(*(self._close_pool(name, timeout_s) for name in _POOLS))

    async def _close_pool(self, name: PoolName, timeout_s: float) -> None:
        pool = self._pools[name]
        try:
            async with asyncio.timeout(timeout_s):
                await pool.close()
        except TimeoutError:
            log.warning("database.close_cut", pool=name, lent=self.in_use(name), timeout_s=timeout_s)
            pool.terminate()
        except Exception as error:
            # The server went away first: there is nobody to say goodbye to.
            pool.terminate()
            if not is_away(error):
                raise

    async def _take(self, pool: PoolName) -> Any:
        try:
            return await self._pools[pool].acquire(timeout=self._acquire_timeout_s)
        except TimeoutError as error:
            reason = f"no connection of pool {pool} within {self._acquire_timeout_s:g} s ({self.in_use(pool)} lent)"
            raise DatabaseAway(reason) from error
        except Exception as error:
            if is_away(error):
                raise DatabaseAway(f"cannot connect to the database: {_words(error)}") from error
            raise

    async def _give_back(self, pool: PoolName, connection: Any) -> None:
        """Return the connection; one that cannot be reset is dropped by the pool.

        What the block did has been committed or not before this, so a connection lost here is not the caller's failure.
        """
        try:
            await self._pools[pool].release(connection, timeout=self._acquire_timeout_s)
        except Exception as error:
            if not is_away_in_use(error, connection):
                raise
            log.info("database.connection_dropped", pool=pool, reason=_words(error))


async def _nothing(_connection: Any) -> None:
    """Reset nothing when a connection comes back: there is no session state (SET LOCAL only), and a transaction has ended
    with its block. asyncpg's own reset is a round trip for each use."""


def _cut(connection: Any) -> None:
    """End a connection whose state nobody knows, so that the next one is not lent it."""
    if not is_lost(connection):
        connection.terminate()


async def _roll_back(transaction: Any) -> None:
    """Roll back; a lost connection has been rolled back by the server, so that the block's own error is the one to tell."""
    try:
        await transaction.rollback()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        log.info("database.rollback_by_loss", reason=_words(error))


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
