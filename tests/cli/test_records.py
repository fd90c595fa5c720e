"""Stores, keys, the auditor's verdict and a message's story, through the commands, on a real database."""

import asyncio
import hashlib
import json
from typing import Any

import asyncpg
import pytest

from dispatcher.domain import passwords
from dispatcher.domain.credentials import TENANT_SCOPES
from dispatcher.domain.ids import Kind, decode, encode_direct, encode_message
from dispatcher.storage.pool import Database
from tests.cli.conftest import Invoke
from tests.storage import small_flow
from tests.storage.small_flow import Flow

STORE = ("tenant", "create", "--name", "Books & More", "--email", "Owner@Example.com", "--json")


@pytest.fixture
def settings(database_url: str) -> dict[str, str]:
    """The settings of a command on this test's database."""
    return {"DISPATCHER_DATABASE_URL": database_url}


def rows(database_url: str, sql: str, *args: Any) -> list[tuple[Any, ...]]:
    """The rows of a query."""

    async def fetch() -> list[tuple[Any, ...]]:
        conn = await asyncpg.connect(database_url)
        try:
            return [tuple(row) for row in await conn.fetch(sql, *args)]
        finally:
            await conn.close()

    return asyncio.run(fetch())


@pytest.fixture
def flow(database_url: str) -> Flow:
    """A store whose messages have met every end."""

    async def tell() -> Flow:
        db = await Database.open(database_url, size_max=4, dlr_size_max=2)
        try:
            return await small_flow.tell(db)
        finally:
            await db.close()

    return asyncio.run(tell())


def test_a_new_store_can_log_in_spend_and_call(invoke: Invoke, database_url: str, settings: dict[str, str]) -> None:
    """Tenant, owner, wallet, first grant and key come together; the answer has what is shown once."""
    result = invoke(*STORE, "--credits", "250", "--country", "cy", "--timezone", "Asia/Nicosia", **settings)
    assert result.exit_code == 0, result.stderr
    made = json.loads(result.stdout)
    assert set(made) == {"tenant_id", "user_id", "password", "api_key"}
    tenant_id, user_id = decode(Kind.TENANT, made["tenant_id"]), decode(Kind.USER, made["user_id"])
    assert rows(database_url, "SELECT tenant_id, name, country, timezone FROM tenant") == [
        (tenant_id, "Books & More", "CY", "Asia/Nicosia")
    ]
    assert rows(database_url, "SELECT email, tenant_id, user_id FROM login_email") == [
        ("owner@example.com", tenant_id, user_id)
    ]
    ((stored, role),) = rows(database_url, "SELECT password_hash, role FROM app_user")
    assert (passwords.is_password(stored, made["password"]), role) == (True, "owner")
    key_hash = hashlib.sha256(made["api_key"].encode()).digest()
    assert rows(database_url, "SELECT key_hash, tenant_id, scopes FROM api_key") == [
        (key_hash, tenant_id, list(TENANT_SCOPES))
    ]
    assert rows(database_url, "SELECT available, held FROM wallet") == [(250, 0)]
    assert rows(database_url, "SELECT kind, idempotency_key FROM journal") == [("grant", "grant:first")]
    assert invoke("audit", **settings).exit_code == 0


def test_an_email_makes_one_store(invoke: Invoke, database_url: str, settings: dict[str, str]) -> None:
    """The second is refused by the field's name, and leaves no half of a store."""
    assert invoke(*STORE, **settings).exit_code == 0
    result = invoke(*STORE, "--credits", "5", **settings)
    assert result.exit_code == 2
    assert "email: a user has the e-mail owner@example.com already" in result.stderr
    assert rows(database_url, "SELECT count(*) FROM tenant") == [(1,)]
    assert rows(database_url, "SELECT count(*) FROM journal") == [(0,)]


