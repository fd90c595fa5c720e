"""Campaigns through the API: what a draft may be, and that no status is left in a way that is not allowed."""

import asyncio
from typing import Any

import pytest

from dispatcher.actors.messages import Wake
from tests.http.stand import Stand

DRAFT = {"name": "Autumn", "text": "Hello {{first_name|friend}}", "audience": "all"}
STATUSES = ("draft", "scheduled", "planning", "sending", "paused", "paused_funds", "completed", "cancelled")


async def created(api: Stand, **fields: Any) -> dict[str, Any]:
    """A new draft."""
    answer = await api.call("POST", "campaigns", json=DRAFT | fields)
    assert 201 == answer.status, answer.json
    return dict(answer.json)


async def put_in(api: Stand, campaign_id: str, status: str, *, plan_done: bool = False) -> None:
    """Put a campaign in a status, as the path would."""
    async with api.db.acquire() as conn:
        await conn.execute(
            "UPDATE campaign SET status = $1, plan_done = $2, started_at = now() WHERE campaign_id = $3",
            status,
            plan_done,
            int(campaign_id.removeprefix("cmp_")),
        )


async def test_a_draft_has_its_defaults_and_empty_counts(api: Stand) -> None:
    """The store's sender, the only provider; every count and cost of the contract is 0."""
    campaign = await created(api)
    assert ("draft", "BOOKS", "mitto", "all") == tuple(
        campaign[n] for n in ("status", "sender", "provider", "audience")
    )
    assert {
        "planned", "submitting", "accepted", "delivered", "undelivered", "expired", "rejected", "suppressed", "cancelled",
        "unknown",
    } == set(campaign["counts"])  # fmt: skip
    assert {0} == set(campaign["counts"].values()) | set(campaign["cost"].values())
    assert {"held", "captured", "released"} <= set(campaign["cost"])
    assert (None, None, None) == (campaign["scheduled_at"], campaign["started_at"], campaign["finished_at"])
    assert campaign == (await api.call("GET", f"campaigns/{campaign['id']}")).json


async def test_a_text_keeps_every_character(api: Stand) -> None:
    """Line breaks, &, < and > are the customer's own words."""
    text = "1<2 and 3>2 R&D;\r\n$& {single} ?promotion_id=5&continue=1"
    assert text == (await created(api, text=text))["text"]


async def test_a_filter_is_stored_in_one_canonical_form(api: Stand) -> None:
    """Tags sorted and distinct, gender normal; a filter without a condition is everybody."""
    given = {"filter": {"gender": "F", "age_min": 18, "tags": ["b", "A", "a"]}}
    campaign = await created(api, audience=given)
    assert {"filter": {"gender": "female", "age_min": 18, "tags": ["a", "b"]}} == campaign["audience"]
    assert "all" == (await created(api, audience={"filter": {}}))["audience"]
    async with api.db.acquire() as conn:
        stored = await conn.fetch("SELECT audience FROM campaign ORDER BY campaign_id")
    assert ['{"kind": "filter", "tags": ["a", "b"], "gender": "female", "age_min": 18}', '{"kind": "all"}'] == [
        row["audience"] for row in stored
    ]


REFUSED: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    ({"name": " "}, [("name", "out_of_range")]),
    ({"name": "A\0"}, [("name", "control_character")]),
    ({"text": "Hi {{nickname}}"}, [("text", "unknown_tag")]),
    ({"text": "Hi {{first_name"}, [("text", "unclosed_tag")]),
    ({"text": " \n"}, [("text", "required")]),
    ({"sender": "My Shop!"}, [("sender", "forbidden_character")]),
    ({"provider": "other"}, [("provider", "unknown_provider")]),
    ({"link_url": "javascript:alert(1)"}, [("link_url", "invalid_url")]),
    ({"link_url": "https://"}, [("link_url", "invalid_url")]),
    ({"link_url": "https://exa mple.com"}, [("link_url", "invalid_url")]),
    ({"link_url": "http://example.com:99999/"}, [("link_url", "invalid_url")]),
    ({"rate_per_s": 0}, [("rate_per_s", "out_of_range")]),
    ({"audience": "some"}, [("audience", "unknown_value")]),
    ({"audience": {}}, [("audience", "required")]),
    ({"audience": {"list_id": "lst_1"}}, [("audience.list_id", "not_available")]),
    ({"audience": {"filter": {"age_min": 40, "age_max": 30}}}, [("audience.filter.age_max", "out_of_range")]),
    ({"audience": {"filter": {"shoe_size": 40}}}, [("audience.filter", "unknown_field")]),
    ({"template_id": "tpl_1"}, [("template_id", "not_available")]),
    (
        {"text": "{{x}}", "name": "", "rate_per_s": -1},
        [("name", "out_of_range"), ("rate_per_s", "out_of_range"), ("text", "unknown_tag")],
    ),
]


