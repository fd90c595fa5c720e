"""The express lane of delivery reports: the same answers as everywhere, in order, whatever way the bytes come."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Sequence
from urllib.parse import urlsplit

import pytest

from dispatcher.actors.messages import ReportsReceived
from dispatcher.storage.errors import DatabaseAway
from tests.http.stand import SECRET, Stand

REPORT = {"messageId": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "deliveryStatus": "Delivered"}


def request(*more: str, body: bytes | None = None, secret: str = SECRET, length: int | None = None) -> bytes:
    """A plain request, with `more` header lines."""
    content = json.dumps(REPORT).encode() if body is None else body
    signature = hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()
    lines = ["POST /webhooks/mitto/dlr HTTP/1.1", "Host: x", f"X-Webhook-Signature: {signature}", *more]
    size = len(content) if length is None else length
    return "\r\n".join([*lines, f"Content-Length: {size}", "", ""]).encode() + content


async def answers(api: Stand, pieces: Sequence[bytes], count: int) -> list[int]:
    """The statuses of the first `count` answers on one connection that these bytes are written to, piece by piece."""
    port = urlsplit(str(api.url)).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    statuses: list[int] = []
    try:
        async with asyncio.timeout(10):
            await _converse(reader, writer, pieces, count, statuses)
    finally:
        writer.close()
        await writer.wait_closed()
    return statuses


async def _converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pieces: Sequence[bytes], count: int, statuses: list[int]
) -> None:
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    for _ in range(count):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        statuses.append(int(head.split()[1]))
        assert "X-Content-Type-Options: nosniff" in head or statuses[-1] == 400  # aiohttp's own, of what is no HTTP
        length = next(line for line in head.split("\r\n") if line.lower().startswith("content-length"))
        await reader.readexactly(int(length.split(":")[1]))


def bodies(api: Stand) -> list[bytes]:
    """What reached the reconciler."""
    return [body for message in api.reconciler.told if isinstance(message, ReportsReceived) for body in message.bodies]


async def test_requests_one_after_the_other_in_any_pieces(api: Stand) -> None:
    """Whole, cut anywhere, or many at once: each is answered, in its turn."""
    plain = request()
    cuts = [plain[:1], plain[1:40], plain[40:-3], plain[-3:]]
    assert await answers(api, [plain, *cuts], 2) == [200, 200]
    assert await answers(api, [plain * 5], 5) == [200] * 5
    assert bodies(api) == [json.dumps(REPORT).encode()] * 7
    metrics = (await api.call("GET", "/metrics", key="")).body.decode()
    assert 'dispatcher_webhook_requests_total{source="mitto",status="200"} 7.0' in metrics


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (request(secret="other"), 401),
        (request(body=b"{}"), 400),
        (request(body=b"[]"), 200),
        (request("Content-Length: 3"), 400),
        (request("Transfer-Encoding: chunked"), 400),
        (request("Bad Header: x"), 400),
        (request(length=2_000_000), 413),
    ],
)
async def test_what_is_not_plain_is_answered_as_ever_and_never_overtaken(api: Stand, bad: bytes, status: int) -> None:
    """After a plain one on the same connection, too."""
    assert await answers(api, [bad], 1) == [status]
    assert await answers(api, [request(), bad], 2) == [200, status]
    assert await answers(api, [request() + bad], 2) == [200, status]


async def test_other_requests_and_reports_share_a_connection_in_order(api: Stand) -> None:
    """Once the framework has a connection it keeps it, reports included."""
    health = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    missing = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
    assert await answers(api, [request() + health + request() + missing + request()], 5) == [200, 200, 200, 404, 200]
    assert len(bodies(api)) == 3


async def test_a_report_that_could_not_be_made_durable_is_503_with_the_rest_in_order(api: Stand) -> None:
    """The provider comes again; what it sent behind it is answered, too."""
    api.reconciler.reply = lambda _: DatabaseAway("gone")
    assert await answers(api, [request() * 2], 2) == [503, 503]
