"""The courier: takes verified webhook bodies to DlrReconciler, as many at a time as came while the last trip went on.

A message to an actor costs more than everything else that is done for a report, so reports that come together go in one.
No timer: a lone report leaves at once. Whoever handed a body in waits for its own trip, and hears how that ended.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from dispatcher.actors.messages import ReportsReceived
from dispatcher.actors.runtime import ActorUnavailable, Address
from dispatcher.domain.lattice import Report

_ASK_TIMEOUT_S: Final = 10.0


@dataclass(slots=True)
class _Load:
    """What waits for the next trip, of one provider."""

    bodies: list[bytes] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    waiting: list["asyncio.Future[None]"] = field(default_factory=list)


class Courier:
    """One for an application. Bounded by its callers: each has one body at a time with it."""

    def __init__(self, reconciler: Address) -> None:
        self._reconciler = reconciler
        self._loads: dict[str, _Load] = {}
        self._trips: dict[str, asyncio.Task[None]] = {}

    async def deliver(self, provider: str, body: bytes, reports: list[Report]) -> None:
        """Return when the body is durable. Raises DatabaseAway or ActorUnavailable when that could not be done."""
        await self.hand_in(provider, body, reports)

    def hand_in(self, provider: str, body: bytes, reports: list[Report]) -> "asyncio.Future[None]":
        """A future of the body being durable, with the same exceptions."""
        load = self._loads.get(provider)
        if load is None:
            load = self._loads[provider] = _Load()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        load.bodies.append(body)
        load.reports += reports
        load.waiting.append(done)
        if provider not in self._trips:
            self._trips[provider] = asyncio.create_task(self._go(provider), name=f"courier:{provider}")
        return done

    async def _go(self, provider: str) -> None:
        try:
            while (load := self._loads.pop(provider, None)) is not None:
                await self._trip(provider, load)
        finally:
            del self._trips[provider]

    async def _trip(self, provider: str, load: _Load) -> None:
        try:
            await self._reconciler.ask(ReportsReceived(provider, load.bodies, load.reports), timeout_s=_ASK_TIMEOUT_S)
        except asyncio.CancelledError:
            _end(load, ActorUnavailable("courier", "died"))
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, each request that waits answers for it
            _end(load, error)
        else:
            _end(load, None)


def _end(load: _Load, error: Exception | None) -> None:
    for done in load.waiting:
        if done.done():  # whoever waited has gone
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)


COURIER: Final[web.AppKey[Courier]] = web.AppKey("courier", Courier)
