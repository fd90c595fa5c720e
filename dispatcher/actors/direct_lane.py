"""The direct lane: single messages with a text of their own, on their way within a commit, a call and a commit.

Messages that come while a commit runs share the next one (natural batching: no timer). With tokens at hand they are born
`submitting` and leave at once; otherwise they are stored as planned in the urgent lane, and the claim loop takes them.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from dispatcher.actors.flight import Flight, Ground, Landed
from dispatcher.actors.messages import Acquire, Acquired, DirectResult, Post, SendDirect
from dispatcher.actors.outcomes import Load
from dispatcher.actors.runtime import ActorUnavailable
from dispatcher.domain import segments
from dispatcher.domain.money import InsufficientCredits
from dispatcher.providers import base
from dispatcher.storage.batches import Claim
from dispatcher.storage.directs import Direct, OpenDirectUnit, Opened
from dispatcher.storage.errors import DatabaseAway

log = structlog.get_logger(__name__)

GROUP_MAX = 500
_LEDGER_TIMEOUT_S = 30.0
_RECORD_MARGIN_S = 10.0


@dataclass(frozen=True, slots=True)
class _Item:
    direct: Direct
    result: "asyncio.Future[DirectResult]"
    within_s: float


class DirectLane:
    """What waits to be stored, and the loop that stores and sends it."""

    def __init__(
        self, ground: Ground, rested: Callable[[], bool], learn: Callable[[Landed], None], landed: asyncio.Event
    ) -> None:
        self._g = ground
        self._rested = rested
        self._learn = learn
        self._landed = landed
        self._closed = False
        self._waiting: list[tuple[SendDirect, asyncio.Future[DirectResult]]] = []
        self._arrived = asyncio.Event()
        self._flights = 0
        self._places = asyncio.Semaphore(ground.settings.max_in_flight)

    @property
    def busy(self) -> bool:
        """Whether a message waits or flies."""
        return bool(self._waiting) or self._flights > 0

    def add(self, message: SendDirect) -> "asyncio.Future[DirectResult]":
        """Take a message; the future is its result, 'planned' when it takes longer than `answer_within_s`."""
        result: asyncio.Future[DirectResult] = asyncio.get_running_loop().create_future()
        if self._closed:
            result.set_result(DirectResult(None, reason="stopped"))
            return result
        self._waiting.append((message, result))
        self._arrived.set()
        return result

    def close(self) -> None:
        """Take no more messages; what was taken is finished."""
        self._closed = True

    async def run(self, spawn: Callable[..., Any]) -> None:
        """Store and send what arrives, a group at a time."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                await self._places.acquire()
                group, self._waiting = self._waiting[:GROUP_MAX], self._waiting[GROUP_MAX:]
                self._flights += 1
                flights: list[asyncio.Task[None]] = []
                try:
                    flights = await self._start(group, spawn)
                finally:
                    spawn(self._land(flights), name="direct:group")

    async def _land(self, flights: list["asyncio.Task[None]"]) -> None:
        """A group's place is free when the last of it has landed. With few places, what arrives meanwhile shares the next
        commits and the next request: under load that is worth more than more requests side by side."""
        try:
            if flights:
                await asyncio.wait(flights)
        finally:
            self._places.release()
            self._flights -= 1
            self._landed.set()

    async def _start(
        self, group: Sequence[tuple[SendDirect, "asyncio.Future[DirectResult]"]], spawn: Any
    ) -> list["asyncio.Task[None]"]:
        try:
            items = await self._priced(group)
            now, later = await self._with_tokens(items)
        except (DatabaseAway, ActorUnavailable) as error:
            _fail([result for _, result in group], error)
            return []
        flights: list[asyncio.Task[None]] = []
        for some, owner in ((now, self._g.owner), (later, None)):
            if some:
                flights += await self._open(some, owner, spawn)
        return flights

    async def _priced(self, group: Sequence[tuple[SendDirect, "asyncio.Future[DirectResult]"]]) -> list[_Item]:
        prices = await self._g.prices.table()
        items: list[_Item] = []
        for message, result in group:
            count = segments.count(message.text).segments
            direct = Direct(
                message.tenant_id,
                message.sender,
                message.phone,
                message.country,
                message.text,
                count,
                prices.price(message.country, count),
                message.purpose,
            )
            items.append(_Item(direct, result, message.answer_within_s))
        return items

    async def _with_tokens(self, items: list[_Item]) -> tuple[list[_Item], list[_Item]]:
        """Those that may leave now, and those that wait: tokens are taken for each tenant's messages, all or none."""
        if not self._rested():
            return [], items
        by_tenant: dict[int, list[_Item]] = {}
        for item in items:
            by_tenant.setdefault(item.direct.tenant_id, []).append(item)
        now: list[_Item] = []
        later: list[_Item] = []
        for tenant_id, some in by_tenant.items():
            keys = (f"provider:{self._g.settings.name}", f"tenant:{tenant_id}")
            answer = await self._g.limiter.ask(Acquire(keys, len(some), urgent=True, wait_max_s=0.0), timeout_s=5.0)
            (now if isinstance(answer, Acquired) else later).extend(some)
        return now, later

    async def _open(self, items: list[_Item], owner: str | None, spawn: Any) -> list["asyncio.Task[None]"]:
        """One commit for all; a tenant that cannot pay is told so, and the others go on without it. The flights."""
        unit = OpenDirectUnit(
            self._g.settings.name,
            [item.direct for item in items],
            owner=owner,
            lease_s=self._g.settings.timeout_s + _RECORD_MARGIN_S,
        )
        try:
            opened = await self._g.ledger.ask(Post(unit), timeout_s=_LEDGER_TIMEOUT_S)
        except (DatabaseAway, ActorUnavailable) as error:
            # Of these alone: others of the group may be on the wire already.
            _fail([item.result for item in items], error)
            return []
        if isinstance(opened, InsufficientCredits):
            return await self._open_without(items, opened.tenant_id, owner, spawn)
        for place in opened.opted_out:
            _answer(items[place].result, DirectResult("suppressed", reason="the recipient opted out"))
        if opened.stopped:
            for item in items:
                _answer(item.result, DirectResult(None, reason="stopped"))
        flights: list[asyncio.Task[None]] = []
        for batch in opened.batches:
            some = [items[place] for place in batch.items]
            if owner is None:
                _answer_all(some, batch.batch_id, "planned", None)
            else:
                flights.append(spawn(self._fly(batch, some), name=f"direct:{batch.batch_id}"))
                within_s = min(item.within_s for item in some)
                asyncio.get_running_loop().call_later(within_s, _answer_all, some, batch.batch_id, "planned", None)
        return flights

    async def _open_without(
        self, items: list[_Item], tenant_id: int, owner: str | None, spawn: Any
    ) -> list["asyncio.Task[None]"]:
        theirs = [item for item in items if item.direct.tenant_id == tenant_id]
        others = [item for item in items if item.direct.tenant_id != tenant_id]
        flights = await self._open(others, owner, spawn) if others else []
        if len(theirs) == 1:
            _answer(theirs[0].result, DirectResult(None, reason="insufficient_credits"))
        else:
            for item in theirs:  # some of them may be covered
                flights += await self._open([item], owner, spawn)
        return flights

    async def _fly(self, opened: Opened, items: list[_Item]) -> None:
        try:
            load = Load(
                n=list(range(1, len(items) + 1)),
                phones=[item.direct.phone for item in items],
                texts=[item.direct.text for item in items],
                segments=[item.direct.segments for item in items],
                prices=[item.direct.price for item in items],
            )
            landed = await Flight(self._g, self._claim(opened, load)).submit(load)
            self._learn(landed)
        except BaseException as error:
            for item in items:
                if not item.result.done():
                    item.result.set_exception(
                        error if isinstance(error, Exception) else ActorUnavailable("BatchSender", "died")
                    )
            raise
        self._answer_landed(opened, items, landed)

    def _claim(self, opened: Opened, load: Load) -> Claim:
        return Claim(
            tenant_id=opened.tenant_id,
            batch_id=opened.batch_id,
            campaign_id=None,
            fence=1,
            phone_from=0,
            phone_to=0,
            n_from=1,
            size=len(load.n),
            segments_max=sum(load.segments),
            sender=opened.sender,
            lane=0,
            hold=opened.hold,
            attempts=0,
            resends=0,
            link_prefix=None,
            claimed_at=self._g.clock.utc_now(),
            rate_per_s=None,
        )

    def _answer_landed(self, opened: Opened, items: list[_Item], landed: Landed) -> None:
        match landed.outcome, landed.answer:
            case "accepted" | "rejected", base.Taken(ids, reasons):
                for i, item in enumerate(items):
                    state: Any = "accepted" if ids[i] is not None else "rejected"
                    price = item.direct.price if ids[i] is not None else 0
                    result = DirectResult(state, opened.batch_id, i + 1, price, item.direct.segments, reasons.get(i))
                    _answer(item.result, result)
            case "rejected", _:
                _answer_all(items, opened.batch_id, "rejected", landed.reason)
            case "unknown", _:
                _answer_all(items, opened.batch_id, "unknown", landed.reason)
            case _:
                _answer_all(items, opened.batch_id, "planned", landed.reason)


def _fail(results: Sequence["asyncio.Future[DirectResult]"], error: Exception) -> None:
    for result in results:
        if not result.done():
            result.set_exception(error)


def _answer(result: "asyncio.Future[DirectResult]", value: DirectResult) -> None:
    if not result.done():  # whoever asked may have gone
        result.set_result(value)


def _answer_all(items: list[_Item], batch_id: int, state: Any, reason: str | None) -> None:
    for i, item in enumerate(items):
        _answer(item.result, DirectResult(state, batch_id, i + 1, item.direct.price, item.direct.segments, reason))
