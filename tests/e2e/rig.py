"""A test's hands and eyes at a site: stores, the simulator, the database, and the statements that hold at every end.

`async with rig(site) as r:` starts the daemon if none runs, and at the end checks that it logged no bug. A failure of the
test carries the end of the daemon's log.
"""

import asyncio
import hashlib
import hmac
import json
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from dispatcher.cli.new_store import NewStore, StoreFields, create_key, create_store
from dispatcher.storage import audit
from dispatcher.storage.embedded import attach
from dispatcher.storage.pool import Database
from tests.e2e.site import SECRET, Site
from tests.e2e.store import Campaign, Store
from tests.providers.sim import RunningSimulator

_POLL_S = 0.03
_READY_S = 45.0


class Rig:
    """What a test sees. `db` is the test's own way to the database."""

    def __init__(self, site: Site, session: aiohttp.ClientSession, sim: RunningSimulator, log_from: int) -> None:
        self.site = site
        self.session = session
        self.sim = sim
        self.log_from = log_from
        self.admin_key = ""
        self._db: Database | None = None

    @property
    def db(self) -> Database:
        """The database, once the daemon was ready."""
        if self._db is None:
            raise RuntimeError("the daemon was not ready yet")
        return self._db

    # ------------------------------------------------------------------ the daemon

    async def start_daemon(self, extra: Mapping[str, str] | None = None, *, ready: bool = True) -> None:
        """Start it, and wait until it is ready."""
        self.site.start(extra)
        if ready:
            await self.wait_ready()

    async def wait_ready(self, within_s: float = _READY_S) -> None:
        """Wait until /readyz answers 200."""

        async def look() -> bool:
            assert self.site.exit_code is None, f"the daemon ended with {self.site.exit_code}"
            return (await self.readyz())[0] == 200

        await self.until(look, lambda: "the daemon to be ready", within_s=within_s)
        if self._db is None:
            await self._connect()

    async def _connect(self) -> None:
        url = self.site.database_url or attach.running(self.site.state_dir)
        assert url is not None
        self._db = await Database.open(url, size_max=4, dlr_size_max=3, application_name="test")
        self.admin_key = await create_key(self._db, None, ["admin"], "test")

    async def readyz(self) -> tuple[int, list[str]]:
        """The status and the reasons; (0, []) while nobody listens."""
        try:
            async with self.session.get(f"{self.site.url}/readyz") as answer:
                return answer.status, (await answer.json())["reasons"]
        except aiohttp.ClientConnectionError:
            return 0, []

    async def kill(self, number: int = signal.SIGKILL, within_s: float = 30.0) -> int:
        """Send the daemon a signal and wait until it has ended; its exit status."""
        self.site.kill(number)
        return await self.site.ended(within_s)

    async def close(self) -> None:
        """Let go of the database."""
        if self._db is not None:
            await self._db.close()
            self._db = None

    # ------------------------------------------------------------------ what a test does

    async def store(self, *, credit_count: int = 1_000_000, people: int = 0) -> Store:
        """A new store with credits, and contacts if asked for."""
        fields = StoreFields("Shop", f"{uuid.uuid4().hex}@example.com", "GR", "Europe/Athens", credit_count)
        made = await create_store(self.db, fields)
        assert isinstance(made, NewStore)
        store = Store(self, made.tenant_id, made.api_key)
        if people:
            await store.people(people)
        return store

    async def execute(self, sql: str, *args: Any) -> None:
        """A statement of the test's own."""
        async with self.db.acquire() as conn:
            await conn.execute(sql, *args)

    async def value(self, sql: str, *args: Any) -> Any:
        """One value out of the database."""
        async with self.db.acquire() as conn:
            return await conn.fetchval(sql, *args)

    async def rows(self, sql: str, *args: Any) -> list[Any]:
        """Rows out of the database."""
        async with self.db.acquire() as conn:
            return list(await conn.fetch(sql, *args))

    async def phones_of(self, tenant_id: int) -> set[int]:
        """The phones of a store's contacts."""
        async with self.db.acquire() as conn:
            return {
                row["phone"] for row in await conn.fetch("SELECT phone FROM contact WHERE tenant_id = $1", tenant_id)
            }

    async def post_reports(self, body: Any, *, secret: str = SECRET) -> int:
        """Post a webhook body, signed; the status."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        signature = hmac.new(secret.encode(), data, hashlib.sha256).hexdigest()
        headers = {"X-Webhook-Signature": signature, "Content-Type": "application/json"}
        async with self.session.post(self.site.dlr_url, data=data, headers=headers) as answer:
            return answer.status

    async def until(
        self, holds: Callable[[], Awaitable[bool]], what: Callable[[], str], *, within_s: float = 30.0
    ) -> None:
        """Wait for what tells nobody when it happens. AssertionError says what was waited for."""
        try:
            async with asyncio.timeout(within_s):
                while not await holds():
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise AssertionError(f"waited {within_s:g} s for {what()}") from None

    # ------------------------------------------------------------------ what holds

    async def received(self) -> Counter[int]:
        """How often the provider took a message for each phone."""
        return Counter(int(one["destination"].lstrip("+")) for one in await self.sim.received())

    async def metrics(self) -> dict[str, float]:
        """Every sample of /metrics, under its name with its labels."""
        async with self.session.get(f"{self.site.url}/metrics") as answer:
            text = await answer.text()
        return {
            sample.name + "".join(f"{{{value}}}" for _, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def audit(self) -> None:
        """The rows tell one story."""
        async with self.db.acquire() as conn:
            checks = await audit.audit(conn)
        assert [f"{check.name}: {check.detail}" for check in checks if not check.ok] == []

    async def check(self, *campaigns: Campaign, held: int = 0, twice: int = 0) -> None:
        """What is true at every end: nobody got a message twice, no credit is missing or kept, every message counts once."""
        received = await self.received()
        assert sum(count - 1 for count in received.values()) == twice
        await self.audit()
        for campaign in campaigns:
            shown = await campaign.get()
            assert sum(shown["counts"].values()) == shown["recipients"]
            assert (await campaign.store.wallet())["held"] == held

    def events(self, *names: str) -> list[dict[str, Any]]:
        """What the daemon logged since the test began."""
        return [event for event in self.site.log(self.log_from) if event.get("event") in names]


@asynccontextmanager
async def rig(
    site: Site,
    profile: Mapping[str, Any] | None = None,
    *,
    expected: Collection[str] = (),
    start: bool = True,
    seed: int = 1,
) -> AsyncIterator[Rig]:
    """A rig at the site, with a simulator that has forgotten everything. `expected`: events of level error that are not
    bugs in this test."""
    log_from = site.log_size()
    async with site.simulator.fresh() as sim, _session() as session:
        await sim.reset(profile=dict(profile or {}), dlr_url=site.dlr_url, dlr_secret=SECRET, seed=seed)
        test = Rig(site, session, sim, log_from)
        try:
            if start:
                if site.process is None or site.exit_code is not None:
                    site.start()
                await test.wait_ready()
            yield test
            errors = [one for one in site.log(log_from) if one.get("level") in ("error", "critical")]
            bugs = [one for one in errors if one["event"] not in expected]
            assert not bugs, "\n".join(map(str, bugs))
        except BaseException as error:
            error.add_note(f"---- the daemon (exit status {site.exit_code}):\n{site.tail(log_from)}")
            raise
        finally:
            await _forget(test)


async def _forget(test: Rig) -> None:
    """Whatever the simulator still wants to report is of this test, and of no other."""
    try:
        await test.sim.reset(profile={}, dlr_url=None)
    finally:
        await test.close()


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30), trust_env=False)
