"""Where an end-to-end test happens: a database, the provider simulator and the daemon, each a process of its own.

What it is for: starting, killing and ending the daemon, and what it wrote meanwhile. What it is not: the questions that a
test asks (`rig.py`). Nothing here needs a loop, so that a module's tests can share one.
"""

import asyncio
import ctypes
import json
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests import pg
from tests.providers.sim import SharedSimulator

SECRET = "a-secret-of-the-provider-s-webhooks"
WEBHOOK_PATH = "/webhooks/mitto/dlr"
BASE_URL = "https://s.example"
# Below the ports that the system gives to whoever asks for any: a daemon that starts again finds its port free.
_PORTS = range(20_000, 32_000)
_KILLED_TIMEOUT_S = 10.0
_COMMAND = ("-m", "dispatcher.cli", "run")
_DEATH_SIGNAL = ctypes.CDLL(None).prctl

# Short times, small batches: what happens in minutes in production happens in seconds here.
SETTINGS: Mapping[str, str] = {
    "SECRET_KEY": "0123456789abcdef0123456789abcdef",
    "LOG_FORMAT": "json",
    "PUBLIC_BASE_URL": BASE_URL,
    "DEFAULT_SENDER": "SHOP",
    "LEASE_S": "2",
    "UNKNOWN_AFTER_S": "3600",
    "DRAIN_TIMEOUT_S": "20",
    "DB__SIZE_MAX": "8",
    "DB__DLR_SIZE_MAX": "3",
    "PROVIDERS__MITTO__KIND": "mitto",
    "PROVIDERS__MITTO__API_KEY": "key",
    "PROVIDERS__MITTO__WEBHOOK_SECRET": SECRET,
    "PROVIDERS__MITTO__RATE_PER_S": "100000",
    "PROVIDERS__MITTO__BATCH_SIZE": "100",
    "PROVIDERS__MITTO__MAX_IN_FLIGHT": "4",
    "PROVIDERS__MITTO__TIMEOUT_S": "1.5",
    "PROVIDERS__MITTO__CONNECT_TIMEOUT_S": "1",
}


class Site:
    """A place for a daemon. `state_dir` is its own; `database_url` None: the daemon runs its own PostgreSQL there."""

    def __init__(
        self,
        folder: Path,
        simulator: SharedSimulator,
        database_url: str | None,
        settings: Mapping[str, str],
        command: Sequence[str] = _COMMAND,
    ) -> None:
        self.simulator = simulator
        self.database_url = database_url
        self.state_dir = folder / "state"
        self.log_path = folder / "daemon.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.dlr_url = self.url + WEBHOOK_PATH
        self._folder = folder
        self._settings = {**SETTINGS, **settings}
        self._command = tuple(command)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, extra: Mapping[str, str] | None = None, command: Sequence[str] | None = None) -> None:
        """Start the daemon; `extra` are variables of its environment, under their full names."""
        if self.process is not None and self.process.poll() is None:
            raise RuntimeError("the daemon of this site runs already")
        settings = {
            "STATE_DIR": str(self.state_dir),
            "HTTP__PORT": str(self.port),
            "PROVIDERS__MITTO__BASE_URL": self.simulator.base_url,
            **self._settings,
        }
        if self.database_url is not None:
            settings["DATABASE_URL"] = self.database_url
        environment = {f"DISPATCHER_{name}": value for name, value in settings.items()}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *(command or self._command)],
                cwd=pg.ROOT,
                env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(pg.ROOT), **environment, **(extra or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_end_with_us,  # noqa: PLW1509 - it calls the kernel and nothing else
            )

    def set(self, **settings: str) -> None:
        """Change settings for the next start."""
        self._settings |= settings

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        if self.process is None:
            raise RuntimeError("no daemon was started")
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        """The daemon's exit status; negative: the signal that killed it; None while it runs."""
        return None if self.process is None else self.process.poll()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send the daemon a signal. Nothing when it has ended."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    async def ended(self, within_s: float = 30.0) -> int:
        """Wait until the daemon has ended; its exit status."""
        process = self.process
        if process is None:
            raise RuntimeError("no daemon was started")
        await pg.until(lambda: process.poll() is not None, within_s=within_s)
        return int(process.returncode)

    def close(self) -> None:
        """End what runs: the daemon, and a PostgreSQL of its own."""
        servers = psutil.Process(self.pid).children(recursive=True) if self.process and self.exit_code is None else []
        self.kill()
        if self.process is not None:
            self.process.wait(_KILLED_TIMEOUT_S)
        _, alive = psutil.wait_procs(servers, timeout=_KILLED_TIMEOUT_S)
        for server in alive:
            server.kill()

    # ------------------------------------------------------------------ what it wrote

    def log_size(self) -> int:
        """Where the log ends now."""
        return self.log_path.stat().st_size if self.log_path.exists() else 0

    def log(self, since: int = 0) -> list[dict[str, Any]]:
        """The events from the place `since` on; a line that is no JSON (a crash of Python) is an event `stderr`."""
        if not self.log_path.exists():
            return []
        with self.log_path.open("rb") as file:
            file.seek(since)
            return [_event(line) for line in file.read().decode(errors="replace").splitlines()]

    def tail(self, since: int = 0, lines: int = 40) -> str:
        """The last lines, for a failure's message."""
        events = self.log(since)[-lines:]
        return "\n".join(" ".join(f"{key}={value}" for key, value in event.items()) for event in events)


@contextmanager
def site(
    simulator: SharedSimulator,
    database_url: str | None,
    settings: Mapping[str, str] | None = None,
    command: Sequence[str] = _COMMAND,
) -> Iterator[Site]:
    """A place with no daemon yet; whatever runs at the end is ended."""
    with pg.temporary_state_dir(pg.quickest_place()) as folder:
        place = Site(folder, simulator, database_url, settings or {}, command)
        try:
            yield place
        finally:
            place.close()


@contextmanager
def database_of(template_url: str) -> Iterator[str]:
    """A fresh database for the tests of a module."""
    with asyncio.Runner() as runner:
        fresh = pg.fresh_database(template_url)
        url = runner.run(fresh.__aenter__())
        try:
            yield url
        finally:
            runner.run(fresh.__aexit__(None, None, None))


def free_port() -> int:
    """A port that nobody listens on, and that the system gives to nobody."""
    for _ in range(100):
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise RuntimeError("no free port was found")


def _event(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    return event if isinstance(event, dict) else {"event": "stderr", "level": "error", "line": line}


def _end_with_us() -> None:
    """The daemon dies with the process that tests, whatever ends that (PR_SET_PDEATHSIG)."""
    _DEATH_SIGNAL(1, signal.SIGKILL, 0, 0, 0)
