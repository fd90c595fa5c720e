"""The HTTP interface on a real port with a real database, and small actors behind the addresses that it asks.

The wallet ledger is the product's own; senders, planner and reconciler are actors of the test that note what they are told.
"""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from dispatcher.actors.importer import Importer
from dispatcher.actors.messages import DirectResult, SendDirect
from dispatcher.actors.runtime import Address, AsyncioActor
from dispatcher.actors.spool import Spool
from dispatcher.actors.wallet_ledger import WalletLedger
from dispatcher.config.clock import Clock, SystemClock
from dispatcher.config.secret import Secret
from dispatcher.config.settings import Http, Settings
from dispatcher.config.settings import Provider as ProviderSection
from dispatcher.domain import credentials, money
from dispatcher.http.patience import Patience
from dispatcher.http.server import AskPort, HttpServer
from dispatcher.http.services import HttpServices
from dispatcher.observability.health import Readiness
from dispatcher.observability.metrics import Metrics
from dispatcher.providers.base import ProviderSettings
from dispatcher.providers.factory import create as create_provider
from dispatcher.storage import keys, ledger, tenants
from dispatcher.storage.pool import Database

SECRET = "a-webhook-secret"


class Notes(AsyncioActor):
    """Notes what it is told, and answers asks with what `reply` makes of them."""

    def __init__(self, reply: Callable[[Any], Any] = lambda _: True) -> None:
        super().__init__()
        self.told: list[Any] = []
        self.reply = reply

    async def on_receive(self, message: Any) -> Any:
        """Note and answer; an answer that is an exception is raised."""
        self.told.append(message)
        answer = self.reply(message)
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Any
    body: bytes
    json: Any = None


@dataclass
class Stand:
    """A running interface. `key` is of the tenant with every tenant scope, `admin_key` an operator's."""

    db: Database
    session: aiohttp.ClientSession
    url: str
    services: HttpServices
    tenant_id: int
    key: str
    admin_key: str
    sender: Notes
    planner: Notes
    reconciler: Notes
    server: HttpServer
    readiness: list[Readiness] = field(default_factory=list)

    async def call(
        self, method: str, path: str, *, key: str | None = None, headers: dict[str, str] | None = None, **kwargs: Any
    ) -> Answer:
        """A request with the tenant's key; `key=""` sends none. `path` is under the root; /api/v1 is added to bare ones."""
        url = self.url + (path if path.startswith("/") else f"/api/v1/{path}")
        given = dict(headers or {})
        token = self.key if key is None else key
        if token and "Authorization" not in given:
            given["Authorization"] = f"Bearer {token}"
        async with self.session.request(method, url, headers=given, allow_redirects=False, **kwargs) as response:
            body = await response.read()
            is_json = "json" in response.content_type
            return Answer(
                response.status, response.headers, body, await response.json(content_type=None) if is_json else None
            )


async def new_tenant(db: Database, name: str = "Books & More", *, granted: int = 0, **kwargs: Any) -> int:
    """A tenant with a wallet."""
    async with db.transaction() as conn:
        tenant_id = await tenants.create(
            conn, name=name, country="GR", timezone="Europe/Athens", sender=kwargs.get("sender", "BOOKS")
        )
        if granted:
            await ledger.post(conn, [money.credit(tenant_id, granted, kind="grant", key="first")])
    return tenant_id


async def new_key(db: Database, tenant_id: int | None, *scopes: str) -> str:
    """A key with these scopes, or every tenant scope."""
    key = credentials.key_from_bytes(os.urandom(credentials.KEY_BYTES))
    async with db.acquire() as conn:
        await keys.create(
            conn,
            key_hash=credentials.key_hash(key),
            prefix=credentials.shown_prefix(key),
            tenant_id=tenant_id,
            scopes=scopes or credentials.TENANT_SCOPES,
        )
    return key


def settings() -> Settings:
    """Settings with one provider account."""
    section = ProviderSection(
        kind="mitto", base_url="http://127.0.0.1:9", api_key=Secret("k"), webhook_secret=Secret(SECRET)
    )
    return Settings(http=Http(port=0, max_import_bytes=1 << 20), providers={"mitto": section})


def accepted(message: Any) -> Any:
    """What a sender answers when all is well."""
    return DirectResult("accepted", 7, 1, 1, 1) if isinstance(message, SendDirect) else True


def start(actor: AsyncioActor, name: str, running: list[AsyncioActor]) -> Address:
    """Run an actor behind an address."""
    address = Address(name)
    address.bind(actor.launch(name=name))
    running.append(actor)
    return address


@asynccontextmanager
async def stand(
    db: Database,
    folder: Path,
    *,
    clock: Clock | None = None,
    config: Settings | None = None,
    importer: bool = True,
    patience: Patience | None = None,
) -> AsyncIterator[Stand]:
    """Run everything, and stop it in reverse."""
    running: list[AsyncioActor] = []
    sender, planner, reconciler = Notes(accepted), Notes(), Notes()
    config = config or settings()
    provider = create_provider(ProviderSettings("mitto", "mitto", "http://127.0.0.1:9", "k", webhook_secret=SECRET))
    planner_address = start(planner, "planner", running)
    spool = Spool(folder)
    clock = clock or SystemClock()
    readiness = [Readiness()]

    async def ready() -> Readiness:
        return readiness[0]

    importer_address = Address("importer")
    if importer:
        importer_address = start(Importer(db, spool, owner="test", clock=clock), "importer", running)
    services = HttpServices(
        db=db,
        settings=config,
        metrics=Metrics(),
        clock=clock,
        ledger=start(WalletLedger(db, planner_address), "ledger", running),
        planner=planner_address,
        reconciler=start(reconciler, "reconciler", running),
        limiter=Address("limiter"),
        importer=importer_address,
        spool=spool,
        senders={"mitto": start(sender, "sender", running)},
        providers={"mitto": provider},
        readiness=ready,
        snapshot=list,
        patience=patience or Patience(),
    )
    server = HttpServer(services, host="127.0.0.1", port=0, stop_timeout_s=2.0)
    port = await start(server, "http", running).ask(AskPort())
    tenant_id = await new_tenant(db)
    try:
        async with aiohttp.ClientSession() as session:
            yield Stand(
                db,
                session,
                f"http://127.0.0.1:{port}",
                services,
                tenant_id,
                await new_key(db, tenant_id),
                await new_key(db, None, "admin"),
                sender,
                planner,
                reconciler,
                server,
                readiness,
            )
    finally:
        for actor in reversed(running):
            await actor.actor_ref.stop(block=False)
