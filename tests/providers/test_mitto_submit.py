"""What each thing that a provider can do to a request means to us, over a real connection to a real process."""

import asyncio
import socket
from typing import Any

import pytest

from dispatcher.providers.base import NotTaken, Refused, Taken, Unknown
from tests.providers.conftest import OpenMitto
from tests.providers.sim import RunningSimulator

PHONES = [306900000001, 306900000002, 306900000003]
# More than the buffers of two sockets hold.
BIG = (list(range(306900000000, 306900001000)), ["x" * 10_000] * 1000)
BIG_BYTES_MIN = 10_000 * 1000
TEXTS = ["Καλημέρα\n10 < 20 & 30", "two", "three"]


def script(kind: str, **more: Any) -> dict[str, Any]:
    return {"script": [{"kind": kind, **more}]}


async def test_several_messages_are_taken_in_one_request_to_the_letter(sim: RunningSimulator, mitto: OpenMitto) -> None:
    """Line breaks, &, <, > and Greek arrive as they were; the ids are in the order of the messages."""
    answer = await (await mitto(sim.base_url)).submit("Store", PHONES, TEXTS)
    received = await sim.received()
    assert isinstance(answer, Taken)
    assert answer.reasons == {}
    assert [(m["id"], m["destination"], m["text"], m["sender"]) for m in received] == [
        (id_, f"+{phone}", text, "Store") for id_, phone, text in zip(answer.ids, PHONES, TEXTS, strict=True)
    ]
    assert {m["request"] for m in received} == {1}


@pytest.mark.parametrize("flat", [False, True])
async def test_one_message_is_taken_whether_its_answer_is_flat_or_a_list(
    sim: RunningSimulator, mitto: OpenMitto, flat: bool
) -> None:
    """Mitto's documents show both shapes of the single endpoint's answer."""
    await sim.set_profile({"flat_single": flat})
    answer = await (await mitto(sim.base_url)).submit("Store", PHONES[:1], ["one"])
    assert answer == Taken([(await sim.received())[0]["id"]], {})


async def test_an_entry_with_an_error_is_refused_and_the_others_keep_their_places(
    sim: RunningSimulator, mitto: OpenMitto
) -> None:
    """D5: an error in the middle shifts nobody's id."""
    await sim.set_profile(script("errors", entries=[1], message="Blacklisted"))
    answer = await (await mitto(sim.base_url)).submit("Store", PHONES, TEXTS)
    first, third = await sim.received()
    assert answer == Taken([first["id"], None, third["id"]], {1: "Blacklisted"})
    assert [first["destination"], third["destination"]] == ["+306900000001", "+306900000003"]