async def test_a_campaign_that_could_not_be_sent_is_refused(api: Stand) -> None:
    """422, with every field that is wrong."""
    for fields, expected in REFUSED:
        answer = await api.call("POST", "campaigns", json=DRAFT | fields)
        assert (422, expected) == (answer.status, sorted((e["field"], e["code"]) for e in answer.json["errors"])), (
            fields
        )


async def test_an_unknown_tag_is_shown_in_its_place(api: Stand) -> None:
    """The error has the tag and its position, for an editor to mark."""
    answer = await api.call("POST", "campaigns", json=DRAFT | {"text": "Hi {{nickname}}"})
    (error,) = answer.json["errors"]
    assert ("nickname", 3) == (error["tag"], error["position"])


async def test_a_draft_can_be_changed_and_deleted(api: Stand) -> None:
    """PATCH checks as POST does; the counter row goes with its draft."""
    campaign = await created(api)
    path = f"campaigns/{campaign['id']}"
    changed = await api.call(
        "PATCH", path, json={"name": "Winter", "link_url": "https://example.com/", "rate_per_s": 5}
    )
    assert (200, "Winter", 5) == (changed.status, changed.json["name"], changed.json["rate_per_s"])
    assert None is (await api.call("PATCH", path, json={"link_url": None})).json["link_url"]
    assert 422 == (await api.call("PATCH", path, json={"text": "{{x}}"})).status
    assert 204 == (await api.call("DELETE", path)).status
    assert 404 == (await api.call("GET", path)).status
    async with api.db.acquire() as conn:
        assert 0 == await conn.fetchval("SELECT count(*) FROM campaign_counter")


ALLOWED = {
    "send": {"draft": "planning", "scheduled": "planning"},
    "pause": {"planning": "paused", "sending": "paused", "paused_funds": "paused"},
    "resume": {"paused": "planning"},
    "cancel": {
        "scheduled": "cancelled",
        "planning": "cancelled",
        "sending": "cancelled",
        "paused": "cancelled",
        "paused_funds": "cancelled",
        # Asking for what is so already is answered with what is so.
        "cancelled": "cancelled",
    },
}


@pytest.mark.parametrize("status", STATUSES)
async def test_a_status_is_left_only_as_the_table_says(api: Stand, status: str) -> None:
    """Any other step is 409 with the status, and changes nothing: a finished campaign is never sent again."""
    for how, table in ALLOWED.items():
        campaign = await created(api)
        await put_in(api, campaign["id"], status)
        answer = await api.call("POST", f"campaigns/{campaign['id']}/{how}")
        after = (await api.call("GET", f"campaigns/{campaign['id']}")).json["status"]
        if status in table:
            assert (200, table[status]) == (answer.status, after), how
        else:
            assert (409, "wrong_status", status) == (answer.status, answer.json["code"], answer.json["campaign_status"])
            assert status == after
    campaign = await created(api)
    await put_in(api, campaign["id"], status)
    expected = 200 if status == "draft" else 409
    assert expected == (await api.call("PATCH", f"campaigns/{campaign['id']}", json={"name": "B"})).status
    expected = 204 if status == "draft" else 409
    assert expected == (await api.call("DELETE", f"campaigns/{campaign['id']}")).status


async def test_a_resumed_campaign_that_was_planned_goes_on_sending(api: Stand) -> None:
    """It is not planned again."""
    campaign = await created(api)
    await put_in(api, campaign["id"], "paused", plan_done=True)
    assert "sending" == (await api.call("POST", f"campaigns/{campaign['id']}/resume")).json["status"]


async def test_sending_wakes_the_planner_and_sets_the_time(api: Stand) -> None:
    """The status is a row before the hint is given."""
    campaign = await created(api)
    sent = await api.call("POST", f"campaigns/{campaign['id']}/send")
    assert (200, "planning") == (sent.status, sent.json["status"])
    assert sent.json["started_at"] is not None
    assert [Wake()] == api.planner.told


