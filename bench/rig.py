"""The house that is measured: the daemon, its PostgreSQL (fsync and synchronous_commit on) and the simulator, as processes.

It measures from outside: CPU seconds of the daemon and of every PostgreSQL process, WAL bytes, statements by
pg_stat_statements. Everything listens on 127.0.0.1, and only processes started here are ended.
"""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import psutil

from dispatcher.storage.embedded import EmbeddedPostgres

SECRET = "bench-webhook-secret"
NAMES = ("Maria", "Nikos", "Eleni", "Giorgos", "Katerina", "Yannis", "Sofia", "Dimitris")
_READY_S = 30.0

PG_SETTINGS = {
    "shared_preload_libraries": "pg_stat_statements",
    "shared_buffers": "2GB",
    "max_wal_size": "8GB",
    "fsync": "on",
    "synchronous_commit": "on",
}


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used up to a moment; the difference of two is the cost of what lies between."""

    daemon_cpu_s: float
    postgres_cpu_s: float
    wal_bytes: int
    statements: int

    def since(self, before: "Usage") -> "Usage":
        """What was used after `before`."""
        return Usage(
            self.daemon_cpu_s - before.daemon_cpu_s,
            self.postgres_cpu_s - before.postgres_cpu_s,
            self.wal_bytes - before.wal_bytes,
            self.statements - before.statements,
        )

    def per_message(self, messages: int) -> dict[str, float]:
        """The same for one message: microseconds, bytes, statements."""
        return {
            "cpu_us_per_message": round((self.daemon_cpu_s + self.postgres_cpu_s) / messages * 1e6, 2),
            "daemon_cpu_us_per_message": round(self.daemon_cpu_s / messages * 1e6, 2),
            "postgres_cpu_us_per_message": round(self.postgres_cpu_s / messages * 1e6, 2),
            "wal_bytes_per_message": round(self.wal_bytes / messages, 1),
            "statements_per_message": round(self.statements / messages, 5),
        }


class Rig:
    """The running house."""

    def __init__(self, folder: Path, dsn: str, postgres_pid: int, db: asyncpg.Connection) -> None:
        self.folder = folder
        self.dsn = dsn
        self.db = db
        self._postgres = psutil.Process(postgres_pid)
        self._ended: dict[int, float] = {}
        self.url = ""
        self.simulator_url = ""
        self.tenant_id = 0
        self._daemon: psutil.Process | None = None
        self.http: Any = None

    # ------------------------------------------------------------------ measuring

    async def usage(self) -> Usage:
        """What was used so far."""
        wal = await self.db.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint")
        calls = await self.db.fetchval(
            "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid "
            "WHERE s.toplevel AND d.datname = current_database()"
        )
        return Usage(self._cpu_s(self.daemon), self._postgres_cpu_s(), wal, calls)

    @property
    def daemon(self) -> psutil.Process:
        """The daemon's process."""
        assert self._daemon is not None
        return self._daemon

    @staticmethod
    def _cpu_s(process: psutil.Process) -> float:
        times = process.cpu_times()
        return times.user + times.system

    def _postgres_cpu_s(self) -> float:
        for process in (self._postgres, *self._postgres.children()):
            try:
                self._ended[process.pid] = self._cpu_s(process)
            except psutil.NoSuchProcess:
                continue
        return sum(self._ended.values())

    def rss_bytes(self) -> int:
        """The daemon's resident memory."""
        return int(self.daemon.memory_info().rss)

    # ------------------------------------------------------------------ the store

    async def contacts(self, count: int, *, first_phone: int = 306_900_000_000) -> None:
        """A store with `count` contacts and credits enough."""
        command = ["tenant", "create", "--name", "Bench", "--email", f"bench-{os.urandom(6).hex()}@shop.example"]
        made = subprocess.run(
            [sys.executable, "-m", "dispatcher.cli", *command, "--credits", str(count * 20), "--json"],
            check=True,
            capture_output=True,
            env=os.environ | {"DISPATCHER_DATABASE_URL": self.dsn},
        )
        created = json.loads(made.stdout)
        self.tenant_id = await self.db.fetchval("SELECT max(tenant_id) FROM tenant")
        rows = [(self.tenant_id, first_phone + i, "GR", NAMES[i % len(NAMES)], "Papadopoulos") for i in range(count)]
        await self.db.copy_records_to_table(
            "contact", records=rows, columns=["tenant_id", "phone", "country", "first_name", "last_name"]
        )
        await self.db.execute("VACUUM ANALYZE contact")
        await self._sign_in(created["api_key"])

    async def _sign_in(self, key: str) -> None:
        if self.http is not None:
            await self.http.close()
        self.http = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {key}"}, connector=aiohttp.TCPConnector(limit=64)
        )

    async def send_campaign(self, text: str) -> str:
        """Create a campaign to everybody and send it; its id."""
        body = {
            "name": "bench",
            "text": text,
            "audience": "all",
            "sender": "Bench",
            "link_url": "https://shop.example/x",
        }
        async with self.http.post(f"{self.url}/api/v1/campaigns", json=body) as answer:
            created = await answer.json()
            assert answer.status == 201, created
        async with self.http.post(f"{self.url}/api/v1/campaigns/{created['id']}/send") as answer:
            assert answer.status < 300, await answer.text()
        return str(created["id"])

    async def campaign(self, campaign_id: str) -> dict[str, Any]:
        """The campaign as the API shows it."""
        async with self.http.get(f"{self.url}/api/v1/campaigns/{campaign_id}") as answer:
            return dict(await answer.json())

    async def profile(self, profile: Mapping[str, Any]) -> None:
        """Change the simulator's profile, and forget what it took."""
        body = {"profile": dict(profile), "dlr_url": f"{self.url}/webhooks/mitto/dlr", "dlr_secret": SECRET}
        async with self.http.post(f"{self.simulator_url}/_sim/reset", json=body) as answer:
            assert answer.status == 200, await answer.text()

    async def simulator_stats(self) -> dict[str, Any]:
        """The simulator's numbers."""
        async with self.http.get(f"{self.simulator_url}/_sim/stats") as answer:
            return dict(await answer.json())