# What was asked once, and must never be asked again by itself: the provider took it, or may have.
@pytest.mark.parametrize(
    ("fault", "taken", "named", "why"),
    [
        ({"kind": "omit", "entries": [0]}, 3, 2, "asked for 3 messages, answered for 2"),
        ({"kind": "extra"}, 3, 4, "asked for 3 messages, answered for 4"),
        ({"kind": "duplicate_ids", "entries": [2]}, 3, 2, "one id to two messages"),
        ({"kind": "empty_ids", "entries": [1]}, 3, 2, "entry 1 of the answer has neither an id nor an error"),
        ({"kind": "garbage"}, 3, 0, "not JSON"),
        ({"kind": "take_then_reset"}, 3, 0, "ClientOSError"),
        ({"kind": "take_then_cut"}, 3, 0, "the answer was not whole"),
        ({"kind": "take_then_timeout"}, 3, 0, "no answer within 0.3 s"),
        ({"kind": "take_then_status", "status": 500}, 3, 0, "HTTP 500: simulated"),
        ({"kind": "take_then_status", "status": 502}, 3, 0, "HTTP 502: simulated"),
        ({"kind": "take_then_status", "status": 504}, 3, 0, "HTTP 504: simulated"),
        ({"kind": "take_then_status", "status": 408}, 3, 0, "HTTP 408: simulated"),
        ({"kind": "take_then_status", "status": 200}, 3, 0, "asked for 3 messages, answered for 1"),
        (
            {"kind": "take_then_status", "message": "upstream connect error or disconnect/reset before headers"},
            3,
            0,
            "HTTP 503: upstream",
        ),
        # Nothing was taken by these, but from here it looks like those above.
        ({"kind": "reset_after_body"}, 0, 0, "ClientOSError"),
        ({"kind": "timeout"}, 0, 0, "no answer within 0.3 s"),
    ],
)
async def test_an_answer_that_proves_nothing_is_unknown(
    sim: RunningSimulator, mitto: OpenMitto, fault: dict[str, Any], taken: int, named: int, why: str
) -> None:
    """D4, D5: whole request sent, no certain answer. The ids that the answer names are told, for look-up."""
    await sim.set_profile({"script": [fault]})
    answer = await (await mitto(sim.base_url, timeout_s=0.3)).submit("Store", PHONES, TEXTS)
    assert isinstance(answer, Unknown)
    assert why in answer.reason
    assert (len(await sim.received()), len(answer.ids)) == (taken, named)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"status": 429, "retry_after": "7"}, NotTaken("throttled", "HTTP 429: simulated", 7.0)),
        ({"status": 503, "retry_after": "2"}, NotTaken("unavailable", "HTTP 503: simulated", 2.0)),
        ({"status": 503}, NotTaken("unavailable", "HTTP 503: simulated", None)),
        ({"status": 501}, NotTaken("unavailable", "HTTP 501: simulated", None)),
        ({"status": 413}, NotTaken("too_large", "HTTP 413: simulated", None)),
        ({"status": 401}, NotTaken("unauthorized", "HTTP 401: simulated", None)),
        ({"status": 403}, NotTaken("unauthorized", "HTTP 403: simulated", None)),
        ({"status": 404}, NotTaken("unavailable", "HTTP 404: simulated", None)),
        ({"status": 402}, NotTaken("unavailable", "HTTP 402: simulated", None)),
        ({"status": 307}, NotTaken("unavailable", "HTTP 307: simulated", None)),
        ({"status": 400}, Refused("HTTP 400: simulated")),
        ({"status": 422, "message": "Bad sender"}, Refused("HTTP 422: Bad sender")),
        (
            {"status": 503, "message": "upstream connect error or disconnect/reset before headers. connection failure"},
            NotTaken(
                "unavailable", "HTTP 503: upstream connect error or disconnect/reset before headers. connection failure"
            ),
        ),
    ],
)
async def test_a_status_before_anything_was_taken_has_its_outcome(
    sim: RunningSimulator, mitto: OpenMitto, fault: dict[str, Any], expected: NotTaken | Refused
) -> None:
    """D3: an outage or a throttle is to be tried again; it rejects nobody's message."""
    await sim.set_profile(script("status", **fault))
    answer = await (await mitto(sim.base_url)).submit("Store", PHONES, TEXTS)
    assert answer == expected
    assert await sim.received() == []


async def test_which_statuses_took_nothing_is_the_operators_to_say(sim: RunningSimulator, mitto: OpenMitto) -> None:
    """A provider that answers 500 before taking anything, and 503 after a loss, is told so in the settings."""
    await sim.set_profile({"script": [{"kind": "status", "status": 500}, {"kind": "status", "status": 503}]})
    provider = await mitto(sim.base_url, not_taken_statuses=frozenset({429, 500}))
    answers = [await provider.submit("Store", PHONES, TEXTS) for _ in range(2)]
    assert answers == [NotTaken("unavailable", "HTTP 500: simulated"), Unknown("HTTP 503: simulated")]


async def test_a_wrong_key_is_our_fault_and_rejects_no_message(sim: RunningSimulator, mitto: OpenMitto) -> None:
    """401 by a provider that checks the key."""
    await sim.set_profile({"api_key": "another"})
    answer = await (await mitto(sim.base_url)).submit("Store", PHONES, TEXTS)
    assert isinstance(answer, NotTaken)
    assert answer.kind == "unauthorized"


async def test_a_batch_that_is_too_large_is_told_apart_from_an_outage(sim: RunningSimulator, mitto: OpenMitto) -> None:
    """413 above two messages: the whole is not taken, its half is."""
    await sim.set_profile({"batch_max": 2})
    provider = await mitto(sim.base_url)
    whole = await provider.submit("Store", PHONES, TEXTS)
    half = await provider.submit("Store", PHONES[:2], TEXTS[:2])
    assert isinstance(whole, NotTaken)
    assert whole.kind == "too_large"
    assert isinstance(half, Taken)