async def test_a_send_that_comes_ten_times_at_once_is_one(api: Stand) -> None:
    """One 200 and nine 409: no two requests pass the guard."""
    campaign = await created(api)
    path = f"campaigns/{campaign['id']}/send"
    answers = await asyncio.gather(*(api.call("POST", path) for _ in range(10)))
    assert [200] + [409] * 9 == sorted(answer.status for answer in answers)


async def test_the_list_is_newest_first_and_can_be_narrowed(api: Stand) -> None:
    """By status; page by page."""
    ids = [(await created(api, name=str(n)))["id"] for n in range(3)]
    await put_in(api, ids[1], "completed")
    page = (await api.call("GET", "campaigns?limit=2")).json
    assert [ids[2], ids[1]] == [item["id"] for item in page["items"]]
    page = (await api.call("GET", f"campaigns?limit=2&cursor={page['next_cursor']}")).json
    assert ([ids[0]], None) == ([item["id"] for item in page["items"]], page["next_cursor"])
    done = (await api.call("GET", "campaigns?status=completed")).json
    assert [ids[1]] == [item["id"] for item in done["items"]]


async def test_a_repeated_create_is_one_campaign(api: Stand) -> None:
    """The same Idempotency-Key and body give the same answer; another body is 422."""
    headers = {"Idempotency-Key": "k-1"}
    answers = [await api.call("POST", "campaigns", json=DRAFT, headers=headers) for _ in range(2)]
    assert [201, 201] == [answer.status for answer in answers]
    assert answers[0].body == answers[1].body
    assert "true" == answers[1].headers["Idempotency-Replayed"]
    other = await api.call("POST", "campaigns", json=DRAFT | {"name": "B"}, headers=headers)
    assert (422, "idempotency_key_reused") == (other.status, other.json["code"])
    assert 1 == len((await api.call("GET", "campaigns")).json["items"])
    bad = await api.call("POST", "campaigns", json=DRAFT, headers={"Idempotency-Key": "a b"})
    assert (400, "bad_idempotency_key") == (bad.status, bad.json["code"])


async def test_ten_equal_creates_at_once_are_one_campaign(api: Stand) -> None:
    """Those that come while the first runs get 409 or its answer."""
    headers = {"Idempotency-Key": "k-2"}
    answers = await asyncio.gather(*(api.call("POST", "campaigns", json=DRAFT, headers=headers) for _ in range(10)))
    assert {201, 409} >= {answer.status for answer in answers}
    assert 1 == len((await api.call("GET", "campaigns")).json["items"])


async def test_a_repeated_send_is_answered_as_the_first(api: Stand) -> None:
    """With a key the second is 200 with the stored answer, not 409; the key of a refused send is free again."""
    campaign = await created(api)
    path, headers = f"campaigns/{campaign['id']}/send", {"Idempotency-Key": "s-1"}
    first = await api.call("POST", path, headers=headers)
    again = await api.call("POST", path, headers=headers)
    assert (200, first.body) == (again.status, again.body)
    refused = await api.call("POST", path, headers={"Idempotency-Key": "s-2"})
    assert 409 == refused.status
    async with api.db.acquire() as conn:
        assert ["s-1"] == [row["key"] for row in await conn.fetch("SELECT key FROM idempotency")]


async def test_an_interrupted_create_can_be_repeated_after_a_minute(api: Stand) -> None:
    """Its answer commits with its effect, so a reservation without an answer had none."""
    headers = {"Idempotency-Key": "k-3"}
    first = await api.call("POST", "campaigns", json=DRAFT, headers=headers)
    async with api.db.acquire() as conn:
        await conn.execute("UPDATE idempotency SET status = NULL, body = NULL")
    running = await api.call("POST", "campaigns", json=DRAFT, headers=headers)
    assert (409, "idempotency_running") == (running.status, running.json["code"])
    async with api.db.acquire() as conn:
        await conn.execute("UPDATE idempotency SET created_at = now() - interval '61 seconds'")
    second = await api.call("POST", "campaigns", json=DRAFT, headers=headers)
    assert 201 == second.status
    assert first.json["id"] != second.json["id"]
