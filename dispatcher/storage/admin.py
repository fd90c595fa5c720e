"""What an operator does to the database from the command line: a new store with its owner, keys, and a look at who is there.

What it is for: whole deeds, each one transaction of the caller's. What it is not: the API's queries (`tenants.py`, `keys.py`
and others have those and are used here), or a way round the ledger: a first grant is posted as any movement is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from dispatcher.domain import money
from dispatcher.storage import keys, ledger, tenants


@dataclass(frozen=True, slots=True)
class NewTenant:
    """A store as the operator describes it; every field is checked already (`cli/tenant_fields.py`). `email` is lower-case;
    `credits` (0 or more) are granted; `key_hash` is of a key with the scopes `key_scopes`."""

    name: str
    email: str
    password_hash: str
    country: str
    timezone: str
    credits: int
    key_hash: bytes
    key_prefix: str
    key_scopes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Created:
    """The numbers of a new store and its owner."""

    tenant_id: int
    user_id: int


class EmailTaken(Exception):
    """Rolls the transaction back: a user has this e-mail."""


async def create_tenant(conn: Any, new: NewTenant) -> Created:
    """A store with its wallet, owner, login, first credits and API key, in the running transaction.

    Raises EmailTaken, after which the transaction can only be rolled back.
    """
    tenant_id = await tenants.create(conn, name=new.name, country=new.country, timezone=new.timezone)
    user_id: int = await conn.fetchval(
        "INSERT INTO app_user (tenant_id, email, password_hash) VALUES ($1, $2, $3) RETURNING user_id",
        tenant_id,
        new.email,
        new.password_hash,
    )
    try:
        await conn.execute(
            "INSERT INTO login_email (email, tenant_id, user_id) VALUES ($1, $2, $3)", new.email, tenant_id, user_id
        )
    except asyncpg.UniqueViolationError as error:
        raise EmailTaken(new.email) from error
    await keys.create(
        conn, key_hash=new.key_hash, prefix=new.key_prefix, tenant_id=tenant_id, scopes=new.key_scopes, name="first key"
    )
    if new.credits:
        grant = money.credit(tenant_id, new.credits, kind="grant", key="grant:first", note="granted with the account")
        await ledger.post(conn, [grant])
    return Created(tenant_id, user_id)
