"""The provider simulator as a process of its own, for tests. It is ended whatever happens in the test."""

import asyncio
import json
import select
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

_START_TIMEOUT_S = 15.0
_STOP_TIMEOUT_S = 5.0


class RunningSimulator:
    """A simulator that listens at `base_url`."""

    def __init__(self, base_url: str, session: aiohttp.ClientSession, pid: int) -> None:
        self.base_url = base_url
        self.pid = pid
        self._session = session

    async def received(self, offset: int = 0, limit: int | None = None) -> list[dict[str, Any]]:
        """The messages it took, in order: id, destination, text, sender, at, request."""
        params = {"offset": str(offset)} | ({"limit": str(limit)} if limit is not None else {})
        async with self._session.get(f"{self.base_url}/_sim/received", params=params) as answer:
            assert answer.status == 200
            read = await answer.json()
        messages: list[dict[str, Any]] = read
        return messages

    async def stats(self) -> dict[str, Any]:
        """Its numbers."""
        async with self._session.get(f"{self.base_url}/_sim/stats") as answer:
            assert answer.status == 200
            read = await answer.json()
        numbers: dict[str, Any] = read
        return numbers

    async def set_profile(self, profile: Mapping[str, Any]) -> None:
        """Replace the whole profile; AssertionError with the reason when it is refused."""
        async with self._session.post(f"{self.base_url}/_sim/profile", json=dict(profile)) as answer:
            assert answer.status == 200, await answer.text()

    async def reset(self, **change: Any) -> None:
        """Forget everything it took; `profile`, `dlr_url`, `dlr_secret` and `seed` stay if they are not given."""
        async with self._session.post(f"{self.base_url}/_sim/reset", json=change) as answer:
            assert answer.status == 200, await answer.text()

    async def reports_done(self, timeout_s: float = 20.0) -> dict[str, Any]:
        """Its numbers once no report is pending. TimeoutError when that does not come."""
        async with asyncio.timeout(timeout_s):
            while (stats := await self.stats())["reports"]["pending"]:
                await asyncio.sleep(0.02)
        return stats


class SharedSimulator:
    """A simulator's process that several tests use, one after the other."""

    def __init__(self, base_url: str, pid: int) -> None:
        self.base_url = base_url
        self.pid = pid

    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[RunningSimulator]:
        """It, with the default profile and nothing taken."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            simulator = RunningSimulator(self.base_url, session, self.pid)
            await simulator.reset(profile={}, dlr_url=None, dlr_secret="", seed=1)
            yield simulator


@contextmanager
def shared_simulator(
    profile: Mapping[str, Any] | None = None,
    dlr_url: str | None = None,
    secret: str = "",
    *,
    seed: int = 1,
    port: int = 0,
) -> Iterator[SharedSimulator]:
    """Start one, wait until it listens, and end it after the block. Blocks: for fixtures of a module or a session."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["--port", str(port), "--seed", str(seed)]
        if profile is not None:
            path = Path(folder, "profile.json")
            path.write_text(json.dumps(dict(profile)))
            arguments += ["--profile", str(path)]
        if dlr_url is not None:
            arguments += ["--dlr-url", dlr_url, "--dlr-secret", secret]
        process = subprocess.Popen(
            [sys.executable, "-m", "dispatcher.providers.simulator", *arguments], stdout=subprocess.PIPE
        )
        with process:
            try:
                yield SharedSimulator(_listening(process), process.pid)
            finally:
                _end(process)


@asynccontextmanager
async def running_simulator(
    profile: Mapping[str, Any] | None = None,
    dlr_url: str | None = None,
    secret: str = "",
    *,
    seed: int = 1,
    port: int = 0,
) -> AsyncIterator[RunningSimulator]:
    """A process of one's own for a block: started, waited for until it listens, and ended."""
    process = shared_simulator(profile, dlr_url, secret, seed=seed, port=port)
    shared = await asyncio.to_thread(process.__enter__)
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            yield RunningSimulator(shared.base_url, session, shared.pid)
    finally:
        await asyncio.to_thread(process.__exit__, None, None, None)


def _listening(process: "subprocess.Popen[bytes]") -> str:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], _START_TIMEOUT_S)
    line = process.stdout.readline() if readable else b""
    assert line, f"the simulator did not listen within {_START_TIMEOUT_S} s"
    return str(json.loads(line)["listening"])


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
