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
    user_id = await create_user(
        conn, tenant_id=tenant_id, email=new.email, password_hash=new.password_hash, role="owner"
    )
    await keys.create(
        conn, key_hash=new.key_hash, prefix=new.key_prefix, tenant_id=tenant_id, scopes=new.key_scopes, name="first key"
    )
    if new.credits:
        grant = money.credit(tenant_id, new.credits, kind="grant", key="grant:first", note="granted with the account")
        await ledger.post(conn, [grant])
    return Created(tenant_id, user_id)


async def create_user(conn: Any, *, tenant_id: int, email: str, password_hash: str, role: str) -> int:
    """A user of the tenant and the login of that user, in the running transaction; the user's number. `email` is lower-case.

    Raises EmailTaken, after which the transaction can only be rolled back.
    """
    user_id: int = await conn.fetchval(
        "INSERT INTO app_user (tenant_id, email, password_hash, role) VALUES ($1, $2, $3, $4) RETURNING user_id",
        tenant_id,
        email,
        password_hash,
        role,
    )
    try:
        await conn.execute(
            "INSERT INTO login_email (email, tenant_id, user_id) VALUES ($1, $2, $3)", email, tenant_id, user_id
        )
    except asyncpg.UniqueViolationError as error:
        raise EmailTaken(email) from error
    return user_id


@dataclass(frozen=True, slots=True)
class Totals:
    """What the rows say of a campaign, computed from deliveries and ledger entries: messages, and credits."""

    planned: int
    accepted: int
    delivered: int
    failed: int
    rejected: int
    suppressed: int
    held: int
    captured: int
    released: int


async def campaign_totals(conn: Any, tenant_id: int, campaign_id: int) -> Totals:
    """Recount a campaign from its rows: reads them all. `accepted`: by the provider, whatever was reported since."""
    row = await conn.fetchrow(
        """SELECT (SELECT count(*) FROM msg WHERE tenant_id = $1 AND campaign_id = $2) AS planned, d.*, e.* FROM (
               SELECT count(*) FILTER (WHERE provider_key IS NOT NULL) AS accepted,
                      count(*) FILTER (WHERE state = 40) AS delivered,
                      count(*) FILTER (WHERE state IN (41, 42) OR (state = 43 AND provider_key IS NOT NULL)) AS failed,
                      count(*) FILTER (WHERE state = 43 AND provider_key IS NULL) AS rejected,
                      count(*) FILTER (WHERE state = 44) AS suppressed
               FROM delivery WHERE tenant_id = $1 AND campaign_id = $2) d
           CROSS JOIN (
               SELECT coalesce(sum(e.amount) FILTER (WHERE e.account = 2), 0)::bigint AS held,
                      coalesce(sum(e.amount) FILTER (WHERE e.account = 3 AND j.kind <> 'refund'), 0)::bigint AS captured,
                      coalesce(sum(e.amount) FILTER (WHERE e.account = 1 AND e.amount > 0 AND j.kind <> 'refund'), 0)::bigint
                          AS released
               FROM journal j JOIN entry e ON e.tenant_id = j.tenant_id AND e.journal_id = j.journal_id
               WHERE j.tenant_id = $1 AND j.campaign_id = $2) e""",
        tenant_id,
        campaign_id,
    )
    return Totals(*row)


async def reset_password(conn: Any, email: str, password_hash: str) -> int | None:
    """Give the user of this login a new password; the user's tenant, None when there is no such login."""
    tenant_id: int | None = await conn.fetchval(
        """UPDATE app_user u SET password_hash = $2 FROM login_email l
           WHERE l.email = $1 AND u.tenant_id = l.tenant_id AND u.user_id = l.user_id RETURNING u.tenant_id""",
        email,
        password_hash,
    )
    return tenant_id
