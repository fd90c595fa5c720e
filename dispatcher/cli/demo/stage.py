"""The processes of a demo set up together: the simulator, then the daemon (with its PostgreSQL) that sends to it.

Both need the other's address: the daemon's port is chosen first. Ended in reverse, so that the daemon can record what the
provider answered last.
"""

import asyncio
import json
import secrets
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dispatcher.cli.demo import api, children
from dispatcher.cli.demo.children import Child
from dispatcher.storage.embedded import former

SENDER = "DEMO"
PROVIDER = "mitto"
_READY_TIMEOUT_S = 90.0
_POLL_S = 0.1
_SIMULATOR_START_S = 30.0
_SIMULATOR_END_S = 10.0
_DAEMON_END_S = 60.0
_POSTGRES_END_S = 60.0
_WEBHOOK_PATH = "/webhooks/mitto/dlr"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to set up. `logs`: the folder of the processes' logs; None: their output is ours. `settings` (DISPATCHER_*)
    overlay the daemon's."""

    state_dir: Path
    profile: Mapping[str, Any]
    work_dir: Path
    port: int = 0
    seed: int = 1
    rate_per_s: int = 100_000
    logs: Path | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    daemon_arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stage:
    """Where everything is, once the daemon is ready."""

    base_url: str
    simulator_url: str
    daemon: Child
    simulator: Child


@asynccontextmanager
async def stage(plan: Plan) -> AsyncIterator[Stage]:
    """Start everything, and end everything after the block. Raises ChildFailed."""
    port = plan.port or free_port()
    base_url = f"http://127.0.0.1:{port}"
    secret = secrets.token_urlsafe(32)
    simulator = await _start_simulator(plan, base_url, secret)
    try:
        line = await simulator.first_line(_SIMULATOR_START_S)
        simulator_url = json.loads(line)["listening"]
        log = plan.logs and plan.logs / "daemon.log"
        environment = _environment(plan, port, simulator_url, secret)
        daemon = await children.start("the daemon", ["run", *plan.daemon_arguments], environment, log=log)
        try:
            await _ready(base_url, daemon)
            yield Stage(base_url, simulator_url, daemon, simulator)
        finally:
            await daemon.end(_DAEMON_END_S)
            # Of a daemon that was killed: the server stops by itself, but not at once.
            await former.gone(plan.state_dir / "postgres", timeout_s=_POSTGRES_END_S)
    finally:
        await simulator.end(_SIMULATOR_END_S)


def free_port() -> int:
    """A TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _start_simulator(plan: Plan, base_url: str, secret: str) -> Child:
    profile = plan.work_dir / "simulator.json"
    profile.write_text(json.dumps(dict(plan.profile)))
    arguments = ["simulate", "--port", "0", "--seed", str(plan.seed), "--profile", str(profile)]
    arguments += [f"--dlr-url={base_url}{_WEBHOOK_PATH}", f"--dlr-secret={secret}"]
    log = plan.logs and plan.logs / "simulator.log"
    return await children.start("the simulator", arguments, {}, log=log, read_output=True)


def _environment(plan: Plan, port: int, simulator_url: str, secret: str) -> dict[str, str]:
    provider = f"DISPATCHER_PROVIDERS__{PROVIDER.upper()}__"
    return {
        "DISPATCHER_STATE_DIR": str(plan.state_dir),
        "DISPATCHER_SECRET_KEY": secrets.token_urlsafe(48),
        "DISPATCHER_HTTP__HOST": "127.0.0.1",
        "DISPATCHER_HTTP__PORT": str(port),
        "DISPATCHER_PUBLIC_BASE_URL": f"http://127.0.0.1:{port}",
        "DISPATCHER_LOG_FORMAT": "console",
        "DISPATCHER_DEFAULT_PROVIDER": PROVIDER,
        "DISPATCHER_DEFAULT_SENDER": SENDER,
        f"{provider}KIND": "mitto",
        f"{provider}BASE_URL": simulator_url,
        f"{provider}API_KEY": secrets.token_urlsafe(24),
        f"{provider}WEBHOOK_SECRET": secret,
        f"{provider}RATE_PER_S": str(plan.rate_per_s),
        **plan.settings,
    }


async def _ready(base_url: str, daemon: Child) -> None:
    async with api.client(base_url) as asked:
        try:
            async with asyncio.timeout(_READY_TIMEOUT_S):
                while await asked.status("/readyz") != 200:
                    daemon.check_alive()
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as error:
            raise daemon.failed(f"was not ready within {_READY_TIMEOUT_S:g} s") from error
