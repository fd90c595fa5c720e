"""The embedded server: started, watched, started again when it dies, stopped. The parts it is made of are beside it."""

import asyncio
import os
import shutil
import signal
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NewType
from urllib.parse import quote

import asyncpg
import structlog

from dispatcher.storage.embedded import account, binaries, cluster, former, sockets, statedir
from dispatcher.storage.embedded.child import Child, start
from dispatcher.storage.embedded.problems import EmbeddedError, from_log

Dsn = NewType("Dsn", str)

_POLL_S = 0.01
# Recovery after a crash may have to replay max_wal_size of log.
_READY_TIMEOUT_S = 300.0
_FORMER_TIMEOUT_S = 60.0
_QUIT_TIMEOUT_S = 10.0
_LOG_BYTES_MAX = 16 * 1024 * 1024
_LOG_LOOK_S = 60.0
_FIXED = (
    "listen_addresses",
    "unix_socket_directories",
    "unix_socket_permissions",
    "port",
    "data_directory",
    "hba_file",
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Restarts:
    """How often a dying server is started again: at once, then with growing pauses; over `max` in `within_s` it is given up."""

    max: int = 5
    within_s: float = 60.0
    pause_min_s: float = 0.4
    pause_max_s: float = 5.0


class EmbeddedPostgres:
    """PostgreSQL in `state_dir`, as a child of this process, on a unix socket only. For one `start` and one `stop`.

    `settings` are PostgreSQL's, and overlay ours. On Linux the server also ends, cleanly, when this process is killed.
    """

    def __init__(
        self, state_dir: Path, *, settings: Mapping[str, str] | None = None, allowed: Restarts | None = None
    ) -> None:
        self._settings = dict(settings or {})
        fixed = [name for name in _FIXED if name in self._settings]
        if fixed:
            raise ValueError(f"{', '.join(fixed)}: decided by the embedded server")
        self._allowed = allowed or Restarts()
        self._given_dir = state_dir
        self._lock: statedir.StateDirLock | None = None
        self._child: Child | None = None
        self._watch: asyncio.Task[None] | None = None
        self._died: asyncio.Future[EmbeddedError] | None = None
        self.restarts = 0

    async def start(self, *, lock_wait_s: float = 10.0) -> Dsn:
        """Start the server and answer the address of its database, which it makes if it is not there.

        `lock_wait_s`: how long to wait for another process that has the state directory, and may be ending.
        Raises EmbeddedError, StateDirInUse. To be called from the main thread.
        """
        if self._lock is not None:
            raise RuntimeError("this embedded server was started before")
        self._died = asyncio.get_running_loop().create_future()
        began = time.monotonic()
        self._state_dir = await asyncio.to_thread(statedir.make, self._given_dir)
        self._lock = await statedir.StateDirLock.take(self._state_dir, wait_s=lock_wait_s)
        try:
            await self._prepare()
            await self._run()
            dsn = await self._database()
        except BaseException:
            await self.stop()
            raise
        self._watch = asyncio.create_task(self._keep(), name="embedded PostgreSQL")
        took_ms = round((time.monotonic() - began) * 1000)
        log.info(
            "embedded.started", pid=self.pid, user=self._account.name, version=self._binaries.major, took_ms=took_ms
        )
        return dsn

    async def stop(self, timeout_s: float = 30.0) -> None:
        """Stop the server: clients are cut, what is committed is on disk. After `timeout_s` it is stopped without ceremony."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        try:
            if self._child is not None:
                await _end(self._child, timeout_s)
                sockets.remove(self._socket_dir)
        finally:
            if self._lock is not None:
                self._lock.release()
            self._child = self._watch = self._lock = None

    async def wait_died(self) -> EmbeddedError:
        """Wait until the server is given up: it died more often than restarts are allowed. It is not restarted then."""
        if self._died is None:
            raise RuntimeError("the embedded server was not started")
        return await asyncio.shield(self._died)

    @property
    def pid(self) -> int:
        """The server's process id."""
        if self._child is None:
            raise RuntimeError("the embedded server is not running")
        return self._child.pid

    @property
    def log_path(self) -> Path:
        """Where the server's messages go."""
        return self._given_dir / "postgres.log"

    async def _prepare(self) -> None:
        """Find the programs, the user and the places, and make the cluster if there is none."""
        self._data = self._state_dir / "postgres"
        self._account = account.choose(self._data)
        await asyncio.to_thread(account.require_reach, self._account, self._state_dir)
        major = cluster.major_of(self._data)
        found = await asyncio.to_thread(binaries.find, major)
        self._binaries = await asyncio.to_thread(binaries.reachable, found, self._account, self._state_dir)
        self.log_path.touch(mode=0o600)
        await asyncio.to_thread(_trim, self.log_path)
        if major is None:
            durable = self._settings.get("fsync", "on") == "on"
            await cluster.create(self._data, self._binaries, self._account, self.log_path, durable=durable)
        self._socket_dir = sockets.place(self._state_dir, self._account)

    async def _run(self) -> None:
        """Start the server process and wait until it takes connections."""
        await former.gone(self._data, timeout_s=_FORMER_TIMEOUT_S)
        cluster.configure(self._data, self._account, self._settings)
        sockets.prepare(self._socket_dir, self._account)
        argv = [self._binaries.postgres, "-D", str(self._data), "-p", str(sockets.PORT)]
        folder = str(self._socket_dir).replace('"', '""')
        argv += ["-c", "listen_addresses=", "-c", f'unix_socket_directories="{folder}"']
        argv += ["-c", "unix_socket_permissions=0700"]
        self._child = child = start(argv, account=self._account, log=self.log_path, death_signal=signal.SIGINT)
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while not _ready(self._data, child.pid):
            if not child.alive:
                raise from_log(f"PostgreSQL ended with status {child.process.returncode}", child.log, child.log_offset)
            if time.monotonic() > deadline:
                await _end(child, _QUIT_TIMEOUT_S)
                raise from_log(f"PostgreSQL was not ready after {_READY_TIMEOUT_S:g} s", child.log, child.log_offset)
            await asyncio.sleep(_POLL_S)

    async def _database(self) -> Dsn:
        folder = str(self._socket_dir)
        connection = await asyncpg.connect(
            host=folder, port=sockets.PORT, user=cluster.USER, database="postgres", timeout=30
        )
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", cluster.DATABASE):
                await connection.execute(f"CREATE DATABASE {cluster.DATABASE}")
        finally:
            await connection.close(timeout=5)
        return dsn_of(folder, sockets.PORT)

    async def _keep(self) -> None:
        """Start the server again whenever it dies; give up when it dies too often."""
        allowed = self._allowed
        deaths: deque[float] = deque(maxlen=allowed.max)
        while True:
            status = await self._outlive()
            error: EmbeddedError | None = EmbeddedError(
                f"PostgreSQL ended with status {status}", f"See {self.log_path}"
            )
            while error is not None:
                now = time.monotonic()
                recent = sum(now - death < allowed.within_s for death in deaths)
                if recent == allowed.max:
                    log.error("embedded.given_up", reason=str(error), restarts=self.restarts)
                    self._give_up(error)
                    return
                deaths.append(now)
                log.error("embedded.died", reason=str(error), recent=recent)
                await asyncio.sleep(min(allowed.pause_max_s, allowed.pause_min_s * 4 ** (recent - 1)) if recent else 0)
                error = await self._again()

    async def _again(self) -> EmbeddedError | None:
        """Start the server once more; what was wrong, if it does not."""
        try:
            await self._run()
        except EmbeddedError as error:
            return error
        self.restarts += 1
        log.warning("embedded.restarted", pid=self.pid, restarts=self.restarts)
        return None

    async def _outlive(self) -> int:
        """Wait for the server's end, keeping its log within bounds meanwhile; its exit status."""
        if self._child is None:
            raise RuntimeError("there is no server to watch")
        while True:
            try:
                async with asyncio.timeout(_LOG_LOOK_S):
                    return await self._child.wait()
            except TimeoutError:
                await asyncio.to_thread(_trim, self.log_path)

    def _give_up(self, error: EmbeddedError) -> None:
        if self._died is not None and not self._died.done():
            self._died.set_result(error)


def dsn_of(socket_dir: str, port: int) -> Dsn:
    """The address of the database behind a socket."""
    return Dsn(f"postgresql://{cluster.USER}@/{cluster.DATABASE}?host={quote(socket_dir, safe='')}&port={port}")


async def _end(child: Child, timeout_s: float) -> None:
    """SIGINT (fast shutdown), then SIGQUIT (immediate: the next start recovers), then SIGKILL, each with its time."""
    for number, patience_s in ((signal.SIGINT, timeout_s), (signal.SIGQUIT, _QUIT_TIMEOUT_S), (signal.SIGKILL, None)):
        child.send(number)
        try:
            async with asyncio.timeout(patience_s):
                await child.wait()
                return
        except TimeoutError:
            log.warning("embedded.stop_late", pid=child.pid, signal=number.name, waited_s=patience_s)


def _trim(path: Path) -> None:
    """Keep one former log. The server goes on writing to the same file, emptied: it is opened for appending."""
    if path.stat().st_size > _LOG_BYTES_MAX:
        former_log = path.with_name(f"{path.name}.1")
        shutil.copyfile(path, former_log)
        former_log.chmod(0o600)
        os.truncate(path, 0)


def _ready(data: Path, pid: int) -> bool:
    now = former.read(data)
    return now is not None and now.pid == pid and now.status == "ready"
