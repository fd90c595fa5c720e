"""CampaignPlanner: due campaigns become messages and batches, one chunk a transaction, held at its worst case.

It works from rows: a campaign in `planning` is claimed under a lease with a fence, and its place (the last phone planned)
is a column, so that a planner that dies is continued by another from where the last commit stood.
"""

import asyncio
import os
import secrets
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import structlog

from dispatcher.actors.messages import Post, Wake
from dispatcher.actors.prices import Prices
from dispatcher.actors.runtime import Address, AsyncioActor
from dispatcher.domain import codes, composing
from dispatcher.domain.money import InsufficientCredits
from dispatcher.storage import funds, ledger, planning
from dispatcher.storage.errors import DatabaseAway
from dispatcher.storage.pool import Database

log = structlog.get_logger(__name__)

# What a chunk's transaction may take at most. The lease is renewed by each chunk; while one runs, its lock on the campaign's
# row keeps other planners off even if the lease runs out.
_CHUNK_TIMEOUT_S = 120.0
# Link prefixes to choose from, and random suffixes beyond those needed in case some repeat.
_PREFIXES, _SPARE = 4, 16
_WAITING_MAX, _NEEDED_MAX = 100, 10_000


class CampaignPlanner(AsyncioActor):
    """Plans up to `jobs_max` campaigns side by side, chunk by chunk, so that a huge one does not hold up a small one."""

    inbox_max: ClassVar[int] = 256

    def __init__(
        self,
        db: Database,
        ledger_address: Address,
        senders: Mapping[str, Address],
        *,
        prices: Prices,
        owner: str,
        public_base_url: str,
        batch_sizes: Mapping[str, int],
        lease_s: float,
        jobs_max: int = 2,
        poll_s: float = 1.0,
    ) -> None:
        super().__init__()
        self._db = db
        self._ledger = ledger_address
        self._senders = senders
        self._prices = prices
        self._owner = owner
        self._base_url = public_base_url
        self._batch_sizes = batch_sizes
        self._lease_s = lease_s
        self._jobs_max = jobs_max
        self._poll_s = poll_s
        self._busy: dict[tuple[int, int], asyncio.Task[None]] = {}
        # What the next message of a campaign that waits for funds may cost: below it, looking again is in vain.
        self._needed: dict[tuple[int, int], int] = {}

    async def on_start(self) -> None:
        """Look at once, and then every `poll_s`: a lost Wake costs no more than that."""
        self.every(self._poll_s, Wake())
        self.tell_self(Wake())

    async def on_receive(self, message: Any) -> None:
        """Claim what there is to plan, up to the free places."""
        if not isinstance(message, Wake):
            msg = f"CampaignPlanner does not take {message!r}"
            raise TypeError(msg)
        free = self._jobs_max - len(self._busy)
        if free <= 0:
            return
        try:
            async with self._db.acquire() as conn:
                await planning.start_due_campaigns(conn)
                await self._wake_funded(conn)
                jobs = await planning.claim_plans(conn, self._owner, self._lease_s, list(self._busy), free)
        except DatabaseAway as error:
            log.warning("planner.database_away", error=str(error))
            return
        for job in jobs:
            key = (job.tenant_id, job.campaign_id)
            task = self.spawn(self._plan(job), name=f"plan:{job.campaign_id}")
            self._busy[key] = task
            task.add_done_callback(partial(self._done, key))

    async def _wake_funded(self, conn: Any) -> None:
        """Campaigns go on whose own batches gave back enough."""
        found = await funds.waiting(conn, _WAITING_MAX)
        some = [one for one in found if one.available >= self._needed.get((one.tenant_id, one.campaign_id), 1)]
        if some:
            await funds.wake(conn, some)

    async def _sleep(self, conn: Any, job: planning.PlanJob, needed: int) -> bool:
        if len(self._needed) >= _NEEDED_MAX:
            self._needed.clear()  # forgetting one costs one look in vain
        self._needed[job.tenant_id, job.campaign_id] = needed
        return await funds.pause_for_funds(conn, job, needed)

    def _done(self, key: tuple[int, int], _task: "asyncio.Task[None]") -> None:
        del self._busy[key]

    async def _plan(self, job: planning.PlanJob) -> None:
        """Chunks until the audience is exhausted, the money is, or the campaign is somebody else's."""
        composer = composing.compose(job.text, job.link_url, self._base_url)
        # A batch takes its tokens at once, so it is never larger than what a second of the campaign's own rate allows.
        size_max = min(self._batch_sizes[job.provider], job.rate_per_s or self._batch_sizes[job.provider])
        try:
            while True:
                answer = await self._chunk(job, composer, size_max)
                if isinstance(answer, planning.LostPlan):
                    return
                self._senders[job.provider].tell(Wake())
                if answer is None or answer.done:
                    log.info(
                        "campaign.planned",
                        tenant_id=job.tenant_id,
                        campaign_id=job.campaign_id,
                        funds=answer is not None,
                    )
                    return
        except DatabaseAway as error:
            # Nothing is lost: the place is in the row, and the campaign is claimed again by the next poll.
            log.warning("planner.database_away", campaign_id=job.campaign_id, error=str(error))
        finally:
            self.tell_self(Wake())

    async def _chunk(
        self, job: planning.PlanJob, composer: composing.Composer, size_max: int
    ) -> planning.Planned | planning.LostPlan | None:
        """One chunk, smaller when the wallet does not cover a full one; None when it does not cover a single message."""
        prices = await self._prices.table()
        while True:
            unit = planning.PlanChunkUnit(
                job,
                size_max=size_max,
                fields=composer.fields,
                gsm_matters=composer.gsm_matters,
                worst_segments=composer.worst_segments,
                hold=prices.worst_case_hold,
                link_prefixes=[secrets.randbelow(codes.PREFIX_END) for _ in range(_PREFIXES)],
                link_suffixes=codes.suffixes_from_bytes(os.urandom((size_max + _SPARE) * 8), size_max),
                lease_s=self._lease_s,
            )
            answer = await self._ledger.ask(Post(unit), timeout_s=_CHUNK_TIMEOUT_S)
            if not isinstance(answer, InsufficientCredits):
                return answer  # type: ignore[no-any-return]
            async with self._db.acquire() as conn:
                balance = await ledger.balance(conn, job.tenant_id)
                available = balance.available if balance else 0
                size_max = composing.affordable(available, unit.needed, unit.size)
                if size_max == 0:
                    if await self._sleep(conn, job, -(-unit.needed // unit.size)):
                        return None
                    size_max = 1  # a credit came meanwhile
