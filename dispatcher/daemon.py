"""The composition root: opens storage, starts the tree, serves, and stops in reverse. It reads as the story of a process.

No decision is made here but the order of things. `run` answers the exit code: 0 after a drain, 1 when the tree or the
database's process failed (systemd starts it again).
"""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import structlog
from prometheus_client import start_http_server

from dispatcher.actors.messages import Drain, SetLimit
from dispatcher.actors.runtime import ActorUnavailable
from dispatcher.actors.supervision import Tree
from dispatcher.actors.tending import PARTITION_DAYS_AHEAD
from dispatcher.config import ConfigError, Settings, places
from dispatcher.config.clock import SystemClock
from dispatcher.config.logs import set_level
from dispatcher.house import ROLES, House, bucket_of, build, make_providers, open_providers
from dispatcher.observability.health import Readiness
from dispatcher.observability.metrics import Metrics
from dispatcher.observability.notify import Notifier
from dispatcher.ports import require_ports
from dispatcher.storage import deliveries, ledger, migrate
from dispatcher.storage.embedded import EmbeddedPostgres
from dispatcher.storage.errors import DatabaseAway, retry_away
from dispatcher.storage.pool import Database

log = structlog.get_logger(__name__)

_PROBE_TIMEOUT_S = 2.0
_OBSERVE_EVERY_S = 2.0
_DATABASE_WAIT_S = 60.0
_GC_YOUNG = 20_000


async def run(
    settings: Settings, *, roles: Collection[str] = ROLES, reload: Callable[[], Settings] | None = None
) -> int:
    """Serve until SIGTERM or SIGINT, or until something fails for good. `reload` reads the settings again (SIGHUP).

    Raises ConfigError, before anything is started, for a provider that cannot be, or a port that cannot be had.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    providers = make_providers(settings)
    await require_ports(settings, roles)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    notifier = Notifier(places.notify_socket())
    async with AsyncExitStack() as stack:
        postgres, dsn = await stack.enter_async_context(_postgres(settings))
        db = await stack.enter_async_context(_database(settings, dsn))
        metrics, clock = Metrics(), SystemClock()
        await open_providers(providers, stack)
        house = build(settings, roles, db=db, metrics=metrics, clock=clock, providers=providers, readiness=_readiness)
        if settings.metrics_port is not None:
            server, _ = start_http_server(settings.metrics_port, settings.http.host, metrics.registry)
            stack.callback(server.shutdown)
        await house.tree.start()
        stack.push_async_callback(house.tree.stop)
        metrics.actors(info.name for info in house.tree.snapshot())
        _calm_gc()
        _on_hangup(loop, reload, house)
        beside = [asyncio.create_task(_observe(house, notifier), name="observe")]
        stack.push_async_callback(_cancel, beside)
        notifier.ready(f"serving {', '.join(sorted(roles))}")
        log.info("daemon.ready", roles=sorted(roles), owner=house.owner)
        code = await _until(stop, house.tree, postgres)
        notifier.stopping("draining" if code == 0 else "failed")
        log.info("daemon.stopping", code=code)
        if code == 0:
            await _drain(house, settings.drain_timeout_s)
    log.info("daemon.stopped", code=code)
    return code


# ---------------------------------------------------------------- storage


@asynccontextmanager
async def _postgres(settings: Settings) -> AsyncIterator[tuple[EmbeddedPostgres | None, str]]:
    """The database's address; of the embedded server, when none is given."""
    if settings.database_url is not None:
        yield None, settings.database_url.reveal()
        return
    server = EmbeddedPostgres(places.state_dir(settings))
    dsn = await server.start()
    try:
        yield server, dsn
    finally:
        await server.stop()


@asynccontextmanager
async def _database(settings: Settings, dsn: str) -> AsyncIterator[Database]:
    """The pools, on a migrated database with the partitions that the next days need."""

    async def migrated() -> list[migrate.Applied]:
        return await migrate.migrate(dsn, allow_newer=True)

    applied = await retry_away(migrated, idempotent=True, give_up_s=_DATABASE_WAIT_S)
    for one in applied:
        log.info("database.migrated", version=one.version, name=one.name)
    db = await Database.open(
        dsn,
        size_max=settings.db.size_max,
        dlr_size_max=settings.db.dlr_size_max,
        statement_timeout_s=settings.db.statement_timeout_s,
    )
    try:
        async with db.acquire() as conn:
            today = SystemClock().utc_now().date()
            await deliveries.ensure_partitions(conn, today - timedelta(days=1), PARTITION_DAYS_AHEAD + 2)
        yield db
    finally:
        await db.close()


