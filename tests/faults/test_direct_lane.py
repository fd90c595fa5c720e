"""Single messages that share a commit, of which a part fails: the real sender, ledger, limiter, database and provider.

Only the ledger has a fault here: it finds the database away when messages are stored that have to wait.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from dispatcher.actors.batch_sender import BatchSender
from dispatcher.actors.flight import Ground
from dispatcher.actors.messages import DirectResult, SendDirect
from dispatcher.actors.prices import Prices
from dispatcher.actors.rate_limiter import RateLimiter
from dispatcher.actors.runtime import Address, AsyncioActor
from dispatcher.actors.wallet_ledger import WalletLedger
from dispatcher.cli.new_store import NewStore, StoreFields, create_store
from dispatcher.config.clock import SystemClock
from dispatcher.domain.buckets import Bucket
from dispatcher.observability.metrics import Metrics
from dispatcher.providers.base import ProviderSettings
from dispatcher.providers.factory import create
from dispatcher.storage import deliveries
from dispatcher.storage.directs import OpenDirectUnit
from dispatcher.storage.errors import DatabaseAway
from dispatcher.storage.pool import Database
from tests.providers.sim import RunningSimulator, SharedSimulator


class LedgerThatLosesTheDatabase(WalletLedger):
    """Finds the database away for messages that wait for tokens."""

    async def _transact(self, unit: Any) -> Any:
        if isinstance(unit, OpenDirectUnit) and unit.owner is None:
            raise DatabaseAway("the connection was lost")
        return await super()._transact(unit)


@dataclass
class Stage:
    """A running sender. Each tenant may send one message a second."""

    sender: Address
    simulator: RunningSimulator
    tenants: tuple[int, int]


@pytest.fixture
async def stage(db: Database, simulator: SharedSimulator) -> AsyncIterator[Stage]:
    """Everything that a sender needs, stopped in reverse."""
    async with AsyncExitStack() as stack:
        provider_side = await stack.enter_async_context(simulator.fresh())
        async with db.acquire() as conn:
            await deliveries.ensure_partitions(conn, SystemClock().utc_now().date(), 2)
        settings = ProviderSettings("mitto", "mitto", simulator.base_url, "key", max_in_flight=2, timeout_s=5.0)
        provider = create(settings)
        await provider.open()
        stack.push_async_callback(provider.close)
        clock = SystemClock()

        def start(actor: AsyncioActor, name: str) -> Address:
            address = Address(name)
            ref = actor.launch(name=name)
            address.bind(ref)
            stack.push_async_callback(ref.stop, block=False)
            return address

        ground = Ground(
            db=db,
            ledger=start(LedgerThatLosesTheDatabase(db, Address("planner")), "ledger"),
            limiter=start(RateLimiter(monotonic_s=clock.monotonic_s, by_kind={"tenant": Bucket(1.0, 1)}), "limiter"),
            reconciler=Address("reconciler"),
            provider=provider,
            settings=settings,
            prices=Prices(db, clock),
            metrics=Metrics(),
            clock=clock,
            public_base_url="https://s.example",
            owner="test",
            lease_s=2.0,
        )
        sender = start(BatchSender(ground), "sender")
        yield Stage(sender, provider_side, (await _tenant(db, "a"), await _tenant(db, "b")))


async def _tenant(db: Database, name: str) -> int:
    made = await create_store(db, StoreFields(name, f"{name}@example.com", "GR", "Europe/Athens", 10))
    assert isinstance(made, NewStore)
    return made.tenant_id


async def test_a_message_on_the_wire_is_not_told_that_it_failed_with_its_neighbour(stage: Stage) -> None:
    """Of two messages that came together one has its token and leaves, the other has to wait and cannot be stored: only the
    other is told so. Its sender may send it again; the first one's would otherwise have sent a second message (D74)."""
    first, second = stage.tenants
    used_up = await stage.sender.ask(_message(second, 0), timeout_s=10)
    assert used_up.state == "accepted"
    asks = (stage.sender.ask(_message(tenant, 1), timeout_s=10) for tenant in (first, second))
    sent, waiting = await asyncio.gather(*asks, return_exceptions=True)
    assert isinstance(sent, DirectResult)
    assert (sent.state, type(waiting)) == ("accepted", DatabaseAway)
    received = [one["destination"] for one in await stage.simulator.received()]
    assert received == [f"+{_message(second, 0).phone}", f"+{_message(first, 1).phone}"]


def _message(tenant_id: int, n: int) -> SendDirect:
    return SendDirect(tenant_id, 306970000000 + 10 * tenant_id + n, "GR", "Hi", "SHOP")