def test_users_and_keys_belong_to_a_store_that_exists(
    invoke: Invoke, database_url: str, settings: dict[str, str]
) -> None:
    """A manager and a narrow key of a store; an operator's key of none; a store that is not there is an error."""
    tenant = json.loads(invoke(*STORE, **settings).stdout)["tenant_id"]
    user = invoke("user", "create", "--tenant", tenant, "--email", "m@example.com", "--json", **settings)
    assert set(json.loads(user.stdout)) == {"user_id", "password"}
    key = invoke("key", "create", "--tenant", tenant, "--scopes", "wallet:read", "--json", **settings)
    admin = invoke("key", "create", "--admin", "--json", **settings)
    assert (set(json.loads(key.stdout)), set(json.loads(admin.stdout))) == ({"api_key"}, {"api_key"})
    found = rows(database_url, "SELECT tenant_id, scopes FROM api_key ORDER BY key_id OFFSET 1")
    assert found == [(decode(Kind.TENANT, tenant), ["wallet:read"]), (None, ["admin"])]
    for arguments in (("user", "create", "--email", "x@example.com"), ("key", "create")):
        missing = invoke(*arguments, "--tenant", "ten_999", **settings)
        assert (missing.exit_code, "there is no store ten_999" in missing.stderr) == (1, True)


def test_the_auditor_answers_in_json_and_by_its_exit_status(
    invoke: Invoke, flow: Flow, database_url: str, settings: dict[str, str]
) -> None:
    """0 while all agrees; 1 and the name of the row when a balance was changed behind the ledger's back."""
    healthy = invoke("audit", "--json", **settings)
    assert (healthy.exit_code, json.loads(healthy.stdout)["ok"]) == (0, True)
    rows(database_url, "UPDATE wallet SET available = available + 1")
    damaged = invoke("audit", "--json", **settings)
    told = json.loads(damaged.stdout)
    assert (damaged.exit_code, told["ok"]) == (1, False)
    wrong = [check for check in told["checks"] if not check["ok"]]
    assert [check["name"] for check in wrong] == ["wallets_equal_their_entries"]
    assert wrong[0]["detail"].startswith(f"tenant {flow.tenant_id}: the wallet says available 982")
    assert "DIFFERS  wallets_equal_their_entries" in invoke("audit", **settings).stdout


def test_a_message_is_explained_with_its_phone_masked(invoke: Invoke, flow: Flow, settings: dict[str, str]) -> None:
    """In text and in JSON; in full only when it is asked for."""
    message = encode_message(flow.campaign_id, 1)
    phone = f"+{small_flow.PHONE + 1}"
    told = json.loads(invoke("explain", message, "--json", **settings).stdout)
    assert (told["state"], told["phone"], told["price"]) == ("delivered", "+3069*****01", 1)
    history = ("planned", "submitted", "accepted", "report", "delivered")
    assert [event["event"] for event in told["timeline"] if event["event"] in history] == list(history)
    text = invoke("explain", message, **settings).stdout
    assert text.startswith(f"{message}: delivered\n")
    assert phone not in text
    assert phone in invoke("explain", message, "--show-phone", **settings).stdout
    assert json.loads(invoke("explain", message, "--show-phone", "--json", **settings).stdout)["phone"] == phone


def test_every_end_can_be_told(invoke: Invoke, flow: Flow, settings: dict[str, str]) -> None:
    """No state of a message is without words: one of each batch, one of the cancelled campaign, a direct one."""
    told = [encode_message(flow.campaign_id, n) for n in (2, 3, 4, 5, 6, 9, 11, 13)]
    for message in (*told, encode_message(flow.cancelled_id, 1), encode_direct(flow.direct_batch_id, 1)):
        assert invoke("explain", message, **settings).exit_code == 0
        assert json.loads(invoke("explain", message, "--json", **settings).stdout)["message_id"] == message


def test_an_unknown_message_is_an_error(invoke: Invoke, settings: dict[str, str]) -> None:
    """Exit 1 and one line."""
    result = invoke("explain", "msg_9_9", **settings)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is no message 'msg_9_9'" in result.stderr


def test_a_database_without_the_schema_is_migrated_only_on_command(invoke: Invoke, empty_database_url: str) -> None:
    """A command does not change somebody else's database on its own: it says what to do."""
    settings = {"DISPATCHER_DATABASE_URL": empty_database_url}
    refused = invoke("audit", **settings)
    assert (refused.exit_code, "run `dispatcher migrate` first" in refused.stderr) == (1, True)
    first = json.loads(invoke("migrate", "--json", **settings).stdout)["applied"]
    assert [one["version"] for one in first] == list(range(1, len(first) + 1))
    assert json.loads(invoke("migrate", "--json", **settings).stdout) == {"applied": []}
    assert invoke("audit", **settings).exit_code == 0
