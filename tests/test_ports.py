"""A port that cannot be had is one line that names the setting, before anything is started."""

import asyncio
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.config import ConfigError, Settings
from dispatcher.config.settings import Http
from dispatcher.house import ROLES
from dispatcher.ports import require_ports
from tests import pg

HTTP_PORT, METRICS_PORT, HOST = "DISPATCHER_HTTP__PORT", "DISPATCHER_METRICS_PORT", "DISPATCHER_HTTP__HOST"
# TEST-NET-1 (RFC 5737): nobody's address.
NOBODYS = "192.0.2.1"
STEP_TIMEOUT_S = 30.0


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def settings(port: int, *, metrics_port: int | None = None, host: str = "127.0.0.1") -> Settings:
    """Settings with these addresses."""
    return Settings(http=Http(host=host, port=port), metrics_port=metrics_port)


async def refused(given: Settings, roles: frozenset[str] = frozenset(ROLES)) -> str:
    """The setting that is named."""
    with pytest.raises(ConfigError) as told:
        await require_ports(given, roles)
    assert 1 == len(str(told.value).splitlines())
    return told.value.setting


async def test_a_port_that_is_taken_names_its_setting(taken: int) -> None:
    """The API's and the metrics'."""
    assert HTTP_PORT == await refused(settings(taken))
    assert METRICS_PORT == await refused(settings(0, metrics_port=taken))


async def test_an_address_of_another_machine_or_none_at_all_names_the_host() -> None:
    """A number that is not ours; a name that nobody knows (RFC 6761: `invalid` never resolves)."""
    assert HOST == await refused(settings(0, host=NOBODYS))
    assert HOST == await refused(settings(0, host="nowhere.invalid"))


async def test_one_port_for_both_is_refused(taken: int) -> None:
    """Neither is taken yet when they are asked for one after the other."""
    assert METRICS_PORT == await refused(settings(taken + 1, metrics_port=taken + 1))


async def test_any_free_port_and_a_port_that_is_not_needed_are_fine(taken: int) -> None:
    """Port 0 may be given twice; a process without the API does not listen on its port."""
    await require_ports(settings(0, metrics_port=0), frozenset(ROLES))
    await require_ports(settings(taken), frozenset({"sender"}))


async def test_a_port_that_somebody_just_left_is_free() -> None:
    """A daemon that starts again at once is not kept waiting by the connections of its former life (TIME_WAIT)."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        ours, _ = server.accept()
        ours.close()  # the side that closes first keeps the port in TIME_WAIT
        client.recv(1)
        port = server.getsockname()[1]
    await require_ports(settings(port), frozenset(ROLES))


async def test_run_ends_with_78_before_anything_is_started(taken: int) -> None:
    """The port of another process: one line, no traceback, no database made."""
    with pg.temporary_state_dir() as folder:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "dispatcher.cli", "run"),
            env={
                "PATH": "/usr/bin:/bin",
                "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
                "DISPATCHER_STATE_DIR": str(folder / "state"),
                "DISPATCHER_SECRET_KEY": "0123456789abcdef0123456789abcdef",
                "DISPATCHER_PROVIDERS__MITTO__KIND": "mitto",
                "DISPATCHER_PROVIDERS__MITTO__BASE_URL": "http://127.0.0.1:9",
                "DISPATCHER_PROVIDERS__MITTO__API_KEY": "key",
                HTTP_PORT: str(taken),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(STEP_TIMEOUT_S):
            told = (await process.communicate())[0].decode()
        assert (78, 1, True) == (process.returncode, told.count("\n"), HTTP_PORT in told), told
        assert not (folder / "state").exists()
