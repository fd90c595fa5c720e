"""One HTTP request to a provider, and what is certain about it afterwards.

What it is for: to know, when a request fails, whether its body had been handed to the transport as a whole. While one
slice was missing the server cannot have acted on it (RFC 9112 section 6.3: a message shorter than its Content-Length is
incomplete and must not be processed), so such a failure is "not taken" whatever its cause: no address, no connection,
TLS, a reset, a time-out. After the last slice nothing is certain. What it is not: a judge of statuses or of bodies.

Redirects are not followed (a POST that is repeated elsewhere may be taken twice), proxies of the environment are not
used, cookies are not kept, an answer is not decompressed and is read up to a bound.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from dispatcher.domain.backoff import RETRY_AFTER_MAX_S, parse_retry_after

# Idle connections are closed by us before the other side would: a request on a connection that is being closed there
# is lost without a trace. Common servers close after 5 s or more.
_KEEPALIVE_S = 4.0
_SLICE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Response:
    """Status and headers came. `body` is what came of it within the bound; `whole`: all of it. `asked`: the request's
    body had been handed over as a whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool
    asked: bool


@dataclass(frozen=True, slots=True)
class Broken:
    """No status came. `asked` as in `Response`."""

    reason: str
    asked: bool


class SlicedBody(aiohttp.Payload):
    """A request body that is written slice by slice behind its Content-Length, and knows whether it was all handed over.

    The last slice waits until the transport has passed on those before it, so a connection that breaks under way is
    noticed before the request is complete.
    """

    def __init__(self, value: bytes, content_type: str) -> None:
        super().__init__(value, content_type=content_type)
        self._size = len(value)
        self._handed_over = False
        self._sealed = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text."""
        data: bytes = self._value
        return data.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write all of it."""
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:  # noqa: ARG002
        """Write all of it: `content_length`, aiohttp's, can only be its size."""
        data = memoryview(self._value)
        last = max(0, (len(data) - 1) // _SLICE_BYTES * _SLICE_BYTES)
        for at in range(0, last, _SLICE_BYTES):
            await writer.write(data[at : at + _SLICE_BYTES])
            await writer.drain()
        if self._sealed:
            msg = "the request was given up"
            raise ConnectionAbortedError(msg)
        # Before the write: an error that it raises must not pass for certainty, save the one that says it wrote nothing.
        self._handed_over = True
        try:
            await self._last(writer, data[last:])
        except aiohttp.ClientConnectionResetError:
            self._handed_over = False
            raise

    async def _last(self, writer: AbstractStreamWriter, data: memoryview) -> None:
        # Without draining, the only ClientConnectionResetError is that of a transport already closed, before any byte.
        if isinstance(writer, aiohttp.http.StreamWriter):
            await writer.write(data, drain=False)
        else:
            await writer.write(bytes(data))

    def seal(self) -> bool:
        """Whether it was all handed over; if not, it never will be."""
        self._sealed = True
        return self._handed_over


class Wire:
    """The connections to one provider account. `connections_max` at once; each request ends within `timeout_s`, of which
    getting a connection may take `connect_timeout_s`."""

    def __init__(
        self, headers: Mapping[str, str], *, timeout_s: float, connect_timeout_s: float, connections_max: int
    ) -> None:
        self._headers = {**headers, "Accept": "application/json", "Accept-Encoding": "identity"}
        self._timeout = aiohttp.ClientTimeout(
            total=timeout_s, connect=connect_timeout_s, sock_connect=connect_timeout_s, ceil_threshold=timeout_s + 1.0
        )
        self._connections_max = connections_max
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the session on the running loop; connects to nothing."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._connections_max, keepalive_timeout=_KEEPALIVE_S, ttl_dns_cache=30
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=self._headers,
                timeout=self._timeout,
                trust_env=False,
                auto_decompress=False,
            )

    async def close(self) -> None:
        """Close every connection; a request that still runs ends as `Broken`."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def post(self, url: URL, data: bytes, *, answer_bytes_max: int) -> Response | Broken:
        """POST a JSON body. Raises nothing that the network can cause."""
        body = SlicedBody(data, "application/json")
        return await self._request("POST", url, body, answer_bytes_max)

    async def get(self, url: URL, *, answer_bytes_max: int) -> Response | Broken:
        """GET a JSON answer. Raises nothing that the network can cause."""
        return await self._request("GET", url, None, answer_bytes_max)

    async def _request(self, method: str, url: URL, body: SlicedBody | None, bytes_max: int) -> Response | Broken:
        if self._session is None:
            msg = "the provider's connections are not open"
            raise RuntimeError(msg)
        try:
            async with self._session.request(method, url, data=body, allow_redirects=False) as answer:
                data, whole = await _read(answer, bytes_max)
                return Response(answer.status, answer.headers, data, whole, body is None or body.seal())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            asked = body is None or body.seal()
            return Broken(_reason(error, self._timeout), asked)


async def _read(answer: aiohttp.ClientResponse, bytes_max: int) -> tuple[bytes, bool]:
    """What comes of the body up to the bound, and whether that is all. A failure here does not unsay the status."""
    parts: list[bytes] = []
    size = 0
    try:
        async for part in answer.content.iter_any():
            parts.append(part)
            size += len(part)
            if size > bytes_max:
                answer.close()
                return b"".join(parts)[:bytes_max], False
    except (aiohttp.ClientError, TimeoutError, OSError):
        # The caller judges a part by its status: of a 2xx it makes the outcome unknown.
        return b"".join(parts), False
    return b"".join(parts), True


def _reason(error: BaseException, timeout: aiohttp.ClientTimeout) -> str:
    match error:
        case aiohttp.ConnectionTimeoutError():
            return f"no connection within {timeout.connect:g} s"
        case TimeoutError():
            return f"no answer within {timeout.total:g} s"
        case aiohttp.ServerDisconnectedError():
            return "the connection was closed without an answer"
        case _:
            return f"{type(error).__name__}: {error}"[:300]


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """What Retry-After asks for, in seconds (0..3600); None when absent or senseless.

    A date is counted from the answer's own Date header, so that a difference between the clocks does not matter.
    """
    value = headers.get("Retry-After", "")
    try:
        now = parsedate_to_datetime(headers.get("Date", "")).astimezone(UTC)
    except (ValueError, OverflowError):
        # Without a Date a number of seconds still has a meaning, and a date has none.
        if not value.strip().isdecimal():
            return None
        now = datetime.min.replace(tzinfo=UTC)
    wait_s = parse_retry_after(value, now)
    return None if wait_s is None else min(wait_s, RETRY_AFTER_MAX_S)
