"""Messages through the API: one transactional message, once; a message's history; a campaign's list."""

import asyncio
from functools import partial
from typing import Any

import pytest

from dispatcher.actors.messages import DirectResult, SendDirect
from dispatcher.actors.runtime import ActorUnavailable
from dispatcher.storage.errors import DatabaseAway
from tests.http.stand import Stand, new_key
from tests.storage.small_flow import Flow, tell

HELLO = {"phone": "6900000001", "text": "Your code is 1 & <2>\n{{x}}"}


async def test_a_message_is_asked_of_its_sender_as_it_was_written(api: Stand) -> None:
    """The text is no template; the phone is E.164; the store's sender and the only provider stand in."""
    answer = await api.call("POST", "messages", json=HELLO)
    assert [SendDirect(api.tenant_id, 306900000001, "GR", HELLO["text"], "BOOKS")] == api.sender.told
    assert (201, "dmg_7_1", "accepted", "+306900000001") == (
        answer.status,
        answer.json["id"],
        answer.json["state"],
        answer.json["phone"],
    )


OUTCOMES: list[tuple[Any, int, str | None]] = [
    (DirectResult("rejected", 7, 1, reason="no such number"), 201, None),
    (DirectResult("suppressed", reason="the recipient opted out"), 201, None),
    (DirectResult("planned", 7, 1, 1, 1), 202, None),
    (DirectResult("unknown", 7, 1, 1, 1), 202, None),
    (DirectResult(None, reason="insufficient_credits"), 402, "insufficient_credits"),
    (DirectResult(None, reason="stopped"), 503, "sending_stopped"),
    (ActorUnavailable("sender", "full"), 503, "sender_unavailable"),
    (ActorUnavailable("sender", "timeout"), 503, "sender_no_answer"),
    (DatabaseAway("gone"), 503, "database_away"),
]


def _same(result: Any, _: Any) -> Any:
    return result


async def test_each_outcome_has_its_status(api: Stand) -> None:
    """Known outcomes are 201, open ones 202; nothing stored is 402 or 503."""
    for result, status, code in OUTCOMES:
        api.sender.reply = partial(_same, result)
        answer = await api.call("POST", "messages", json=HELLO)
        assert (status, code) == (answer.status, answer.json.get("code"))
        assert code is not None or result.state == answer.json["state"]
        assert ("Retry-After" in answer.headers) == (status == 503)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"phone": "1", "text": " ", "sender": "x y", "provider": "z"}, ["phone", "provider", "sender", "text"]),
        ({"text": "x" * 2001}, ["text"]),
        ({"text": "a\x1bb"}, ["text"]),
    ],
)
async def test_a_message_that_could_not_be_sent_is_refused(api: Stand, fields: Any, expected: list[str]) -> None:
    """422 with every wrong field; no sender hears of it."""
    answer = await api.call("POST", "messages", json=HELLO | fields)
    assert (422, expected) == (answer.status, sorted(e["field"] for e in answer.json["errors"]))
    assert [] == api.sender.told


async def test_a_repeated_message_is_sent_once(api: Stand) -> None:
    """The same key ten times at once, and again: one ask, and one answer for all that wait for none."""
    headers = {"Idempotency-Key": "m-1"}
    answers = await asyncio.gather(*(api.call("POST", "messages", json=HELLO, headers=headers) for _ in range(10)))
    assert {201, 409} >= {answer.status for answer in answers}
    again = await api.call("POST", "messages", json=HELLO, headers=headers)
    assert (201, "dmg_7_1") == (again.status, again.json["id"])
    assert 1 == len(api.sender.told)


@pytest.mark.parametrize("result", [ActorUnavailable("sender", "timeout"), DatabaseAway("gone", commit_uncertain=True)])
async def test_a_message_that_may_have_left_is_never_sent_again(api: Stand, result: Exception) -> None:
    """The key stays reserved: first as running, after a minute as an outcome that is not known."""
    headers = {"Idempotency-Key": "m-2"}
    api.sender.reply = lambda _: result
    assert 503 == (await api.call("POST", "messages", json=HELLO, headers=headers)).status
    running = await api.call("POST", "messages", json=HELLO, headers=headers)
    assert (409, "idempotency_running") == (running.status, running.json["code"])
    async with api.db.acquire() as conn:
        await conn.execute("UPDATE idempotency SET created_at = now() - interval '1 hour'")
    unknown = await api.call("POST", "messages", json=HELLO, headers=headers)
    assert (409, "idempotency_outcome_unknown") == (unknown.status, unknown.json["code"])
    assert 1 == len(api.sender.told)


@pytest.mark.parametrize(
    "result",
    [
        DirectResult(None, reason="insufficient_credits"),
        ActorUnavailable("sender", "not_started"),
        DatabaseAway("gone"),
    ],
)
async def test_a_message_that_was_certainly_not_taken_may_be_tried_again(api: Stand, result: Any) -> None:
    """With the same key: nothing was stored under it."""
    headers = {"Idempotency-Key": "m-3"}
    api.sender.reply = lambda _: result
    assert (await api.call("POST", "messages", json=HELLO, headers=headers)).status in (402, 503)
    api.sender.reply = lambda _: DirectResult("accepted", 9, 1, 1, 1)
    assert 201 == (await api.call("POST", "messages", json=HELLO, headers=headers)).status


