"""The commands that start processes leave none behind, however they end. Real processes, on this machine only."""

import asyncio
import contextlib
import json
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import psutil
import pytest

from dispatcher.cli.demo import development
from dispatcher.domain import passwords
from dispatcher.storage import embedded
from dispatcher.storage.pool import Database
from tests import pg
from tests.loopguard import LoopWatch

ROOT = Path(__file__).resolve().parent.parent.parent
COMMAND = (sys.executable, "-m", "dispatcher.cli")
GONE_TIMEOUT_S = 40.0
STEP_TIMEOUT_S = 55.0


def _environment(settings: dict[str, str]) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": "1", **settings}


@asynccontextmanager
async def _started(*arguments: str, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command; killed at the end if it still runs, and what it started then ends by itself."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        env=_environment(settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _output(*arguments: str, **settings: str) -> tuple[int, str]:
    async with _started(*arguments, **settings) as process, asyncio.timeout(STEP_TIMEOUT_S):
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()


async def _until(process: asyncio.subprocess.Process, words: str) -> str:
    """The output up to the first line with these words."""
    assert process.stdout is not None
    told = ""
    async with asyncio.timeout(STEP_TIMEOUT_S):
        while line := (await process.stdout.readline()).decode():
            told += line
            if words in line:
                return told
    raise AssertionError(f"it ended before it said {words!r}:\n{told}")


def _family(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


async def _gone(family: list[psutil.Process]) -> list[psutil.Process]:
    """Those of the processes that are still there (not zombies) when patience is at its end."""
    _, alive = await asyncio.to_thread(psutil.wait_procs, family, GONE_TIMEOUT_S)
    left = []
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                left.append(process)
    return left


def _work_dirs() -> set[Path]:
    return set(Path("/tmp").glob("dispatcher-demo-*"))


@pytest.fixture(autouse=True)
def looking_may_hold_the_loop(loopguard: LoopWatch) -> None:
    """This module looks at processes (/proc); the loops that matter are in them."""
    loopguard.may_hold = True


async def test_the_demo_agrees_with_itself_and_leaves_nothing() -> None:
    """Exit 0, a table in which nothing differs, and neither a process nor a file."""
    async with _started("demo", "--contacts", "300") as process:
        await _until(process, "Imported")
        family = _family(process.pid)
        (work_dir,) = {_work_dir_of(member) for member in family} - {None}
        assert process.stdout is not None
        async with asyncio.timeout(STEP_TIMEOUT_S):
            told = (await process.stdout.read()).decode()
            assert await process.wait() == 0, told
    assert "Everything agrees." in told
    assert re.search(r"^sent twice +0 +0 +-$", told, re.MULTILINE), told
    assert await _gone(family) == []
    assert work_dir not in _work_dirs()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_a_demo_that_is_ended_early_leaves_no_process(number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM tidy up, the folder too; after SIGKILL the kernel ends what is left of it."""
    async with _started("demo", "--contacts", "3000") as process:
        await _until(process, "A store with")
        family = _family(process.pid)
        work_dir = next(found for found in map(_work_dir_of, family) if found is not None)
        process.send_signal(number)
        async with asyncio.timeout(STEP_TIMEOUT_S):
            assert process.stdout is not None
            told = (await process.stdout.read()).decode()
            assert await process.wait() != 0
    assert await _gone(family) == []
    assert "Traceback" not in told
    if number is signal.SIGKILL:
        await asyncio.to_thread(shutil.rmtree, work_dir)
    assert work_dir not in _work_dirs()


async def test_a_command_starts_the_embedded_server_for_itself_or_uses_the_running_one() -> None:
    """Without a daemon it is started and stopped; beside one, the daemon's is used and left running."""
    with pg.temporary_state_dir() as folder:
        settings = {"DISPATCHER_STATE_DIR": str(folder / "state")}
        code, told = await _output("audit", "--json", **settings)
        assert (code, json.loads(told)["ok"]) == (0, True)
        assert embedded.running(folder / "state") is None
        server = embedded.EmbeddedPostgres(folder / "state", settings=pg.FAST)
        address = await server.start()
        try:
            arguments = ("tenant", "create", "--name", "Shop", "--email", "o@example.com", "--json")
            code, told = await _output(*arguments, **settings)
            assert (code, json.loads(told)["tenant_id"]) == (0, "ten_1")
            assert embedded.running(folder / "state") == address
        finally:
            await server.stop()


async def test_run_with_a_simulator_prints_an_address_and_a_login_that_work() -> None:
    """Until Ctrl-C, which ends all of it."""
    with pg.temporary_state_dir() as folder:
        settings = {"DISPATCHER_STATE_DIR": str(folder / "state"), "DISPATCHER_HTTP__PORT": "0"}
        async with _started("run", "--with-simulator", **settings) as process:
            told = await _until(process, "Ctrl-C stops it")
            address, key = re.findall(r"address +(\S+)", told)[0], re.findall(r"API key +(\S+)", told)[0]
            async with (
                aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session,
                session.get(f"{address}/api/v1/wallet") as answer,
            ):
                assert (answer.status, await answer.json()) == (200, {"available": 1_000_000, "held": 0})
            family = _family(process.pid)
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(STEP_TIMEOUT_S):
                assert process.stdout is not None
                await process.stdout.read()
                assert await process.wait() == 0
        assert await _gone(family) == []


async def test_a_second_start_gives_a_new_login_of_the_same_store(db: Database) -> None:
    """The store and what it has sent stay; its password and key are new, since nobody wrote the old ones down."""
    first, second = await development.login_of(db), await development.login_of(db)
    assert len({*first, *second}) == 4
    async with db.acquire() as conn:
        assert await conn.fetchval("SELECT count(*) FROM tenant") == 1
        stored = await conn.fetchval("SELECT password_hash FROM app_user")
        assert await conn.fetchval("SELECT count(*) FROM api_key") == 2
    assert passwords.is_password(stored, second[0])


async def test_a_simulator_takes_a_secret_that_begins_with_a_dash() -> None:
    """Random secrets do, one in thirty-two."""
    async with _started("simulate", "--port", "0", "--dlr-secret=-x", "--dlr-url=http://127.0.0.1:1/") as process:
        assert "listening" in await _until(process, "listening")
        process.terminate()
        async with asyncio.timeout(STEP_TIMEOUT_S):
            assert await process.wait() == 0


async def test_run_without_a_secret_ends_with_78() -> None:
    """One line that names the setting, and no server was started."""
    with pg.temporary_state_dir() as folder:
        code, told = await _output("run", DISPATCHER_STATE_DIR=str(folder / "state"))
        assert (code, told.count("\n"), "DISPATCHER_SECRET_KEY" in told) == (78, 1, True)
        assert not (folder / "state").exists()


def _work_dir_of(process: psutil.Process) -> Path | None:
    """The folder of the demo that a simulator process was given."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for part in process.cmdline():
            if part.endswith("/simulator.json"):
                return Path(part).parent
    return None