@asynccontextmanager
async def running(environment: Mapping[str, str] | None = None) -> AsyncIterator[Rig]:
    """Start everything; stop everything."""
    folder = Path(tempfile.mkdtemp(prefix="dispatcher-bench-"))
    folder.chmod(0o755)
    postgres = EmbeddedPostgres(folder / "pg", settings=PG_SETTINGS)
    processes: list[subprocess.Popen[bytes]] = []
    rig: Rig | None = None
    try:
        dsn = await postgres.start()
        db = await asyncpg.connect(dsn)
        await db.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        rig = Rig(folder, dsn, postgres.pid, db)
        await rig._sign_in("none yet")
        simulator = _start(
            folder, "simulator", ["-m", "dispatcher.providers.simulator", "--port", "0", "--seed", "1"], {}
        )
        processes.append(simulator)
        rig.simulator_url = await _listening(folder / "simulator.out")
        port = _free_port()
        rig.url = f"http://127.0.0.1:{port}"
        daemon = _start(
            folder, "daemon", ["-m", "dispatcher.cli", "run"], _settings(rig, folder, port) | dict(environment or {})
        )
        processes.append(daemon)
        rig._daemon = psutil.Process(daemon.pid)
        await _ready(rig.url, folder / "daemon.err")
        yield rig
        await db.close()
    finally:
        if rig is not None and rig.http is not None:
            await rig.http.close()
        for process in reversed(processes):
            process.send_signal(signal.SIGTERM)
        for process in reversed(processes):
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        await postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _settings(rig: Rig, folder: Path, port: int) -> dict[str, str]:
    return {
        "DISPATCHER_DATABASE_URL": rig.dsn,
        "DISPATCHER_STATE_DIR": str(folder / "state"),
        "DISPATCHER_SECRET_KEY": os.urandom(32).hex(),
        "DISPATCHER_HTTP__PORT": str(port),
        "DISPATCHER_PUBLIC_BASE_URL": "https://sms.shop.example",
        "DISPATCHER_LOG_LEVEL": "warning",
        "DISPATCHER_PROVIDERS__MITTO__KIND": "mitto",
        "DISPATCHER_PROVIDERS__MITTO__BASE_URL": rig.simulator_url,
        "DISPATCHER_PROVIDERS__MITTO__API_KEY": "bench",
        "DISPATCHER_PROVIDERS__MITTO__WEBHOOK_SECRET": SECRET,
        "DISPATCHER_PROVIDERS__MITTO__RATE_PER_S": "1000000",
    }


def _start(folder: Path, name: str, argv: list[str], environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    clean = {key: value for key, value in os.environ.items() if not key.startswith("DISPATCHER_")}
    with (folder / f"{name}.out").open("wb") as out, (folder / f"{name}.err").open("wb") as err:
        return subprocess.Popen([sys.executable, *argv], stdout=out, stderr=err, env=clean | dict(environment))


async def _listening(file: Path) -> str:
    async with asyncio.timeout(_READY_S):
        while not (text := file.read_text()).endswith("\n"):
            await asyncio.sleep(0.02)
    return str(json.loads(text)["listening"])


async def _ready(url: str, log: Path) -> None:
    try:
        async with asyncio.timeout(_READY_S), aiohttp.ClientSession() as http:
            while True:
                try:
                    async with http.get(f"{url}/readyz") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise RuntimeError(f"the daemon is not ready:\n{log.read_text()[-3000:]}") from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
