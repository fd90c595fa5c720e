"""A store as its owner sees it: an API key, contacts, campaigns. Every answer that is not expected fails the test."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp

from dispatcher.domain import ids

if TYPE_CHECKING:
    from tests.e2e.rig import Rig

_NAMES = (("Ελένη", "Παπαδοπούλου"), ("Maria", "Smith"), ("Γιώργος", "Ιωάννου"), ("", ""), ("Zoë", "O'Hara{€}"))
_phones = itertools.count(306910000000)


@dataclass
class Answer:
    """What the API answered."""

    status: int
    headers: Any
    json: Any


class Store:
    """A tenant with a key of every tenant scope."""

    def __init__(self, rig: "Rig", tenant_id: int, key: str) -> None:
        self.rig = rig
        self.tenant_id = tenant_id
        self.key = key

    async def call(self, method: str, path: str, **kwargs: Any) -> Answer:
        """A request to `/api/v1/{path}` with the store's key."""
        headers = {"Authorization": f"Bearer {self.key}", **kwargs.pop("headers", {})}
        url = f"{self.rig.site.url}/api/v1/{path}"
        async with self.rig.session.request(method, url, headers=headers, **kwargs) as response:
            body = await response.read()
            found = await response.json(content_type=None) if body and "json" in response.content_type else None
            return Answer(response.status, response.headers, found)

    async def ask(self, method: str, path: str, *, status: int | tuple[int, ...] = 200, **kwargs: Any) -> Any:
        """The JSON of a request that must be answered with `status`, or with one of several."""
        answer = await self.call(method, path, **kwargs)
        assert answer.status in (status if isinstance(status, tuple) else (status,)), (
            f"{method} {path}: {answer.status} {answer.json}"
        )
        return answer.json

    async def people(self, count: int) -> list[int]:
        """New contacts, with names in Latin and Greek, without a name, and with characters that count twice; their phones
        in rising order."""
        phones = [next(_phones) for _ in range(count)]
        records = [(self.tenant_id, phone, "GR", *_NAMES[i % len(_NAMES)]) for i, phone in enumerate(phones)]
        columns = ("tenant_id", "phone", "country", "first_name", "last_name")
        async with self.rig.db.acquire() as conn:
            await conn.copy_records_to_table("contact", records=records, columns=columns)
        return phones

    async def draft(self, text: str = "Hello {{first_name|friend}}", **fields: Any) -> "Campaign":
        """A campaign that is not sent yet, to all contacts unless `audience` says otherwise."""
        body = {"name": "Sale", "text": text, "audience": "all", **fields}
        return Campaign(self, (await self.ask("POST", "campaigns", json=body, status=201))["id"])

    async def send(self, text: str = "Hello {{first_name|friend}}", **fields: Any) -> "Campaign":
        """A campaign on its way."""
        campaign = await self.draft(text, **fields)
        await campaign.do("send")
        return campaign

    async def message(self, phone: int, text: str, *, status: int | tuple[int, ...] = 201) -> Any:
        """One transactional message."""
        return await self.ask("POST", "messages", json={"phone": f"+{phone}", "text": text}, status=status)

    async def opt_out(self, phones: Sequence[int]) -> None:
        """These recipients opt out, now."""
        for phone in phones:
            await self.ask("POST", "suppressions", json={"phone": f"+{phone}"}, status=201)

    async def wallet(self) -> dict[str, int]:
        """Credits: available and held."""
        found: dict[str, int] = await self.ask("GET", "wallet")
        return found

    async def grant(self, credit_count: int) -> None:
        """An operator gives credits."""
        url = f"{self.rig.site.url}/api/v1/admin/tenants/{ids.encode(ids.Kind.TENANT, self.tenant_id)}/credits"
        headers = {"Authorization": f"Bearer {self.rig.admin_key}"}
        async with self.rig.session.post(url, json={"credits": credit_count}, headers=headers) as response:
            assert response.status == 201, await response.text()

    async def policy(self, unknown_policy: str) -> None:
        """What becomes of messages whose outcome stays unknown."""
        sql = "UPDATE tenant SET unknown_policy = $2 WHERE tenant_id = $1"
        await self.rig.execute(sql, self.tenant_id, unknown_policy)


class Campaign:
    """A campaign of a store."""

    def __init__(self, store: Store, campaign_id: str) -> None:
        self.store = store
        self.id = campaign_id

    @property
    def number(self) -> int:
        """Its id in the database."""
        number = ids.decode(ids.Kind.CAMPAIGN, self.id)
        assert number is not None
        return number

    async def get(self) -> dict[str, Any]:
        """As the API shows it now."""
        found: dict[str, Any] = await self.store.ask("GET", f"campaigns/{self.id}")
        return found

    async def do(self, what: str, *, status: int = 200) -> Any:
        """send, pause, resume or cancel it."""
        return await self.store.ask("POST", f"campaigns/{self.id}/{what}", status=status)

    async def until(self, *statuses: str, within_s: float = 30.0) -> dict[str, Any]:
        """Wait until it stands in one of these statuses."""
        return await self.until_(lambda shown: shown["status"] in statuses, f"to be {statuses}", within_s)

    async def until_(self, holds: Any, what: str, within_s: float = 30.0) -> dict[str, Any]:
        """Wait until `holds` of what the API shows; an answer of 503 is waited through."""
        last: dict[str, Any] = {}

        async def look() -> bool:
            nonlocal last
            try:
                answer = await self.store.call("GET", f"campaigns/{self.id}")
            except aiohttp.ClientConnectionError:
                return False
            if answer.status == 503:
                return False
            assert answer.status == 200, answer.json
            last = answer.json
            return bool(holds(last))

        await self.store.rig.until(look, lambda: f"the campaign {what}; it is {last}", within_s=within_s)
        return last

    async def settled(self, within_s: float = 30.0) -> dict[str, Any]:
        """Wait until it is completed and every message's end is known."""

        def holds(shown: dict[str, Any]) -> bool:
            counts = shown["counts"]
            return shown["status"] in ("completed", "cancelled") and not any(
                counts[name] for name in ("planned", "submitting", "accepted", "unknown")
            )

        return await self.until_(holds, "to be settled", within_s)
