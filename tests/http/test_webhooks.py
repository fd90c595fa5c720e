"""Webhooks: verified, then read, then durable, and only then 200."""

import hashlib
import hmac
import json
from io import BytesIO
from typing import Any

import pytest

from dispatcher.actors.messages import ReportsReceived
from dispatcher.actors.runtime import ActorUnavailable
from dispatcher.domain.lattice import MessageState
from dispatcher.domain.optout import is_stop
from dispatcher.storage.errors import DatabaseAway
from tests.http.stand import SECRET, Answer, Stand, new_tenant
from tests.storage.small_flow import PHONE, tell

REPORT = {"messageId": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "deliveryStatus": "Delivered", "updatedAt": "2026-01-05T10:00:00Z"}


def signed(body: bytes) -> dict[str, str]:
    """The provider's signature."""
    return {"X-Webhook-Signature": hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()}


async def post(api: Stand, path: str, content: Any, headers: dict[str, str] | None = None) -> Answer:
    """A webhook with a good signature, or with these headers."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    given = signed(body) if headers is None else headers
    return await api.call("POST", f"/webhooks/mitto/{path}", key="", data=BytesIO(body), headers=given)


async def test_reports_reach_the_reconciler_with_their_body(api: Stand) -> None:
    """One object, or an array; 200 when the reconciler says that they are durable."""
    for content, count in ((REPORT, 1), ([REPORT, REPORT], 2)):
        answer = await post(api, "dlr", content)
        assert (200, b"") == (answer.status, answer.body)
        message = api.reconciler.told[-1]
        assert isinstance(message, ReportsReceived)
        assert ("mitto", [json.dumps(content).encode()]) == (message.provider, message.bodies)
        assert [MessageState.DELIVERED] * count == [report.state for report in message.reports]


@pytest.mark.parametrize("path", ["dlr", "inbound"])
async def test_a_bad_signature_is_401_and_changes_nothing(api: Stand, path: str) -> None:
    """Nor is the secret taken from the query string."""
    for headers in ({}, {"X-Webhook-Signature": "0" * 64}, {"X-Webhook-Token": "wrong"}):
        answer = await post(api, f"{path}?token={SECRET}&secret={SECRET}", REPORT, headers)
        assert (401, "bad_signature", []) == (answer.status, answer.json["code"], api.reconciler.told)


async def test_a_body_that_is_not_understood_is_400(api: Stand) -> None:
    """An empty array holds no report and is no error; nothing of all this reaches the reconciler."""
    for body in (b"", b"{", b"7", b"{}", b'[{"x":1}]'):
        assert 400 == (await post(api, "dlr", body)).status
    assert 200 == (await post(api, "dlr", b"[]")).status
    assert [] == api.reconciler.told


@pytest.mark.parametrize("error", [DatabaseAway("gone"), ActorUnavailable("reconciler", "timeout")])
async def test_what_cannot_be_made_durable_is_503(api: Stand, error: Exception) -> None:
    """With Retry-After, so that the provider sends it again; never 2xx."""
    api.reconciler.reply = lambda _: error
    answer = await post(api, "dlr", REPORT)
    assert (503, "5") == (answer.status, answer.headers["Retry-After"])
    metrics = (await api.call("GET", "/metrics", key="")).body.decode()
    assert 'dispatcher_webhook_requests_total{source="mitto",status="503"} 1.0' in metrics


async def test_five_thousand_reports_in_one_array_pass(api: Stand) -> None:
    """About 600 kB; above 1 MB it is 413."""
    content = [REPORT | {"messageId": f"01ARZ3NDEKTSV4RRFFQ6{n:06d}"} for n in range(5000)]
    assert 200 == (await post(api, "dlr", content)).status
    assert 5000 == len(api.reconciler.told[0].reports)
    assert 413 == (await post(api, "dlr", b" " * (1024 * 1024 + 1))).status


async def contact(api: Stand, tenant_id: int, phone: int) -> None:
    """A contact."""
    async with api.db.acquire() as conn:
        await conn.execute("INSERT INTO contact (tenant_id, phone, country) VALUES ($1, $2, 'GR')", tenant_id, phone)


async def wrote(api: Stand, tenant_id: int, phone: int, days_ago: int) -> None:
    """A direct message of a store to a phone."""
    async with api.db.acquire() as conn:
        await conn.execute(
            """WITH b AS (
                   INSERT INTO batch (tenant_id, n_from, size, segments_max, provider, sender, hold, created_at)
                   VALUES ($1, 1, 1, 1, 'mitto', 'BOOKS', 0, now() - $3 * interval '1 day') RETURNING batch_id)
               INSERT INTO direct (tenant_id, n, batch_id, phone, price, segments, purpose, country, text)
               SELECT $1, 1, batch_id, $2, 1, 1, 'transactional', 'GR', 'x' FROM b""",
            tenant_id,
            phone,
            days_ago,
        )


async def suppressed(api: Stand) -> list[tuple[int, int, str]]:
    """Every suppression."""
    async with api.db.acquire() as conn:
        rows = await conn.fetch("SELECT tenant_id, phone, source FROM suppression ORDER BY 1, 2")
    return [tuple(row) for row in rows]


async def test_a_stop_word_suppresses_the_phone_for_those_who_wrote(api: Stand) -> None:
    """The stores that wrote to it in the last 30 days, and no other."""
    other, stranger = await new_tenant(api.db, "Other"), await new_tenant(api.db, "Stranger")
    await wrote(api, api.tenant_id, 306911111111, 3)
    await wrote(api, other, 306911111111, 40)
    await contact(api, stranger, 306911111111)
    answer = await post(api, "inbound", {"from": "306911111111", "to": "BOOKS", "text": "STOP"})
    assert (200, [(api.tenant_id, 306911111111, "inbound")]) == (answer.status, await suppressed(api))


async def test_a_campaign_of_the_last_days_counts_as_writing(api: Stand) -> None:
    """Its messages are found by the phone, whether the contact is still there or not."""
    flow = await tell(api.db)
    assert 200 == (await post(api, "inbound", {"from": f"+{PHONE + 3}", "text": "stop"})).status
    assert [(flow.tenant_id, PHONE + 3, "inbound")] == await suppressed(api)


@pytest.mark.parametrize(
    "text",
    ["STOP", " stop. ", "StopAll", "stop all", "Unsubscribe", "CANCEL", "end", "quit", "ΣΤΟΠ", "στόπ!", "διαγραφή"],
)
def test_a_stop_word_is_one_however_it_is_typed(text: str) -> None:
    """In any case, with accents or punctuation."""
    assert is_stop(text)


@pytest.mark.parametrize("text", ["stop by on Monday?", "hello", "", "please stop", "!", "stop" * 20])
def test_any_other_answer_is_none(text: str) -> None:
    """The whole answer must be the word."""
    assert not is_stop(text)


async def test_when_nobody_wrote_lately_all_who_know_the_phone_leave_it(api: Stand) -> None:
    """Better one store too many than an opt-out that matches nobody."""
    other = await new_tenant(api.db, "Other")
    for tenant_id in (api.tenant_id, other):
        await contact(api, tenant_id, 306911111111)
    for sender in ("+306911111111", "00306911111111", "306911111111"):
        assert 200 == (await post(api, "inbound", {"from": sender, "text": "stop"})).status
    assert [(t, 306911111111, "inbound") for t in sorted((api.tenant_id, other))] == await suppressed(api)


async def test_any_other_answer_is_taken_and_ignored(api: Stand) -> None:
    """200: there is nothing to send again."""
    await contact(api, api.tenant_id, 306911111111)
    assert 200 == (await post(api, "inbound", {"from": "+306911111111", "text": "stop by on Monday?"})).status
    assert [] == await suppressed(api)


async def test_an_inbound_body_without_a_number_is_400(api: Stand) -> None:
    """There is nobody to leave."""
    for content in ({"text": "stop"}, {"from": "BOOKS", "text": "stop"}):
        assert 400 == (await post(api, "inbound", content)).status
