"""`dispatcher run --with-simulator`: a daemon to try things on, with a provider that sends to nobody, until Ctrl-C.

What it is not: a way to serve: its secret is new at each start, and its login is printed.
"""

import asyncio
import signal
import tempfile
from collections.abc import Collection
from pathlib import Path

import click

from dispatcher.cli import new_store
from dispatcher.cli.common import Failure, address, opened
from dispatcher.cli.demo.stage import Plan, Stage, stage
from dispatcher.config import Settings, places
from dispatcher.domain.contacts import FieldError
from dispatcher.domain.credentials import TENANT_SCOPES
from dispatcher.storage import admin
from dispatcher.storage.pool import Database

EMAIL = "owner@demo.example.com"
_CREDITS = 1_000_000
_PROFILE = {
    "latency_ms": [20, 80],
    "rejects": 0.002,
    "reports": {"failed": 0.02, "expired": 0.005, "late": 0.05, "delay_ms": [500, 3000], "sent_first": True},
}
_RATE_PER_S = 1_000


async def run_with_simulator(settings: Settings, config_file: Path | None, roles: Collection[str]) -> int:
    """The exit status, after SIGINT or SIGTERM, or when one of the processes ended by itself (1)."""
    if settings.http.host not in ("127.0.0.1", "localhost"):
        raise Failure("with a simulator it listens on 127.0.0.1 only: leave DISPATCHER_HTTP__HOST out")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with tempfile.TemporaryDirectory(prefix="dispatcher-run-") as work_dir:
        plan = _plan(settings, config_file, roles, Path(work_dir))
        async with stage(plan) as place:
            async with address(settings) as dsn, opened(dsn) as db:
                login = await login_of(db)
            for line in _welcome(place, *login):
                click.echo(line)
            return await _until(stop, place)


def _plan(settings: Settings, config_file: Path | None, roles: Collection[str], work_dir: Path) -> Plan:
    arguments = ["--roles", ",".join(sorted(roles))]
    arguments += ["--config", str(config_file.absolute())] if config_file is not None else []
    return Plan(
        state_dir=places.state_dir(settings).absolute(),
        profile=_PROFILE,
        work_dir=work_dir,
        port=settings.http.port,
        rate_per_s=_RATE_PER_S,
        settings=_settings(settings),
        daemon_arguments=tuple(arguments),
    )


def _settings(settings: Settings) -> dict[str, str]:
    """What the operator set that the daemon should know of; the rest is the stage's."""
    given: dict[str, str] = {"DISPATCHER_LOG_LEVEL": settings.log_level}
    if settings.database_url is not None:
        given["DISPATCHER_DATABASE_URL"] = settings.database_url.reveal()
    if settings.redis_url is not None:
        given["DISPATCHER_REDIS_URL"] = settings.redis_url.reveal()
    return given


async def login_of(db: Database) -> tuple[str, str]:
    """A password and a key of the demo's store: a new store at the first start, new ones of the same store later."""
    fields = new_store.check_fields(
        name="Demo store", email=EMAIL, country="GR", timezone="Europe/Athens", credit_count=_CREDITS
    )
    if not isinstance(fields, new_store.StoreFields):
        raise Failure(f"the demo's store was refused: {fields}")
    made = await new_store.create_store(db, fields)
    if not isinstance(made, FieldError):
        return made.password, made.api_key
    password = new_store.new_password()
    async with db.transaction() as conn:
        tenant_id = await admin.reset_password(conn, EMAIL, new_store.hash_new(password))
    if tenant_id is None:
        raise Failure(made.message)
    return password, await new_store.create_key(db, tenant_id, TENANT_SCOPES, "dispatcher run --with-simulator")


def _welcome(place: Stage, password: str, api_key: str) -> list[str]:
    return [
        "",
        f"  address    {place.base_url}",
        f"  login      {EMAIL}",
        f"  password   {password}",
        f"  API key    {api_key}",
        f"  provider   {place.simulator_url} (simulated; what it took: {place.simulator_url}/_sim/received)",
        "",
        "  Ctrl-C stops it.",
        "",
    ]


async def _until(stop: asyncio.Event, place: Stage) -> int:
    """Wait for a signal (0), or for the end of a process (1)."""
    waits = {
        "": asyncio.create_task(stop.wait()),
        "the daemon": asyncio.create_task(place.daemon.process.wait()),
        "the simulator": asyncio.create_task(place.simulator.process.wait()),
    }
    done, left = await asyncio.wait(waits.values(), return_when=asyncio.FIRST_COMPLETED)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    if waits[""] in done:
        return 0
    ended = next(name for name, task in waits.items() if task in done)
    click.echo(f"{ended} ended by itself", err=True)
    return 1
