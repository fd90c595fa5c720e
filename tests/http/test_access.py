"""Who may call what: every route names its access, keys open what their scopes say and nothing else."""

from pathlib import Path

import pytest

from dispatcher.config.clock import ManualClock, SystemClock
from dispatcher.domain import credentials
from dispatcher.http.app import ROUTES, create_app
from dispatcher.http.auth import CACHE_TTL_S
from dispatcher.http.routing import Access, Route
from dispatcher.storage import keys
from dispatcher.storage.pool import Database
from tests.http.stand import Stand, new_key, new_tenant, stand

UNAUTHENTICATED = {
    ("GET", "/healthz"): Access.PUBLIC,
    ("GET", "/readyz"): Access.PUBLIC,
    ("GET", "/metrics"): Access.PUBLIC,
    ("GET", "/u/{code}"): Access.PUBLIC,
    ("POST", "/u/{code}"): Access.PUBLIC,
    ("GET", "/s/{code}"): Access.PUBLIC,
    ("POST", "/webhooks/mitto/dlr"): Access.SIGNED,
    ("POST", "/webhooks/mitto/inbound"): Access.SIGNED,
}


async def test_every_route_of_the_app_has_an_access_in_the_registry(api: Stand) -> None:
    """A handler cannot be reached without a Route that says who may call it."""
    registered = {
        (route.method, route.resource.canonical)
        for route in create_app(api.services).router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert registered == {(route.method, route.path) for route in ROUTES}


def test_the_routes_without_a_login_are_these_and_no_others() -> None:
    """Opening a route to everybody is a change of this test."""
    assert {
        (r.method, r.path): r.access for r in ROUTES if r.access in (Access.PUBLIC, Access.SIGNED)
    } == UNAUTHENTICATED


def test_a_route_with_a_scope_that_does_not_exist_is_refused() -> None:
    """A misspelt scope is an error when the module is read, not an open door."""
    with pytest.raises(ValueError, match="no scope"):
        Route("GET", "/x", ROUTES[0].handler, "contact:read")


async def test_every_route_needs_a_key_with_its_scope(api: Stand) -> None:
    """Without a key 401; with a key of every other scope 403; neither says more."""
    for route in ROUTES:
        if route.access in UNAUTHENTICATED.values():
            continue
        path = route.path.replace("{id}", "x").replace("{phone}", "+306900000001")
        scope = credentials.ADMIN_SCOPE if route.access is Access.ADMIN else str(route.access)
        others = [s for s in credentials.TENANT_SCOPES if s != scope]
        nobody = await api.call(route.method, path, key="")
        wrong = await api.call(route.method, path, key=await new_key(api.db, api.tenant_id, *others))
        assert (401, "unauthenticated") == (nobody.status, nobody.json["code"]), route
        assert "Bearer" in nobody.headers["WWW-Authenticate"]
        assert (403, "insufficient_scope") == (wrong.status, wrong.json["code"]), route


async def test_what_is_no_known_key_is_401(api: Stand) -> None:
    """A header that is missing, malformed or unknown is answered the same."""
    unknown = "dsp_" + "A" * 40
    for header in ("Bearer", "Bearer ", "Basic abc", "Bearer dsp_short", f"Bearer {unknown}", unknown, "Bearer é"):
        answer = await api.call("GET", "wallet", headers={"Authorization": header}, key="")
        assert 401 == answer.status, header


async def test_an_operators_key_is_no_tenants_and_the_other_way_round(api: Stand) -> None:
    """Not even a tenant's key with the scope `admin` opens the operators' routes."""
    forged = await new_key(api.db, api.tenant_id, "admin", *credentials.TENANT_SCOPES)
    assert 403 == (await api.call("GET", "wallet", key=api.admin_key)).status
    assert 403 == (await api.call("GET", "admin/actors", key=forged)).status
    assert 200 == (await api.call("GET", "admin/actors", key=api.admin_key)).status


async def test_a_revoked_key_ends_within_the_time_of_the_cache(db: Database, tmp_path: Path) -> None:
    """A key that is used stays known for 5 seconds at most."""
    clock = ManualClock(SystemClock().utc_now())
    async with stand(db, tmp_path, clock=clock) as api:
        assert 200 == (await api.call("GET", "wallet")).status
        async with db.acquire() as conn:
            key_id = await conn.fetchval(
                "SELECT key_id FROM api_key WHERE key_hash = $1", credentials.key_hash(api.key)
            )
            assert await keys.revoke(conn, key_id)
            assert not await keys.revoke(conn, key_id)
        clock.advance(CACHE_TTL_S - 0.1)
        assert 200 == (await api.call("GET", "wallet")).status
        clock.advance(0.2)
        assert 401 == (await api.call("GET", "wallet")).status


async def test_a_tenant_sees_nothing_of_another(api: Stand) -> None:
    """Another tenant's ids are answered as ids that do not exist."""
    other = await new_key(api.db, await new_tenant(api.db, "Other"))
    contact = await api.call("POST", "contacts", json={"phone": "6900000001"})
    body = {"name": "A", "text": "Hello", "audience": "all"}
    campaign = await api.call("POST", "campaigns", json=body)
    for path in (f"contacts/{contact.json['id']}", f"campaigns/{campaign.json['id']}"):
        assert 404 == (await api.call("GET", path, key=other)).status
        assert 404 == (await api.call("DELETE", path, key=other)).status
        assert 200 == (await api.call("GET", path)).status
    assert 404 == (await api.call("POST", f"campaigns/{campaign.json['id']}/send", key=other)).status
    assert [] == (await api.call("GET", "campaigns", key=other)).json["items"]
