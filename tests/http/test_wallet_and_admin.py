"""The wallet of a store, and what operators see and do."""

from tests.http.stand import Stand, new_key
from tests.storage.small_flow import tell


async def grant(api: Stand, amount: int, **more: object) -> tuple[int, dict[str, object]]:
    """Credits from an operator."""
    path = f"admin/tenants/ten_{api.tenant_id}/credits"
    answer = await api.call("POST", path, key=api.admin_key, json={"credits": amount, **more})
    return answer.status, answer.json


async def test_a_grant_moves_credits_once_for_each_key(api: Stand) -> None:
    """201, then 200 with nothing moved; without a key each grant is its own."""
    assert (201, {"available": 100, "held": 0, "posted": True}) == await grant(api, 100, key="a", note="welcome")
    assert (200, {"available": 100, "held": 0, "posted": False}) == await grant(api, 100, key="a")
    assert 150 == (await grant(api, 50))[1]["available"]
    assert {"available": 150, "held": 0} == (await api.call("GET", "wallet")).json


async def test_a_wallet_shows_every_movement_newest_first(api: Stand) -> None:
    """Each sums to zero over its accounts; page by page."""
    for n in range(3):
        await grant(api, n + 1, key=str(n), note=f"note {n}")
    page = (await api.call("GET", "wallet/entries?limit=2")).json
    assert [3, 2] == [item["amounts"]["available"] for item in page["items"]]
    assert [{"available": 3, "funding": -3}, "grant", "note 2"] == [
        page["items"][0][n] for n in ("amounts", "kind", "note")
    ]
    page = (await api.call("GET", f"wallet/entries?limit=2&cursor={page['next_cursor']}")).json
    assert ([1], None) == ([item["amounts"]["available"] for item in page["items"]], page["next_cursor"])


async def test_a_grant_that_makes_no_sense_is_refused(api: Stand) -> None:
    """Amounts are positive; the tenant must be there."""
    for amount in (0, -5, 10**13):
        assert 422 == (await grant(api, amount))[0]
    for tenant in ("ten_999", "ten_99999999999", "x"):
        answer = await api.call("POST", f"admin/tenants/{tenant}/credits", key=api.admin_key, json={"credits": 1})
        assert 404 == answer.status


async def test_operators_see_what_is_uncertain(api: Stand) -> None:
    """Unknown batches with what is still held, and reports without a message; page by page."""
    flow = await tell(api.db)
    unknown = (await api.call("GET", "admin/unknown", key=api.admin_key)).json
    (batch,) = unknown["items"]
    assert (f"ten_{flow.tenant_id}", f"cmp_{flow.campaign_id}", 4, 3, "no answer") == tuple(
        batch[n] for n in ("tenant_id", "campaign_id", "messages", "unresolved", "reason")
    )
    async with api.db.acquire() as conn:
        await conn.execute("DELETE FROM dlr_parked")
        await conn.execute(
            """INSERT INTO dlr_parked (provider_key, provider, provider_id, word)
               SELECT md5(n::text)::uuid, 'mitto', 'id-' || n, 'DELIVRD' FROM generate_series(1, 3) AS n"""
        )
    page = (await api.call("GET", "admin/dlr/unmatched?limit=2", key=api.admin_key)).json
    rest = (await api.call("GET", f"admin/dlr/unmatched?cursor={page['next_cursor']}", key=api.admin_key)).json
    assert {"id-1", "id-2", "id-3"} == {item["provider_id"] for item in page["items"] + rest["items"]}
    assert rest["next_cursor"] is None


async def test_a_list_of_unknown_batches_goes_on_where_it_was(api: Stand) -> None:
    """Its cursor is a time and two numbers; anything else is refused."""
    flow = await tell(api.db)
    async with api.db.acquire() as conn:
        await conn.execute(
            "UPDATE batch SET state = 'unknown', submitted_at = coalesce(submitted_at, now()) WHERE campaign_id = $1",
            flow.campaign_id,
        )
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await api.call("GET", f"admin/unknown?limit=2{cursor}", key=api.admin_key)).json
        seen += [item["batch_id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert (5, 5) == (len(seen), len(set(seen)))
    assert 422 == (await api.call("GET", "admin/unknown?cursor=AAAA", key=api.admin_key)).status


async def test_a_movement_of_a_campaign_names_it(api: Stand) -> None:
    """Whoever reads the wallet finds what it was spent on."""
    flow = await tell(api.db)
    key = await new_key(api.db, flow.tenant_id)
    items = (await api.call("GET", "wallet/entries?limit=200", key=key)).json["items"]
    assert f"cmp_{flow.campaign_id}" in {item["campaign_id"] for item in items}
    assert {0} == {sum(item["amounts"].values()) for item in items}


async def test_the_kill_switch_is_an_operator_s_and_says_why_it_is_on(api: Stand) -> None:
    """The first reason stays; a store's key has no say; starting again clears it. (What it stops: tests/e2e.)"""
    assert 403 == (await api.call("POST", "admin/stop")).status
    stopped = (await api.call("POST", "admin/stop", key=api.admin_key, json={"reason": "wrong text"})).json
    assert (True, "wrong text") == (stopped["stopped"], stopped["reason"])
    assert "wrong text" == (await api.call("POST", "admin/stop", key=api.admin_key)).json["reason"]
    for reason in ("", " ", "a\x00b", "x" * 201):
        assert 422 == (await api.call("POST", "admin/stop", key=api.admin_key, json={"reason": reason})).status
    started = (await api.call("POST", "admin/start", key=api.admin_key)).json
    assert {"stopped": False, "reason": None, "stopped_at": None} == started