@pytest.fixture
async def flow(api: Stand) -> Flow:
    """A store whose messages have met every end there is; the stand's key becomes that store's."""
    told = await tell(api.db)
    api.key = await new_key(api.db, told.tenant_id)
    return told


async def test_a_campaigns_messages_are_listed_in_their_states(api: Stand, flow: Flow) -> None:
    """By phone, page by page; a message without a delivery stands where its batch does."""
    expected = ["delivered", "undelivered", "rejected", "suppressed", "accepted"] + ["unknown"] * 3
    expected += ["planned"] * 4 + ["unknown"] * 4
    seen: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = (await api.call("GET", f"campaigns/cmp_{flow.campaign_id}/messages?limit=5{cursor}")).json
        seen += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert [f"msg_{flow.campaign_id}_{n}" for n in range(1, 17)] == [item["id"] for item in seen]
    assert expected[:12] == [item["state"] for item in seen][:12]
    assert {"cancelled"} == {
        item["state"] for item in (await api.call("GET", f"campaigns/cmp_{flow.cancelled_id}/messages")).json["items"]
    }


async def test_a_list_can_be_narrowed_to_a_state(api: Stand, flow: Flow) -> None:
    """Those messages and no others."""
    for state, places in {
        "delivered": [1],
        "rejected": [3],
        "accepted": [5],
        "planned": [9, 10, 11, 12],
        "expired": [],
    }.items():
        answer = await api.call("GET", f"campaigns/cmp_{flow.campaign_id}/messages?state={state}")
        assert [f"msg_{flow.campaign_id}_{n}" for n in places] == [item["id"] for item in answer.json["items"]]


async def test_a_narrowed_list_is_read_page_by_page(api: Stand, flow: Flow) -> None:
    """The cursor of a full page is the place of its last message."""
    seen: list[str] = []
    cursor = ""
    for _ in range(3):
        path = f"campaigns/cmp_{flow.campaign_id}/messages?state=planned&limit=2{cursor}"
        page = (await api.call("GET", path)).json
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert [f"msg_{flow.campaign_id}_{n}" for n in (9, 10, 11, 12)] == seen


async def test_a_message_tells_its_history(api: Stand, flow: Flow) -> None:
    """From its plan to its last report, with reasons."""
    failed = (await api.call("GET", f"messages/msg_{flow.campaign_id}_2")).json
    assert ("undelivered", "absent subscriber") == (failed["state"], failed["reason"])
    assert ["planned", "submitted", "accepted", "report", "undelivered"] == [e["event"] for e in failed["history"]]
    assert ("UNDELIV", failed["reported_at"][:19]) == (failed["history"][3]["detail"], failed["history"][3]["at"][:19])
    suppressed = (await api.call("GET", f"messages/msg_{flow.campaign_id}_4")).json
    assert ["planned", "suppressed"] == [e["event"] for e in suppressed["history"]]
    unknown = (await api.call("GET", f"messages/msg_{flow.campaign_id}_6")).json
    assert ("unknown", None) == (unknown["state"], unknown["provider_id"])
    assert "unknown" == unknown["history"][-1]["event"]
    direct = (await api.call("GET", f"messages/dmg_{flow.direct_batch_id}_1")).json
    assert ("accepted", None) == (direct["state"], direct["campaign_id"])
    assert direct["text"]


async def test_what_is_no_message_of_the_store_is_404(api: Stand, flow: Flow) -> None:
    """A campaign's batch is not reachable as a direct one, nor is another's."""
    for message_id in (f"msg_{flow.campaign_id}_999", "msg_999_1", "dmg_999_1", "dmg_1_1", "msg_1", "x"):
        assert 404 == (await api.call("GET", f"messages/{message_id}")).status
    assert 404 == (await api.call("GET", "campaigns/cmp_999/messages")).status


async def test_another_store_reads_none_of_it(api: Stand, flow: Flow) -> None:
    """Not by the id of a message either."""
    other = await new_key(api.db, api.tenant_id)
    for path in (
        f"messages/msg_{flow.campaign_id}_1",
        f"messages/dmg_{flow.direct_batch_id}_1",
        f"campaigns/cmp_{flow.campaign_id}/messages",
    ):
        assert 404 == (await api.call("GET", path, key=other)).status


async def test_stats_are_shares_of_what_ended(api: Stand, flow: Flow) -> None:
    """One delivered and one not: a half, whatever is still on its way."""
    stats = (await api.call("GET", f"campaigns/cmp_{flow.campaign_id}/stats")).json
    assert (0.5, 16) == (stats["delivered_share"], stats["recipients"])
    assert stats["recipients"] == sum(stats["counts"].values())
