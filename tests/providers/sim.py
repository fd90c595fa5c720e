"""The provider simulator as a process of its own, for tests. It is ended whatever happens in the test."""

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
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
            return await answer.json()

    async def stats(self) -> dict[str, Any]:
        """Its numbers."""
        async with self._session.get(f"{self.base_url}/_sim/stats") as answer:
            assert answer.status == 200
            return await answer.json()

    async def set_profile(self, profile: Mapping[str, Any]) -> None:
        """Replace the whole profile; AssertionError with the reason when it is refused."""
        async with self._session.post(f"{self.base_url}/_sim/profile", json=dict(profile)) as answer:
            assert answer.status == 200, await answer.text()

    async def reset(self) -> None:
        """Forget everything it took."""
        async with self._session.post(f"{self.base_url}/_sim/reset") as answer:
            assert answer.status == 200

    async def reports_done(self, timeout_s: float = 20.0) -> dict[str, Any]:
        """Its numbers once no report is pending. TimeoutError when that does not come."""
        async with asyncio.timeout(timeout_s):
            while (stats := await self.stats())["reports"]["pending"]:
                await asyncio.sleep(0.02)
        return stats


@asynccontextmanager
async def running_simulator(
    profile: Mapping[str, Any] | None = None,
    dlr_url: str | None = None,
    secret: str = "",
    *,
    seed: int = 1,
    port: int = 0,
) -> AsyncIterator[RunningSimulator]:
    """Start one, wait until it listens, and end it after the block."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["--port", str(port), "--seed", str(seed)]
        if profile is not None:
            path = Path(folder, "profile.json")
            path.write_text(json.dumps(dict(profile)))
            arguments += ["--profile", str(path)]
        if dlr_url is not None:
            arguments += ["--dlr-url", dlr_url, "--dlr-secret", secret]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "dispatcher.providers.simulator", *arguments, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            line = await asyncio.wait_for(process.stdout.readline(), _START_TIMEOUT_S)
            assert line, "the simulator ended before it listened"
            base_url = json.loads(line)["listening"]
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
                yield RunningSimulator(base_url, session, process.pid)
        finally:
            await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
