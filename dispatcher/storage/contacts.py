"""Contacts: a store's customers, one row a phone.

Deleting a contact deletes its row only: messages keep their phones, so that the history and the accounts stay whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import asyncpg

from dispatcher.domain.contact_files import ContactRow


@dataclass(frozen=True, slots=True)
class Contact:
    """A contact as stored. `opted_out`: its phone is suppressed for this tenant."""

    contact_id: int
    phone: int
    country: str
    first_name: str
    last_name: str
    email: str
    gender: str | None
    birthday: date | None
    tags: Sequence[str]
    created_at: datetime
    updated_at: datetime
    opted_out: bool


@dataclass(frozen=True, slots=True)
class PhoneTaken:
    """Another contact of the tenant has this phone."""

    phone: int


# A scalar subquery, not EXISTS: the planner would hash all suppressions of the store for a page of 50.
_COLUMNS = """
c.contact_id, c.phone, c.country, c.first_name, c.last_name, c.email, c.gender, c.birthday, c.tags, c.created_at, c.updated_at,
coalesce((SELECT true FROM suppression s WHERE s.tenant_id = c.tenant_id AND s.phone = c.phone), false) AS opted_out
"""


async def insert(conn: Any, tenant_id: int, row: ContactRow) -> Contact | PhoneTaken:
    """A new contact."""
    found = await conn.fetchrow(
        f"""WITH c AS (
                INSERT INTO contact (tenant_id, phone, country, first_name, last_name, email, gender, birthday, tags)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (tenant_id, phone) DO NOTHING RETURNING *
            ) SELECT {_COLUMNS} FROM c""",
        tenant_id,
        row.phone,
        row.country,
        row.first_name,
        row.last_name,
        row.email,
        row.gender,
        row.birthday,
        list(row.tags),
    )
    return PhoneTaken(row.phone) if found is None else Contact(*found)


async def get(conn: Any, tenant_id: int, contact_id: int) -> Contact | None:
    """One contact."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM contact c WHERE c.tenant_id = $1 AND c.contact_id = $2", tenant_id, contact_id
    )
    return None if row is None else Contact(*row)


async def page(conn: Any, tenant_id: int, *, after: int, limit: int) -> list[Contact]:
    """The next contacts after the id `after` (0: from the start), by id."""
    rows = await conn.fetch(
        f"""SELECT {_COLUMNS} FROM contact c WHERE c.tenant_id = $1 AND c.contact_id > $2
            ORDER BY c.contact_id LIMIT $3""",
        tenant_id,
        after,
        limit,
    )
    return [Contact(*row) for row in rows]


async def by_phone(conn: Any, tenant_id: int, phone: int) -> Contact | None:
    """The contact with this phone."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM contact c WHERE c.tenant_id = $1 AND c.phone = $2", tenant_id, phone
    )
    return None if row is None else Contact(*row)


CHANGEABLE = ("phone", "country", "first_name", "last_name", "email", "gender", "birthday", "tags")


async def update(conn: Any, tenant_id: int, contact_id: int, changes: Mapping[str, Any]) -> Contact | PhoneTaken | None:
    """Change these columns (of CHANGEABLE; at least one); None when there is no such contact. KeyError on another column."""
    for column in changes:
        if column not in CHANGEABLE:
            raise KeyError(column)
    sets = ", ".join(f"{column} = ${place}" for place, column in enumerate(changes, 3))
    try:
        row = await conn.fetchrow(
            f"""WITH c AS (
                    UPDATE contact SET {sets}, updated_at = now() WHERE tenant_id = $1 AND contact_id = $2 RETURNING *
                ) SELECT {_COLUMNS} FROM c""",
            tenant_id,
            contact_id,
            *changes.values(),
        )
    except asyncpg.UniqueViolationError:
        return PhoneTaken(changes["phone"])
    return None if row is None else Contact(*row)


async def delete(conn: Any, tenant_id: int, contact_id: int) -> bool:
    """Forget a contact; False when there was none. Its opt-out stays."""
    row = await conn.fetchrow(
        "DELETE FROM contact WHERE tenant_id = $1 AND contact_id = $2 RETURNING 1", tenant_id, contact_id
    )
    return row is not None


# What a file leaves blank stays as it is; tags that a file gives replace the old ones.
_UPSERT = """
WITH u AS (
    INSERT INTO contact AS c (tenant_id, phone, country, first_name, last_name, email, gender, birthday, tags)
    SELECT $1, f.phone, f.country, f.first_name, f.last_name, f.email, f.gender, f.birthday,
           CASE WHEN f.tags = '' THEN '{}'::text[] ELSE string_to_array(f.tags, E'\\n') END
    FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::date[], $9::text[])
        AS f(phone, country, first_name, last_name, email, gender, birthday, tags)
    ORDER BY f.phone
    ON CONFLICT (tenant_id, phone) DO UPDATE SET
        first_name = coalesce(nullif(excluded.first_name, ''), c.first_name),
        last_name = coalesce(nullif(excluded.last_name, ''), c.last_name),
        email = coalesce(nullif(excluded.email, ''), c.email),
        gender = coalesce(excluded.gender, c.gender),
        birthday = coalesce(excluded.birthday, c.birthday),
        tags = CASE WHEN excluded.tags = '{}' THEN c.tags ELSE excluded.tags END,
        updated_at = now()
    RETURNING xmax = 0 AS created
)
SELECT count(*) FILTER (WHERE created) AS created, count(*) FILTER (WHERE NOT created) AS updated FROM u
"""


async def upsert_many(conn: Any, tenant_id: int, rows: Sequence[ContactRow]) -> tuple[int, int]:
    """Insert contacts, and update those that are there already; (created, updated). Each phone once at most."""
    row = await conn.fetchrow(
        _UPSERT,
        tenant_id,
        [r.phone for r in rows],
        [r.country for r in rows],
        [r.first_name for r in rows],
        [r.last_name for r in rows],
        [r.email for r in rows],
        [r.gender for r in rows],
        [r.birthday for r in rows],
        ["\n".join(r.tags) for r in rows],  # a tag holds no line break (domain/contacts.py)
    )
    return row["created"], row["updated"]
