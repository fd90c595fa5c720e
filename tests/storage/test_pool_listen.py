"""Notifications: heard, and heard again after the connection was lost."""

import asyncio
import os
import signal

import asyncpg

from dispatcher.storage.listener import Listener
from dispatcher.storage.pool import Database
from tests import pg


async def value(db: Database, sql: str, pool: str = "main") -> object:
    """One question to the database."""
    async with db.acquire(pool) as conn:  # type: ignore[arg-type]
        return await conn.fetchval(sql)


async def test_notifications_arrive_and_go_on_after_the_connection_was_lost(db: Database) -> None:
    """Each notification is heard; after a reconnect the listener is told to look for itself."""
    heard: asyncio.Queue[str] = asyncio.Queue(100)
    await db.listen("news", heard.put_nowait)
    await value(db, "NOTIFY news, 'one'")
    async with asyncio.timeout(10):
        assert ["", "one"] == [await heard.get(), await heard.get()]
        await value(
            db,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN \"news\"' OR query ~ '^LISTEN'",
        )
        assert "" == await heard.get()
        await value(db, "NOTIFY news, 'two'")
        assert "two" == await heard.get()


async def test_channels_share_one_connection(db: Database) -> None:
    """A second channel, and a second one who listens to the first, cost no connection."""
    heard: list[str] = []
    await db.listen("news", lambda payload: heard.append(f"a{payload}"))
    await db.listen("more", lambda payload: heard.append(f"b{payload}"))
    await db.listen("news", lambda payload: heard.append(f"c{payload}"))
    listening = "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^LISTEN' AND datname = current_database()"
    assert 1 == await value(db, listening)
    await value(db, "NOTIFY news, '1'")
    await value(db, "NOTIFY more, '2'")
    await pg.until(lambda: len(heard) >= 6)
    assert ["a", "a1", "b", "b2", "c", "c1"] == sorted(heard)


async def test_silent_connection_is_noticed(database_url: str) -> None:
    """A server that is frozen, as one whose machine lost its power seems to be, is found by the keepalive."""
    listener = Listener({"dsn": database_url, "timeout": 5, "command_timeout": 0.2}, keepalive_s=0.05)
    heard: asyncio.Queue[str] = asyncio.Queue(100)
    try:
        await listener.add("news", heard.put_nowait)
        assert "" == await heard.get()
        connection = await asyncpg.connect(database_url)
        pid = await connection.fetchval(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await connection.close()
        os.kill(pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(10):
                assert "" == await heard.get()
        finally:
            os.kill(pid, signal.SIGCONT)
    finally:
        await listener.close()
