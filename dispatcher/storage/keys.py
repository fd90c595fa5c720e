"""API keys at rest: their hashes, scopes and ends. The key itself is never stored (`domain/credentials.py`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Whom a live key stands for. `tenant_id` None: an operator, and the tenant's fields are empty."""

    key_id: int
    tenant_id: int | None
    scopes: frozenset[str]
    expires_at: datetime | None
    tenant_name: str
    country: str
    sender: str | None


async def create(
    conn: Any,
    *,
    key_hash: bytes,
    prefix: str,
    tenant_id: int | None,
    scopes: Sequence[str],
    name: str = "",
    expires_at: datetime | None = None,
) -> int:
    """Store a key's hash; the key's id. `tenant_id` None makes an operator's key."""
    key_id: int = await conn.fetchval(
        """INSERT INTO api_key (key_hash, tenant_id, prefix, name, scopes, expires_at)
           VALUES ($1, $2, $3, $4, $5, $6) RETURNING key_id""",
        key_hash,
        tenant_id,
        prefix,
        name,
        list(scopes),
        expires_at,
    )
    return key_id


async def holder_of(conn: Any, key_hash: bytes) -> KeyHolder | None:
    """Whom the key with this hash stands for; None when there is none, or it is revoked or past its end."""
    row = await conn.fetchrow(
        """SELECT k.key_id, k.tenant_id, k.scopes, k.expires_at, t.name, t.country, t.sender
           FROM api_key k LEFT JOIN tenant t ON t.tenant_id = k.tenant_id
           WHERE k.key_hash = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())""",
        key_hash,
    )
    if row is None:
        return None
    return KeyHolder(
        row["key_id"],
        row["tenant_id"],
        frozenset(row["scopes"]),
        row["expires_at"],
        row["name"] or "",
        row["country"] or "",
        row["sender"],
    )


async def revoke(conn: Any, key_id: int) -> bool:
    """End a key; False when it had ended or never was. Caches of it live a few seconds longer."""
    row = await conn.fetchrow(
        "UPDATE api_key SET revoked_at = now() WHERE key_id = $1 AND revoked_at IS NULL RETURNING 1", key_id
    )
    return row is not None
