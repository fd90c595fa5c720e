"""Errors are problems, answers have their headers, and the server starts and stops as a whole."""

import asyncio
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from dispatcher.http.answers import SECURITY_HEADERS
from dispatcher.http.server import AskPort
from dispatcher.observability.health import Readiness
from dispatcher.storage.pool import Database
from tests.http.stand import Notes, Stand, stand

WRONG = [
    ("GET", "/api/v1/nothing", 404, "not_found"),
    ("GET", "/api/v2/contacts", 404, "not_found"),
    ("PUT", "/api/v1/contacts", 405, "method_not_allowed"),
    ("GET", "/api/v1/contacts/not-an-id", 404, "not_found"),
    ("GET", "/api/v1/contacts?limit=0", 422, "validation_failed"),
    ("GET", "/api/v1/contacts?limit=abc", 422, "validation_failed"),
    ("GET", "/api/v1/contacts?limit=201", 422, "validation_failed"),
    ("GET", "/api/v1/contacts?cursor=%00", 422, "validation_failed"),
    ("GET", "/api/v1/contacts?cursor=AAAA", 422, "validation_failed"),
    ("GET", "/api/v1/contacts?page=2", 422, "validation_failed"),
    ("GET", "/api/v1/campaigns?status=bogus", 422, "validation_failed"),
]


async def test_what_is_wrong_with_a_request_is_a_problem(api: Stand) -> None:
    """RFC 9457: content type, type, code, title, status and detail; never a 500 for a bad value."""
    for method, path, status, code in WRONG:
        answer = await api.call(method, path)
        assert (status, code) == (answer.status, answer.json["code"]), path
        assert "application/problem+json" == answer.headers["Content-Type"].split(";")[0]
        assert f"urn:dispatcher:problem:{code}" == answer.json["type"]
        assert {"title", "status", "detail"} <= set(answer.json)


async def test_the_methods_that_a_path_takes_are_told(api: Stand) -> None:
    """405 has Allow (RFC 9110 section 15.5.6)."""
    assert {"GET", "HEAD", "POST"} == set((await api.call("PUT", "contacts")).headers["Allow"].split(","))


async def test_every_answer_carries_the_security_headers(api: Stand) -> None:
    """Pages may have a policy of their own; no answer is without one."""
    for path in ("/healthz", "/api/v1/contacts", "/api/v1/nothing", "/u/AAAAAAAAAAA", "/metrics"):
        headers = (await api.call("GET", path)).headers
        assert set(SECURITY_HEADERS) <= set(headers)
        assert "nosniff" == headers["X-Content-Type-Options"]
        assert "DENY" == headers["X-Frame-Options"]
        assert ["dispatcher"] == headers.getall("Server")


@pytest.mark.parametrize(
    ("kwargs", "status", "code"),
    [
        ({"data": b"{}", "headers": {"Content-Type": "text/plain"}}, 415, "unsupported_media_type"),
        ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400, "malformed_json"),
        ({"data": b"[]", "headers": {"Content-Type": "application/json"}}, 400, "malformed_json"),
        ({"data": b"\xff", "headers": {"Content-Type": "application/json"}}, 400, "malformed_json"),
        ({"data": b"[" * 100_000, "headers": {"Content-Type": "application/json"}}, 400, "malformed_json"),
        ({"data": BytesIO(b"x" * (2 << 20)), "headers": {"Content-Type": "application/json"}}, 413, "too_large"),
    ],
)
async def test_a_body_that_cannot_be_read_says_why(api: Stand, kwargs: dict[str, Any], status: int, code: str) -> None:
    """415, 400 or 413, before any field is looked at."""
    answer = await api.call("POST", "contacts", **kwargs)
    assert (status, code) == (answer.status, answer.json["code"])


async def test_every_wrong_field_is_named_at_once(api: Stand) -> None:
    """A form shows all its errors together, unknown and missing ones too."""
    body = {"first_name": 5, "email": "no", "gender": "?", "birthday": "2020-02-30", "nickname": "x"}
    answer = await api.call("POST", "contacts", json=body)
    assert 422 == answer.status
    assert {"first_name": "wrong_type", "birthday": "wrong_type", "nickname": "unknown_field", "phone": "required"} == {
        error["field"]: error["code"] for error in answer.json["errors"]
    }
    answer = await api.call(
        "POST", "contacts", json={"phone": "12", "email": "no", "gender": "?", "birthday": "1800-01-01"}
    )
    assert {"phone", "email", "gender", "birthday"} == {error["field"] for error in answer.json["errors"]}


async def test_a_bug_is_a_500_with_an_id_and_no_trace(api: Stand) -> None:
    """What went wrong stays in the log."""
    api.sender.reply = lambda _: ValueError("secret detail")
    answer = await api.call("POST", "messages", json={"phone": "6900000001", "text": "x"})
    assert (500, "internal_error") == (answer.status, answer.json["code"])
    assert 32 == len(answer.json["id"])
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body


async def test_a_database_that_is_away_is_503_with_retry_after(api: Stand) -> None:
    """The pool is closed under the running interface."""
    await api.db.close(timeout_s=0.1)
    answer = await api.call("GET", "wallet")
    assert (503, "database_away", "5") == (answer.status, answer.json["code"], answer.headers["Retry-After"])
    assert 200 == (await api.call("GET", "/healthz", key="")).status


async def test_readiness_gives_its_reasons(api: Stand) -> None:
    """200 or 503, for monitoring to read."""
    assert 200 == (await api.call("GET", "/readyz", key="")).status
    api.readiness[0] = Readiness(("database: away",))
    answer = await api.call("GET", "/readyz", key="")
    assert (503, ["database: away"]) == (answer.status, answer.json["reasons"])


async def test_metrics_are_prometheus_text(api: Stand) -> None:
    """The names of the contract are there."""
    answer = await api.call("GET", "/metrics", key="")
    assert (200, True) == (answer.status, b"dispatcher_build_info" in answer.body)
    assert answer.headers["Content-Type"].startswith("text/plain")


async def test_a_request_in_flight_may_end_when_the_server_stops(db: Database, tmp_path: Path) -> None:
    """The answer still comes; after it nobody listens."""
    release, asked = asyncio.Event(), asyncio.Event()

    class Slow(Notes):
        async def on_receive(self, message: object) -> object:
            asked.set()
            await release.wait()
            return self.reply(message)

    async with stand(db, tmp_path) as api:
        slow = Slow(api.sender.reply)
        address = api.services.senders["mitto"]
        address.unbind()
        address.bind(slow.launch(name="slow"))
        body = {"phone": "6900000001", "text": "x"}
        request = asyncio.create_task(api.call("POST", "messages", json=body))
        await asyncio.wait_for(asked.wait(), 5)
        stopping = asyncio.create_task(_stop(api))
        await _stops(api)
        release.set()
        assert 201 == (await request).status
        await asyncio.wait_for(stopping, 5)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", api.server.bound_port)
        await slow.actor_ref.stop(block=False)


async def _stop(api: Stand) -> None:
    await api.server.actor_ref.stop(block=False)


async def _stops(api: Stand) -> None:
    """Wait until the actor is on its way out."""
    async with asyncio.timeout(5):
        while not api.server.actor_stopped.is_set():
            await asyncio.sleep(0)


async def test_a_started_server_listens_and_tells_its_port(api: Stand) -> None:
    """Port 0 takes a free one."""
    assert api.server.bound_port > 0
    assert api.url.endswith(f":{api.server.bound_port}")
    with pytest.raises(TypeError):
        await api.server.on_receive("?")
    assert api.server.bound_port == await api.server.on_receive(AskPort())
