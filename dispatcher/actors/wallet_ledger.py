"""WalletLedger: the only door to money. It runs units of work and posts their movements, one transaction each.

Units run side by side up to a bound (the database orders those that touch one wallet, by its row); each asker gets its
own answer. What is expected is an answer (`InsufficientCredits`, `AlreadyPosted`); anything else is raised at the asker.
"""

import asyncio
from typing import Any, ClassVar

import structlog

from dispatcher.actors.messages import CancelCampaign, Credit, Post, Wake
from dispatcher.actors.runtime import Address, AsyncioActor
from dispatcher.domain import money
from dispatcher.storage import ledger
from dispatcher.storage.cancelling import CancelUnit
from dispatcher.storage.pool import Database
from dispatcher.storage.unit import Unit

# A deadlock or a serialization failure undoes a unit completely, so it may run again.
_TRIES_MAX = 4
_STOP_TIMEOUT_S = 8.0

log = structlog.get_logger(__name__)


class WalletLedger(AsyncioActor):
    """Runs units (`Post`), credits (`Credit`) and cancellations (`CancelCampaign`)."""

    inbox_max: ClassVar[int] = 4096

    def __init__(self, db: Database, planner: Address, *, units_max: int = 6) -> None:
        super().__init__()
        self._db = db
        self._planner = planner
        self._slots = asyncio.Semaphore(units_max)

    async def on_receive(self, message: Any) -> Any:
        """Answer when the unit has committed; other messages go on meanwhile."""
        match message:
            case Post(unit):
                return asyncio.create_task(self._run(unit))
            case Credit():
                return asyncio.create_task(self._credit(message))
            case CancelCampaign(tenant_id, campaign_id):
                return asyncio.create_task(self._run(CancelUnit(tenant_id, campaign_id)))
            case _:
                msg = f"WalletLedger does not take {message!r}"
                raise TypeError(msg)

    async def on_stop(self) -> None:
        """Units that run are finished: whoever asked may be gone, the transaction is not."""
        if not await self.settle(_STOP_TIMEOUT_S):
            log.warning("ledger.stop_cut", timeout_s=_STOP_TIMEOUT_S)

    async def _credit(self, message: Credit) -> Any:
        movement = money.credit(
            message.tenant_id, message.credits, kind=message.kind, key=message.key, note=message.note
        )
        answer = await self._run(ledger.CreditUnit(movement))
        if isinstance(answer, money.AlreadyPosted):
            return answer
        if answer:
            self._planner.tell(Wake())
        async with self._db.acquire() as conn:
            return await ledger.balance(conn, message.tenant_id)

    async def _run(self, unit: Unit) -> Any:
        async with self._slots:
            for attempt in range(1, _TRIES_MAX + 1):
                try:
                    return await self._transact(unit)
                except ledger.RETRYABLE:
                    if attempt == _TRIES_MAX:
                        raise
                    log.info("ledger.again", unit=type(unit).__name__, attempt=attempt)
        msg = "unreachable"
        raise AssertionError(msg)

    async def _transact(self, unit: Unit) -> Any:
        try:
            async with self._db.transaction(pool=unit.pool) as conn:
                done = await unit.run(conn)
                if done.movements:
                    await ledger.post(conn, done.movements)
        except ledger.Overdrawn as error:
            return error.value
        except ledger.Repeated as error:
            return error.value
        return done.value
