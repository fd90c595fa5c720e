"""What the HTTP interface needs of the daemon, in one value: the composition root makes it, handlers read it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web

from dispatcher.actors.runtime import Address
from dispatcher.actors.spool import Spool
from dispatcher.actors.supervision import ActorInfo
from dispatcher.config.clock import Clock
from dispatcher.config.settings import Settings
from dispatcher.http.patience import PATIENCE, Patience
from dispatcher.observability.health import Readiness
from dispatcher.observability.metrics import Metrics
from dispatcher.providers.base import Provider
from dispatcher.storage.pool import Database


@dataclass(frozen=True, slots=True)
class HttpServices:
    """`senders` and `providers` are by the provider's name in the settings; `spool` is the one that `importer` works on.
    `snapshot`: every actor, as it stands; `patience`: what clients may take."""

    db: Database
    settings: Settings
    metrics: Metrics
    clock: Clock
    ledger: Address
    planner: Address
    reconciler: Address
    limiter: Address
    importer: Address
    spool: Spool
    senders: Mapping[str, Address]
    providers: Mapping[str, Provider]
    readiness: Callable[[], Awaitable[Readiness]]
    snapshot: Callable[[], Sequence[ActorInfo]]
    patience: Patience = PATIENCE


SERVICES: web.AppKey[HttpServices] = web.AppKey("services", HttpServices)
