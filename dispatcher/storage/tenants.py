"""Tenants: the stores. A tenant is born with its wallet, so that no other statement has to ask whether there is one."""

from typing import Any


async def create(conn: Any, *, name: str, country: str, timezone: str, sender: str | None = None) -> int:
    """A new tenant and its empty wallet; its id. `country` is ISO 3166 alpha-2, `timezone` an IANA name."""
    tenant_id: int = await conn.fetchval(
        """WITH t AS (
               INSERT INTO tenant (name, country, timezone, sender) VALUES ($1, $2, $3, $4) RETURNING tenant_id
           )
           INSERT INTO wallet (tenant_id) SELECT tenant_id FROM t RETURNING tenant_id""",
        name,
        country,
        timezone,
        sender,
    )
    return tenant_id


async def exists(conn: Any, tenant_id: int) -> bool:
    """Whether there is such a tenant (and so its wallet)."""
    found: bool = await conn.fetchval("SELECT EXISTS (SELECT FROM wallet WHERE tenant_id = $1)", tenant_id)
    return found