# ---------------------------------------------------------------- while it runs


async def _readiness(tree: Tree, db: Database) -> Readiness:
    """Why requests should not come here, if they should not: database, migrations, every actor. Bounded."""
    reasons: list[str] = []
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S), db.acquire() as conn:
            reasons += [f"migration {one.file} is missing" for one in await migrate.pending(conn)]
    except (DatabaseAway, TimeoutError) as error:
        reasons.append(f"database: {error or 'no answer'}")
    else:
        reasons += [f"database: {trouble}"] if (trouble := db.trouble()) else []
    reasons += [f"actor {one.path}: {one.why}" for one in await tree.probe(_PROBE_TIMEOUT_S)]
    return Readiness(reasons)


async def _observe(house: House, notifier: Notifier) -> None:
    """Gauges of what has no event of its own, and the service manager's watchdog: fed only if a probe went through."""
    watchdog_s = places.watchdog_s()
    every_s = min(_OBSERVE_EVERY_S, watchdog_s / 3) if watchdog_s else _OBSERVE_EVERY_S
    while True:
        for info in house.tree.snapshot():
            house.metrics.mailbox(info.name).set(info.mailbox_depth)
        for pool in ("main", "dlr"):
            house.metrics.pool(pool).set(house.db.in_use(pool))
        readiness = await _readiness(house.tree, house.db)
        house.metrics.ready.set(readiness.ok)
        if readiness.ok:
            notifier.watchdog()
            await _wallets(house)
        else:
            log.warning("daemon.not_ready", reasons=list(readiness.reasons))
            notifier.status(f"not ready: {readiness.reasons[0]}")
        await asyncio.sleep(every_s)


async def _wallets(house: House) -> None:
    try:
        async with house.db.acquire() as conn:
            total = await ledger.total(conn)
    except DatabaseAway as error:
        log.warning("daemon.gauges_wait", error=str(error))
        return
    house.metrics.wallet("available").set(total.available)
    house.metrics.wallet("held").set(total.held)


def _on_hangup(loop: asyncio.AbstractEventLoop, reload: Callable[[], Settings] | None, house: House) -> None:
    """SIGHUP: limits and the log level are read again; anything else needs a restart."""
    running: set[asyncio.Task[None]] = set()

    async def again(settings: Settings) -> None:
        set_level(settings.log_level)
        for name, provider in settings.providers.items():
            bucket = bucket_of(provider)
            try:
                await house.limiter.ask(SetLimit(f"provider:{name}", bucket.rate_per_s, bucket.burst))
            except ActorUnavailable as error:
                log.warning("daemon.limit_not_set", provider=name, error=str(error))
        log.info("daemon.reloaded")

    def hangup() -> None:
        if reload is None:
            return
        try:
            settings = reload()
        except ConfigError as error:
            log.error("daemon.reload_refused", setting=error.setting, problem=error.problem)  # noqa: TRY400 - no bug
            return
        task = loop.create_task(again(settings), name="reload")
        running.add(task)
        task.add_done_callback(running.discard)

    loop.add_signal_handler(signal.SIGHUP, hangup)


async def _until(stop: asyncio.Event, tree: Tree, postgres: EmbeddedPostgres | None) -> int:
    """Wait for the end: 0 when asked to stop, 1 when the tree or the embedded database gave up."""
    asked = asyncio.create_task(stop.wait(), name="stop")
    gone = asyncio.create_task(postgres.wait_died(), name="postgres") if postgres is not None else None
    ends: list[asyncio.Future[Any]] = [asked, tree.failed, *([gone] if gone is not None else [])]
    done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    await _cancel([task for task in (asked, gone) if task is not None])
    if asked in done:
        return 0
    cause = tree.failed.result() if tree.failed.done() else gone and gone.result()
    log.critical("daemon.failed", cause=repr(cause))
    return 1


async def _drain(house: House, timeout_s: float) -> None:
    """Claim no more and let what is in flight be recorded, within `timeout_s`; what is left becomes `unknown` by its lease."""

    async def one(name: str) -> None:
        try:
            await house.senders[name].ask(Drain(), timeout_s=timeout_s)
        except ActorUnavailable as error:
            log.warning("daemon.drain_cut", provider=name, error=str(error))

    await asyncio.gather(*(one(name) for name in house.senders))


def _calm_gc() -> None:
    """What was made by now lives as long as the process: the collector need not look at it again. Requests and rows leave few
    cycles behind, so looking for them after each 700 objects, Python's default, is work for nothing."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_YOUNG, 20, 50)


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
