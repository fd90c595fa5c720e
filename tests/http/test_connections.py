"""Clients that are slow are cut off, each part of a request by its own deadline, and there are never too many of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from dispatcher.config.settings import Http
from dispatcher.http.patience import Patience
from dispatcher.storage.pool import Database
from tests.http.stand import Notes, Stand, settings, stand

SHORT = Patience(header_s=0.2, body_s=0.2, linger_s=0.1, idle_s=30.0)
DEADLINE_S = 5.0
HALF_HEADER = b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Rest: "
WHOLE = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"

Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def wire(api: Stand) -> AsyncIterator[Wire]:
    """A connection without a client's help."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.server.bound_port)
    try:
        yield reader, writer
    finally:
        writer.close()


@pytest.fixture
async def hasty(db: Database, tmp_path: Path) -> AsyncIterator[Stand]:
    """The interface, with little patience."""
    async with stand(db, tmp_path, patience=SHORT) as running:
        yield running


def cut(api: Stand, why: str) -> float | None:
    """How many were cut off."""
    return api.services.metrics.registry.get_sample_value("dispatcher_http_cut_total", {"why": why})


async def rest(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server ends the connection."""
    async with asyncio.timeout(DEADLINE_S):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


async def answered(reader: asyncio.StreamReader) -> int:
    """The status of an answer, read with its body."""
    async with asyncio.timeout(DEADLINE_S):
        head = await reader.readuntil(b"\r\n\r\n")
        (length,) = (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        await reader.readexactly(length)
    return int(head.split()[1])


@pytest.mark.parametrize("sent", [b"", b"G", HALF_HEADER])
async def test_headers_that_do_not_end_end_the_connection(hasty: Stand, sent: bytes) -> None:
    """Nothing, a byte or half of them: closed, without an answer to what is no request yet."""
    async with wire(hasty) as (reader, writer):
        writer.write(sent)
        assert (b"", 1.0) == (await rest(reader), cut(hasty, "header"))
    assert 0.0 == hasty.services.metrics.registry.get_sample_value("dispatcher_http_connections")


async def test_headers_that_drip_do_not_put_off_their_deadline(hasty: Stand) -> None:
    """It counts from their first byte."""
    async with wire(hasty) as (reader, writer):

        async def drip() -> None:
            while True:
                writer.write(b"X")
                await asyncio.sleep(SHORT.header_s / 4)

        writer.write(HALF_HEADER)
        dripping = asyncio.create_task(drip())
        assert (b"", 1.0) == (await rest(reader), cut(hasty, "header"))
        dripping.cancel()


async def test_a_second_requests_headers_have_their_deadline_too(hasty: Stand) -> None:
    """A good request first does not buy more time."""
    async with wire(hasty) as (reader, writer):
        writer.write(WHOLE)
        assert 200 == await answered(reader)
        writer.write(HALF_HEADER)
        assert (b"", 1.0) == (await rest(reader), cut(hasty, "header"))


async def test_an_idle_connection_is_kept_for_its_own_time(db: Database, tmp_path: Path) -> None:
    """The headers' deadline is no deadline for the next request; the idle time is."""
    patience = replace(SHORT, header_s=0.1, idle_s=0.5)
    async with stand(db, tmp_path, patience=patience) as api, wire(api) as (reader, writer):
        writer.write(WHOLE)
        assert 200 == await answered(reader)
        began_s = asyncio.get_running_loop().time()
        assert b"" == await rest(reader)
        assert asyncio.get_running_loop().time() - began_s > patience.idle_s * 0.9
        assert 0.0 == cut(api, "header")


async def test_a_request_that_is_being_answered_has_all_the_time_it_needs(hasty: Stand) -> None:
    """A connection that came later is cut meanwhile; the answer comes all the same."""
    release, asked = asyncio.Event(), asyncio.Event()

    class Slow(Notes):
        async def on_receive(self, message: object) -> object:
            asked.set()
            await release.wait()
            return self.reply(message)

    slow = Slow(hasty.sender.reply)
    address = hasty.services.senders["mitto"]
    address.unbind()
    address.bind(slow.launch(name="slow"))
    request = asyncio.create_task(hasty.call("POST", "messages", json={"phone": "6900000001", "text": "x"}))
    await asyncio.wait_for(asked.wait(), DEADLINE_S)
    async with wire(hasty) as (reader, writer):
        writer.write(HALF_HEADER)
        assert b"" == await rest(reader)
    release.set()
    assert 201 == (await request).status
    await slow.actor_ref.stop(block=False)


@pytest.mark.parametrize(
    ("path", "kind", "sent"),
    [
        ("/api/v1/contacts", "application/json", b'{"phone": '),
        ("/webhooks/mitto/dlr", "application/json", b"[{"),
        (
            "/api/v1/contacts/imports",
            "multipart/form-data; boundary=b",
            b"--b\r\nContent-Disposition: form-data; name=",
        ),
        (
            "/api/v1/contacts/imports",
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nphone\n69',
        ),
    ],
)
async def test_a_body_that_does_not_end_is_answered_408_and_the_connection_ends(
    hasty: Stand, path: str, kind: str, sent: bytes
) -> None:
    """RFC 9110 section 15.5.9; of an upload nothing stays on the disk."""
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {hasty.key}\r\n"
    async with wire(hasty) as (reader, writer):
        writer.write(f"{head}Content-Type: {kind}\r\nContent-Length: 1000\r\n\r\n".encode() + sent)
        answer = await rest(reader)
    assert (b"HTTP/1.1 408", True, 1.0) == (answer[:12], b"Connection: close" in answer, cut(hasty, "body"))
    assert [] == list(hasty.services.spool.path("x").parent.glob("*.csv"))


async def test_an_upload_may_take_longer_as_long_as_it_goes_on(db: Database, tmp_path: Path) -> None:
    """Three times a body's time, at twice the least rate."""
    patience = replace(SHORT, upload_bytes_per_s_min=10_000)
    parts, every_s = 12, SHORT.body_s / 4
    rows = b"6900000001\n" * int(patience.upload_bytes_per_s_min * 2 * every_s / 11)
    begin = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nphone\n'
    end = b"\r\n--b--\r\n"
    async with stand(db, tmp_path, patience=patience) as api, wire(api) as (reader, writer):
        length = len(begin) + parts * len(rows) + len(end)
        head = f"POST /api/v1/contacts/imports HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {api.key}\r\n"
        head += f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {length}\r\n\r\n"
        writer.write(head.encode() + begin)
        for _ in range(parts):
            writer.write(rows)
            await asyncio.sleep(every_s)  # the client's own slowness
        writer.write(end)
        assert (202, 0.0) == (await answered(reader), cut(api, "body"))


async def test_connections_beyond_the_bound_are_closed_at_once_and_counted(db: Database, tmp_path: Path) -> None:
    """Those that are there are served; one that leaves makes room."""
    config = msgspec.structs.replace(settings(), http=Http(port=0, connections_max=2))
    async with stand(db, tmp_path, config=config) as api:
        async with wire(api) as (first, say_first), wire(api) as (second, say_second):
            for reader, writer in ((first, say_first), (second, say_second)):
                writer.write(WHOLE)
                assert 200 == await answered(reader)
            async with wire(api) as (third, _):
                assert (b"", 1.0) == (await rest(third), cut(api, "full"))
            say_first.write(WHOLE)
            assert 200 == await answered(first)
        async with asyncio.timeout(DEADLINE_S):
            while api.services.metrics.registry.get_sample_value("dispatcher_http_connections") != 0.0:
                await asyncio.sleep(0)
        async with wire(api) as (reader, writer):
            writer.write(WHOLE)
            assert 200 == await answered(reader)
