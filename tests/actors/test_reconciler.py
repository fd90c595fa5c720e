"""What the reconciler does with bodies that it cannot apply: nothing that was acknowledged is dropped, and nothing waits for it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from dispatcher.actors.dlr_reconciler import DlrReconciler
from dispatcher.actors.messages import ReportsReceived
from dispatcher.actors.prices import Prices
from dispatcher.actors.runtime import Address
from dispatcher.actors.supervision import ChildSpec, Supervisor, Tree
from dispatcher.actors.tending import Tending
from dispatcher.actors.wallet_ledger import WalletLedger
from dispatcher.config.clock import SystemClock
from dispatcher.domain.lattice import MessageState, Report
from dispatcher.observability.metrics import Metrics
from dispatcher.providers.base import ProviderSettings
from dispatcher.providers.mitto import Mitto
from dispatcher.storage import reports
from dispatcher.storage.pool import Database

ULID = "01ARZ3NDEKTSV4RRFFQ69G5FA"


@pytest.fixture
async def reconciler(db: Database) -> AsyncIterator[Address]:
    """A reconciler and its ledger in a tree of their own, with one provider, which is never called."""
    clock, metrics = SystemClock(), Metrics()
    ledger, address = Address("WalletLedger"), Address("DlrReconciler")
    providers = {"mitto": Mitto(ProviderSettings("mitto", "mitto", "http://127.0.0.1:9", "key"))}
    await providers["mitto"].open()

    def new() -> DlrReconciler:
        tending = Tending(
            db, ledger, {}, providers, prices=Prices(db, clock), metrics=metrics, clock=clock, unknown_after_s=3600
        )
        return DlrReconciler(db, ledger, tending, metrics=metrics, clock=clock)

    specs = [
        ChildSpec(ledger.name, lambda: WalletLedger(db, Address("CampaignPlanner")), ledger),
        ChildSpec(address.name, new, address),
    ]
    tree = Tree(Supervisor(specs))
    await tree.start()
    yield address
    await tree.stop()
    await providers["mitto"].close()
    assert not tree.failed.done()


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    """The database tells nobody when it is so."""
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.02)


def _report(n: int, reason: str | None = None) -> Report:
    return Report(f"{ULID}{n}", MessageState.DELIVERED, "Delivered", None, reason)


async def _inbox(db: Database) -> list[tuple[str, int]]:
    async with db.acquire() as conn:
        return [tuple(row) for row in await conn.fetch("SELECT provider, cardinality(bodies) FROM dlr_inbox")]


async def test_a_report_that_cannot_be_stored_stays_in_the_inbox_and_keeps_nobody_waiting(
    db: Database, reconciler: Address
) -> None:
    """PostgreSQL takes no NUL in a text: such a reason fails its statement, as a bug of ours would."""
    poison = _report(1, "absent\x00")
    received: list[Any] = [
        ReportsReceived("mitto", [b"poison"], [poison]),
        ReportsReceived("mitto", [b"good"], [_report(2)]),
    ]
    for message in received:
        assert await reconciler.ask(message) is True

    async def settled() -> bool:
        async with db.acquire() as conn:
            parked = await conn.fetchval("SELECT count(*) FROM dlr_parked")
        return parked == 1 and await _inbox(db) == [("mitto", 1)]

    await _until(settled)


async def test_bodies_of_a_provider_that_is_not_configured_here_stay_in_the_inbox(
    db: Database, reconciler: Address
) -> None:
    """They were acknowledged, perhaps by another node: only one that knows the provider may apply them."""
    async with db.acquire() as conn:
        await reports.insert_inbox(conn, "elsewhere", [b"{}"])
        await reports.insert_inbox(conn, "mitto", [b'{"messageId":"x1","deliveryStatus":"Delivered"}'])
        await conn.execute("UPDATE dlr_inbox SET received_at = now() - interval '1 hour'")
    await reconciler.ask(ReportsReceived("mitto", [b"one"], [_report(3)]))

    async def applied() -> bool:
        return await _inbox(db) == [("elsewhere", 1)]

    await _until(applied)
