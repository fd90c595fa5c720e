"""Who asks: `Authorization: Bearer <api key>` -> a principal with scopes (RFC 6750 for the header and the challenges).

A key is looked up by its hash, and what was found is kept for a few seconds, so that the hot path does not pay a query a
request; a revoked key therefore works for that long. Keys that were not found are not kept: a guess costs a query.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from dispatcher.domain import credentials
from dispatcher.http.problems import Problem
from dispatcher.storage import keys
from dispatcher.storage.pool import Database

CACHE_TTL_S: Final = 5.0
CACHE_SIZE_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Tenant:
    """The store that a request acts for. `sender`: its own default sender id."""

    tenant_id: int
    name: str
    country: str
    sender: str | None
    key_id: int


@dataclass(frozen=True, slots=True)
class Operator:
    """The operator that a request of `admin` acts for."""

    key_id: int


def _unauthenticated(detail: str) -> Problem:
    return Problem(401, "unauthenticated", detail, headers={"WWW-Authenticate": 'Bearer realm="dispatcher"'})


def _forbidden(scope: str) -> Problem:
    challenge = f'Bearer realm="dispatcher", error="insufficient_scope", scope="{scope}"'
    return Problem(
        403, "insufficient_scope", f"this key has not the scope {scope}", headers={"WWW-Authenticate": challenge}
    )


class Authenticator:
    """Finds out who holds a key. One per app; not for use from several loops."""

    def __init__(self, db: Database, monotonic_s: Callable[[], float]) -> None:
        self._db = db
        self._monotonic_s = monotonic_s
        self._cache: dict[bytes, tuple[float, keys.KeyHolder]] = {}

    async def tenant(self, request: web.Request, scope: str) -> Tenant:
        """The tenant whose key has `scope`. Raises 401 or 403 problems; DatabaseAway."""
        holder = await self._holder(request, scope)
        if holder.tenant_id is None:
            raise _forbidden(scope)
        return Tenant(holder.tenant_id, holder.tenant_name, holder.country, holder.sender, holder.key_id)

    async def operator(self, request: web.Request) -> Operator:
        """The operator whose key this is. Raises 401 or 403 problems; DatabaseAway."""
        holder = await self._holder(request, credentials.ADMIN_SCOPE)
        # A tenant's key is never an operator's, whatever scopes it was given.
        if holder.tenant_id is not None:
            raise _forbidden(credentials.ADMIN_SCOPE)
        return Operator(holder.key_id)

    async def _holder(self, request: web.Request, scope: str) -> keys.KeyHolder:
        kind, _, key = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer":
            raise _unauthenticated("send Authorization: Bearer and an API key")
        holder = await self._look_up(key.strip()) if credentials.is_key(key.strip()) else None
        if holder is None:
            raise _unauthenticated("the API key is not known, or it has ended")
        if scope not in holder.scopes:
            raise _forbidden(scope)
        return holder

    async def _look_up(self, key: str) -> keys.KeyHolder | None:
        key_hash = credentials.key_hash(key)
        now_s = self._monotonic_s()
        known = self._cache.get(key_hash)
        if known is not None and now_s < known[0]:
            return known[1]
        async with self._db.acquire() as conn:
            holder = await keys.holder_of(conn, key_hash)
        self._cache.pop(key_hash, None)
        if holder is None:
            return None
        if len(self._cache) >= CACHE_SIZE_MAX:
            # Insertion order is the order of ends: the first is the one with the least time left.
            del self._cache[next(iter(self._cache))]
        self._cache[key_hash] = (now_s + CACHE_TTL_S, holder)
        return holder
