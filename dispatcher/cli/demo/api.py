"""A store's client of the HTTP API, as far as the demo needs one. Every answer that is not a success ends the demo."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import click
import msgspec

_TIMEOUT_S = 60.0
_READ_BYTES = 1 << 20


class Refused(click.ClickException):
    """The API (or the simulator) answered with an error."""


class Api:
    """`base_url` and the headers of one caller."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        self._session = session
        self.base_url = base_url

    async def get(self, path: str, **params: str) -> Any:
        """The JSON of a GET."""
        return await self._ask("GET", path, params=params)

    async def post(self, path: str, body: object = None) -> Any:
        """The JSON of a POST with a JSON body, or none."""
        return await self._ask("POST", path, json=body) if body is not None else await self._ask("POST", path)

    async def upload(self, path: str, name: str, content: bytes) -> Any:
        """The JSON of a POST of a file, as a browser sends it."""
        form = aiohttp.FormData()
        form.add_field("file", content, filename=name, content_type="text/csv")
        return await self._ask("POST", path, data=form)

    async def lines(self, path: str, **params: str) -> AsyncIterator[bytes]:
        """The lines of a long answer, one by one."""
        async with self._session.get(self.base_url + path, params=params, read_bufsize=_READ_BYTES) as answer:
            await _check(answer)
            async for line in answer.content:
                yield line

    async def status(self, path: str) -> int | None:
        """The status of a GET; None while nobody answers."""
        try:
            async with self._session.get(self.base_url + path) as answer:
                return answer.status
        except (aiohttp.ClientConnectionError, TimeoutError):
            return None

    async def _ask(self, method: str, path: str, **how: Any) -> Any:
        async with self._session.request(method, self.base_url + path, **how) as answer:
            await _check(answer)
            content = await answer.read()
            return msgspec.json.decode(content) if content else None


async def _check(answer: aiohttp.ClientResponse) -> None:
    if answer.status >= 300:
        text = (await answer.text())[:500]
        raise Refused(f"{answer.method} {answer.url.path}: {answer.status} {text}")


@asynccontextmanager
async def client(base_url: str, api_key: str | None = None) -> AsyncIterator[Api]:
    """A client of `base_url`; requests carry `api_key` when it is given."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key is not None else {}
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout, trust_env=False) as session:
        yield Api(session, base_url)
