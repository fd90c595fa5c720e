"""Delivery reports as providers send them: early, late, repeated, out of order, of nobody, in unknown words, forged."""

import asyncio
import json
import secrets

import pytest

from tests.e2e.rig import Rig


@pytest.mark.parametrize(
    "reports",
    [
        {"early": True},
        {"repeat": 4},
        {"sent_first": True, "out_of_order": True, "delay_ms": [0, 200]},
        {"batch": 500, "delay_ms": [0, 300], "repeat": 2},
        {"spelling": "alias"},
        {"auth": "token"},
    ],
    ids=["before their ids", "four times", "Sent after Delivered", "in arrays", "in other spellings", "with the token"],
)
async def test_however_reports_come_each_message_ends_as_they_say(shared: Rig, reports: dict[str, object]) -> None:
    """Before the answer that gives the id, repeated, in the wrong order, one by one or in arrays: what they say counts, and
    counts once (D28, D29, D32)."""
    await shared.sim.set_profile({"reports": {"failed": 0.2, "expired": 0.1, **reports}})
    store = await shared.store(people=300)
    done = await (campaign := await store.send("Hi")).settled()
    finals = await _finals(shared)
    assert {name: done["counts"][name] for name in finals} == finals
    assert done["cost"]["captured"] == 300
    await shared.sim.reports_done()
    await shared.check(campaign)
    assert (await campaign.get())["counts"] == done["counts"]


async def test_a_report_of_an_id_that_is_not_ours_changes_nothing_and_is_shown(shared: Rig) -> None:
    """It is durable (200), looked up, and listed for operators as unmatched; no message, no credit moves."""
    store = await shared.store(people=20)
    campaign = await store.send("Hi")
    before = await campaign.settled()
    strange = f"01STRANGE{secrets.token_hex(8)}"
    assert await shared.post_reports({"messageId": strange, "deliveryStatus": "Failure"}) == 200

    async def looked_up() -> bool:
        return bool(
            await shared.value("SELECT looked_up FROM dlr_parked WHERE provider_id = $1", strange) == "not_found"
        )

    await shared.until(looked_up, lambda: "the id to be looked up")
    async with shared.session.get(
        f"{shared.site.url}/api/v1/admin/dlr/unmatched", headers={"Authorization": f"Bearer {shared.admin_key}"}
    ) as answer:
        assert strange in {one["provider_id"] for one in (await answer.json())["items"]}
    assert await campaign.get() == before
    await shared.check(campaign)


async def test_unknown_words_are_counted_and_kept_as_they_came(shared: Rig) -> None:
    """A status that no table knows moves no message; the word is kept with it, and a later known one is applied."""
    counted = (await shared.metrics()).get("dispatcher_dlr_total{mitto}{unknown_word}", 0.0)
    await shared.sim.set_profile({"reports": {"unknown": 1.0, "unknown_word": "TELEPORTED", "repeat": 2}})
    store = await shared.store(people=20)
    campaign = await store.send("Hi")
    await campaign.until("completed")
    await shared.sim.reports_done()

    async def kept() -> bool:
        sql = "SELECT count(*) FROM delivery WHERE campaign_id = $1 AND state = 30 AND reports LIKE 'TELEPORTED%'"
        return bool(await shared.value(sql, campaign.number) == 20)

    await shared.until(kept, lambda: "the words to be kept")
    assert (await shared.metrics())["dispatcher_dlr_total{mitto}{unknown_word}"] >= counted + 20
    reports = [{"messageId": one["id"], "deliveryStatus": "Delivered"} for one in await shared.sim.received()]
    assert await shared.post_reports(reports) == 200
    done = await campaign.settled()
    assert done["counts"]["delivered"] == 20
    words = await shared.value("SELECT reports FROM delivery WHERE campaign_id = $1 LIMIT 1", campaign.number)
    assert [word.split()[0] for word in words.split("; ")] == ["TELEPORTED", "Delivered"]
    await shared.check(campaign)


async def test_a_forged_report_is_refused_and_changes_nothing(shared: Rig) -> None:
    """A wrong signature is 401: not stored, not applied; with the right one the same body counts (D30, D64)."""
    await shared.sim.set_profile({"reports": {"auth": "wrong"}})
    store = await shared.store(people=30)
    campaign = await store.send("Hi")
    await campaign.until("completed")
    stats = await shared.sim.reports_done()
    assert (stats["reports"]["statuses"], stats["reports"]["failed"]) == ({"401": 30}, 30)
    assert (await campaign.get())["counts"]["accepted"] == 30
    reports = [{"messageId": one["id"], "deliveryStatus": "Delivered"} for one in await shared.sim.received()]
    assert await shared.post_reports(reports, secret="not the secret") == 401
    assert await shared.value("SELECT count(*) FROM dlr_inbox") == 0
    assert await shared.post_reports(reports) == 200
    done = await campaign.settled()
    assert done["counts"]["delivered"] == 30
    await shared.check(campaign)


async def test_five_thousand_reports_in_one_array_are_taken_at_once(shared: Rig) -> None:
    """One body with a report for each of 5,000 messages, twice at the same time (D32)."""
    await shared.sim.set_profile({"reports": {"enabled": False}})
    store = await shared.store(people=5_000)
    campaign = await store.send("Hi")
    await campaign.until("completed")
    received = await shared.sim.received()
    reports = [
        {"messageId": one["id"], "deliveryStatus": "Delivered", "updatedAt": "2026-11-24T10:00:00Z"} for one in received
    ]
    assert len(json.dumps(reports)) < 1024 * 1024
    assert list(await asyncio.gather(*(shared.post_reports(reports) for _ in range(2)))) == [200, 200]
    done = await campaign.settled()
    assert done["counts"]["delivered"] == 5_000
    await shared.check(campaign)


async def test_a_body_that_is_no_report_is_refused(shared: Rig) -> None:
    """Signed, but not understood: 400, and nothing is stored."""
    for body in (b"not json", b"{}", b'[{"messageId": ""}]', b"17"):
        assert await shared.post_reports(body) == 400
    assert await shared.value("SELECT count(*) FROM dlr_inbox") == 0


async def test_a_failed_message_is_refunded_where_the_store_s_policy_says_so(shared: Rig) -> None:
    """With refund_failed the price of what was not delivered comes back, once, however often it is reported (D19)."""
    await shared.sim.set_profile({"reports": {"failed": 0.5, "repeat": 3}})
    store = await shared.store(credit_count=100, people=60)
    await shared.execute("UPDATE tenant SET refund_failed = true WHERE tenant_id = $1", store.tenant_id)
    done = await (campaign := await store.send("Hi")).settled()
    await shared.sim.reports_done()
    lost = done["counts"]["undelivered"]
    assert lost == (await _finals(shared))["undelivered"] > 0
    assert ((await campaign.get())["cost"]["refunded"], (await store.wallet())["available"]) == (lost, 40 + lost)
    await shared.check(campaign)


async def _finals(test: Rig) -> dict[str, int]:
    """What the provider's look-up says in the end, by our names for it."""
    found = dict.fromkeys(("delivered", "undelivered", "expired"), 0)
    names = {"DELIVERED": "delivered", "FAILURE": "undelivered", "FAILED": "undelivered", "EXPIRED": "expired"}
    received = await test.sim.received()
    for one in received:
        async with test.session.get(f"{test.sim.base_url}/api/v1.1/Messages/{one['id']}") as answer:
            found[names[(await answer.json())["deliveryStatus"].upper()]] += 1
    return found
