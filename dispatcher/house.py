"""Which actors there are, who knows whom, and in which order they start: the tree of the design, as a value.

Part of the composition root (`daemon.py` runs what is built here).
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from dispatcher.actors.batch_sender import BatchSender
from dispatcher.actors.campaign_planner import CampaignPlanner
from dispatcher.actors.dlr_reconciler import DlrReconciler
from dispatcher.actors.flight import Ground
from dispatcher.actors.importer import Importer
from dispatcher.actors.prices import Prices
from dispatcher.actors.rate_limiter import RateLimiter
from dispatcher.actors.redis_limits import RedisLimits
from dispatcher.actors.runtime import Address
from dispatcher.actors.spool import Spool
from dispatcher.actors.supervision import ChildSpec, RestartBackoff, RestartBudget, Supervisor, Tree
from dispatcher.actors.tending import Tending
from dispatcher.actors.wallet_ledger import WalletLedger
from dispatcher.config import ConfigError, Secret, Settings, places
from dispatcher.config import settings as config
from dispatcher.config.clock import Clock
from dispatcher.domain.buckets import Bucket
from dispatcher.http.server import HttpServer
from dispatcher.http.services import HttpServices
from dispatcher.observability.health import Readiness
from dispatcher.observability.metrics import Metrics
from dispatcher.providers import base
from dispatcher.providers.factory import create
from dispatcher.storage.pool import Database

ROLES = ("api", "planner", "sender", "reconciler", "automator", "importer", "notifier")

# Everything below the root may die twenty times within five minutes: a database that is away is waited for inside the actors
# and does not count; only bugs do. The waits between lives are so bounded that an actor that dies for ever spends this
# within two minutes: the process then ends, and whoever runs it is told. A sender has five deaths, then its supervisor's count.
_BUDGET = RestartBudget(restarts_max=20, within_s=300.0)
_SENDERS_BUDGET = RestartBudget(restarts_max=5, within_s=60.0)
_BACKOFF = RestartBackoff(max_s=5.0)
_START_TIMEOUT_S = 30.0
# A request may wait for an actor that starts again only after HttpServer has stopped (rest_for_one): not for long.
_HTTP_STOP_S = 2.0


@dataclass(frozen=True, slots=True)
class House:
    """The tree and the addresses that the daemon itself speaks to."""

    tree: Tree
    db: Database
    metrics: Metrics
    limiter: Address
    senders: Mapping[str, Address]
    http: Address
    owner: str


def bucket_of(provider: config.Provider) -> Bucket:
    """The rate of a provider account, in messages."""
    return Bucket(provider.rate_per_s, max(1, int(provider.rate_per_s * provider.burst_s)))


def batch_size(settings: Settings, provider: config.Provider) -> int:
    """The largest batch of a provider: its tokens are taken at once, so never more than a bucket holds."""
    size = min(provider.batch_size, bucket_of(provider).burst)
    return size if settings.tenant_rate_per_s is None else min(size, max(1, int(settings.tenant_rate_per_s)))


def make_providers(settings: Settings) -> dict[str, base.Provider]:
    """The configured accounts, not opened. Raises ConfigError for one that cannot be."""
    providers: dict[str, base.Provider] = {}
    for name in settings.providers:
        try:
            providers[name] = create(provider_settings(settings, name))
        except ValueError as error:
            setting = f"DISPATCHER_PROVIDERS__{name.upper()}__KIND"
            raise ConfigError(setting, str(error), "correct the provider's settings") from error
    return providers


async def open_providers(providers: Mapping[str, base.Provider], stack: AsyncExitStack) -> None:
    """Make them ready to be called; closed with the stack."""
    for provider in providers.values():
        await provider.open()
        stack.push_async_callback(provider.close)


def provider_settings(settings: Settings, name: str) -> base.ProviderSettings:
    """An account's settings in the providers' own type."""
    given = settings.providers[name]
    secrets = tuple(s.reveal() for s in (given.webhook_secret, given.webhook_secret_old) if isinstance(s, Secret))
    return base.ProviderSettings(
        name=name,
        kind=given.kind,
        base_url=given.base_url,
        api_key=given.api_key.reveal(),
        traffic_account_id=given.traffic_account_id,
        webhook_secret=secrets or None,
        rate_per_s=given.rate_per_s,
        batch_size=batch_size(settings, given),
        timeout_s=given.timeout_s,
        connect_timeout_s=given.connect_timeout_s,
        max_in_flight=given.max_in_flight,
        not_taken_statuses=frozenset(given.not_taken_statuses or base.NOT_TAKEN_STATUSES),
    )


def build(
    settings: Settings,
    roles: Collection[str],
    *,
    db: Database,
    metrics: Metrics,
    clock: Clock,
    providers: Mapping[str, base.Provider],
    readiness: Callable[[Tree, Database], Awaitable[Readiness]],
) -> House:
    """The tree of a process with these roles, not started."""
    owner = places.node_name()
    limiter, ledger, reconciler = Address("RateLimiter"), Address("WalletLedger"), Address("DlrReconciler")
    planner, importer, http = Address("CampaignPlanner"), Address("Importer"), Address("HttpServer")
    senders = {name: Address(f"BatchSender:{name}") for name in providers}
    prices = Prices(db, clock)
    spool = Spool(places.state_dir(settings))

    def new_limiter() -> RateLimiter:
        tenant = settings.tenant_rate_per_s
        return RateLimiter(
            monotonic_s=clock.monotonic_s,
            fixed={f"provider:{name}": bucket_of(one) for name, one in settings.providers.items()},
            by_kind={} if tenant is None else {"tenant": Bucket(tenant, max(1, int(tenant)))},
            shared=None if settings.redis_url is None else RedisLimits(settings.redis_url.reveal(), node=owner),
        )

    def new_reconciler() -> DlrReconciler:
        tending = Tending(
            db,
            ledger,
            senders,
            providers,
            prices=prices,
            metrics=metrics,
            clock=clock,
            unknown_after_s=settings.unknown_after_s,
        )
        return DlrReconciler(db, ledger, tending, metrics=metrics, clock=clock)

    def new_sender(name: str) -> Callable[[], BatchSender]:
        ground = Ground(
            db=db,
            ledger=ledger,
            limiter=limiter,
            reconciler=reconciler,
            provider=providers[name],
            settings=provider_settings(settings, name),
            prices=prices,
            metrics=metrics,
            clock=clock,
            public_base_url=settings.public_base_url.rstrip("/"),
            owner=owner,
            lease_s=settings.lease_s,
        )
        return lambda: BatchSender(ground)

    def new_planner() -> CampaignPlanner:
        return CampaignPlanner(
            db,
            ledger,
            senders,
            prices=prices,
            owner=owner,
            public_base_url=settings.public_base_url.rstrip("/"),
            batch_sizes={name: batch_size(settings, one) for name, one in settings.providers.items()},
            lease_s=settings.lease_s,
        )

    def spec(address: Address, factory: Callable[[], object]) -> ChildSpec:
        return ChildSpec(address.name, factory, address, start_timeout_s=_START_TIMEOUT_S)  # type: ignore[arg-type]

    specs = [spec(limiter, new_limiter), spec(ledger, lambda: WalletLedger(db, planner))]
    if {"reconciler", "api"} & set(roles):  # webhooks need the inbox
        specs.append(spec(reconciler, new_reconciler))
    if "sender" in roles:
        children = [spec(senders[name], new_sender(name)) for name in providers]
        specs.append(ChildSpec("Senders", lambda: Supervisor(children, budget=_SENDERS_BUDGET, backoff=_BACKOFF)))
    if "planner" in roles:
        specs.append(spec(planner, new_planner))
    if "importer" in roles:
        specs.append(spec(importer, lambda: Importer(db, spool, owner=owner, clock=clock)))
    if "api" in roles:

        async def ready() -> Readiness:
            return await readiness(tree, db)

        services = HttpServices(
            db=db,
            settings=settings,
            metrics=metrics,
            clock=clock,
            ledger=ledger,
            planner=planner,
            reconciler=reconciler,
            limiter=limiter,
            importer=importer,
            spool=spool,
            senders=senders,
            providers=providers,
            readiness=ready,
            snapshot=lambda: tree.snapshot(),  # noqa: PLW0108 - the tree is made below
        )
        where = settings.http
        specs.append(
            spec(http, lambda: HttpServer(services, host=where.host, port=where.port, stop_timeout_s=_HTTP_STOP_S))
        )
    tree = Tree(Supervisor(specs, strategy="rest_for_one", budget=_BUDGET, backoff=_BACKOFF), observer=metrics)
    return House(
        tree=tree,
        db=db,
        metrics=metrics,
        limiter=limiter,
        senders=senders if "sender" in roles else {},
        http=http,
        owner=owner,
    )