async def test_a_refused_connection_took_nothing(mitto: OpenMitto) -> None:
    """Nobody listens: certainly not taken."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        answer = await (await mitto(f"http://127.0.0.1:{port}")).submit("Store", PHONES, TEXTS)
    assert isinstance(answer, NotTaken)
    assert answer.kind == "unavailable"


async def test_a_name_that_is_none_took_nothing(mitto: OpenMitto) -> None:
    """No address (RFC 6761: .invalid never has one): certainly not taken."""
    answer = await (await mitto("http://provider.invalid")).submit("Store", PHONES, TEXTS)
    assert isinstance(answer, NotTaken)
    assert answer.kind == "unavailable"


async def test_a_server_that_speaks_no_tls_took_nothing(sim: RunningSimulator, mitto: OpenMitto) -> None:
    """The handshake failed, so no byte of the request has left."""
    answer = await (await mitto(sim.base_url.replace("http:", "https:"))).submit("Store", PHONES, TEXTS)
    assert isinstance(answer, NotTaken)
    assert answer.kind == "unavailable"
    assert (await sim.stats())["requests"] == 0


async def test_a_connection_that_breaks_in_the_middle_of_the_body_took_nothing(
    sim: RunningSimulator, mitto: OpenMitto
) -> None:
    """Reset while most of 10 MB is still here: half a request cannot be acted on, so it may be sent again."""
    await sim.set_profile(script("reset_before_body"))
    provider = await mitto(sim.base_url)
    answer = await provider.submit("Store", *BIG)
    assert isinstance(answer, NotTaken)
    assert answer.kind == "unavailable"
    assert await sim.received() == []


async def test_a_server_that_stops_reading_in_the_middle_of_the_body_took_nothing(mitto: OpenMitto) -> None:
    """The time runs out while the body is incomplete: certainly not taken, and what is here is not sent later."""
    received = bytearray()
    gone = asyncio.Event()

    async def read_little(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Reads on after the other side has given up: nothing may make the request whole.
        received.extend(await reader.read(1000))
        await gone.wait()
        while data := await reader.read(1 << 20):
            received.extend(data)
        writer.close()
        finished.set()

    finished = asyncio.Event()
    server = await asyncio.start_server(read_little, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        provider = await mitto(f"http://127.0.0.1:{port}", timeout_s=0.3)
        answer = await provider.submit("Store", *BIG)
        gone.set()
        await asyncio.wait_for(finished.wait(), 10)
    assert answer == NotTaken("unavailable", "no answer within 0.3 s")
    assert len(received) < BIG_BYTES_MIN


async def test_an_answer_larger_than_any_true_one_is_not_read(mitto: OpenMitto) -> None:
    """A 2xx that never ends makes the outcome unknown, and fills no memory."""

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n")
        try:
            while True:
                writer.write(b" " * 65536)
                await writer.drain()
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        answer = await (await mitto(f"http://127.0.0.1:{port}")).submit("Store", PHONES, TEXTS)
    assert answer == Unknown("HTTP 200, and the answer was not whole")


async def test_requests_in_flight_share_nothing(sim: RunningSimulator, mitto: OpenMitto) -> None:
    """Four requests at once, one of them refused: each gets its own answer."""
    await sim.set_profile(
        {"latency_ms": 20, "script": [{"kind": "none", "times": 2}, {"kind": "status", "status": 429}]}
    )
    provider = await mitto(sim.base_url)
    answers = await asyncio.gather(*(provider.submit("Store", PHONES, [f"{i}"] * 3) for i in range(4)))
    texts = {m["id"]: m["text"] for m in await sim.received()}
    assert sorted(type(answer).__name__ for answer in answers) == ["NotTaken", "Taken", "Taken", "Taken"]
    for i, answer in enumerate(answers):
        if isinstance(answer, Taken):
            assert [texts[str(id_)] for id_ in answer.ids] == [f"{i}"] * 3


async def test_a_call_that_makes_no_sense_is_a_bug(sim: RunningSimulator, mitto: OpenMitto) -> None:
    """Lists of different lengths, or none at all, are loud."""
    provider = await mitto(sim.base_url)
    with pytest.raises(ValueError, match="make no request"):
        await provider.submit("Store", PHONES, TEXTS[:2])
    with pytest.raises(ValueError, match="make no request"):
        await provider.submit("Store", [], [])
