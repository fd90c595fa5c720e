"""`Idempotency-Key`: the same request twice takes effect once, and is answered the same.

The key is reserved before the effect. The same key with another body is a 422; while the first request runs, a 409. Where
the answer commits together with the effect an interrupted request may be repeated; where it cannot (a message that may
have left), the key stays reserved, so that a crash in between can never send twice.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from aiohttp import web

from dispatcher.http.answers import json_bytes
from dispatcher.http.problems import CONTENT_TYPE, Problem
from dispatcher.http.routing import Call
from dispatcher.storage import idempotency
from dispatcher.storage.errors import DatabaseAway
from dispatcher.storage.pool import Database

HEADER = "Idempotency-Key"

_is_key = re.compile(r"[\x21-\x7e]{1,255}").fullmatch


@dataclass(frozen=True, slots=True)
class Reservation:
    """A reserved key; `attempt` None: the request came without one and nothing is stored."""

    db: Database
    tenant_id: int
    key: str
    attempt: int | None

    async def finish(self, conn: Any, status: int, body: bytes) -> None:
        """Keep the answer, in the transaction of the effect where there is one."""
        if self.attempt is not None:
            await idempotency.finish(conn, self.tenant_id, self.key, self.attempt, status, body)

    async def release(self) -> None:
        """The request certainly had no effect: the key may be used again."""
        if self.attempt is not None:
            async with self.db.acquire() as conn:
                await idempotency.release(conn, self.tenant_id, self.key, self.attempt)


async def reserve(call: Call, body: bytes, *, take_over: bool) -> Reservation | web.Response:
    """Reserve the request's key, or its stored answer. Raises problems: 400 for a bad key, 409 while it runs, 422 for a
    key of another request. `take_over`: see `storage/idempotency.py`."""
    db, tenant_id = call.services.db, call.tenant.tenant_id
    key = call.request.headers.get(HEADER)
    if key is None:
        return Reservation(db, tenant_id, "", None)
    if not _is_key(key):
        raise Problem(400, "bad_idempotency_key", "an Idempotency-Key is 1 to 255 visible ASCII characters")
    # The path itself, not its pattern: the key of one campaign's send is not that of another's.
    route = f"{call.request.method} {call.request.path}"
    async with db.acquire() as conn:
        found = await idempotency.reserve(conn, tenant_id, key, route, sha256(body).digest(), take_over=take_over)
    match found:
        case idempotency.Reserved(attempt):
            return Reservation(db, tenant_id, key, attempt)
        case idempotency.Stored(status, stored):
            response = json_bytes(stored, status)
            if status >= 400:
                response.content_type = CONTENT_TYPE
            response.headers["Idempotency-Replayed"] = "true"
            return response
        case idempotency.OtherRequest():
            raise Problem(422, "idempotency_key_reused", "this Idempotency-Key belongs to a different request")
        case idempotency.Running(abandoned):
            raise _conflict(abandoned)


def _conflict(abandoned: bool) -> Problem:  # noqa: FBT001 - the one fact that it turns into words
    if abandoned:
        detail = (
            "a request with this Idempotency-Key was interrupted and its outcome is not known: look whether it took "
            "effect, and use a new key only if it did not"
        )
        return Problem(409, "idempotency_outcome_unknown", detail)
    detail = "a request with this Idempotency-Key is running"
    return Problem(409, "idempotency_running", detail, headers={"Retry-After": "1"})


async def repeatable(
    call: Call, body: bytes, effect: Callable[[Reservation], Awaitable[tuple[int, bytes]]]
) -> web.Response:
    """Run an effect whose answer commits with it (`effect` calls `finish` in its transaction); whatever it raises, the key
    is free again unless it did commit."""
    reserved = await reserve(call, body, take_over=True)
    if isinstance(reserved, web.Response):
        return reserved
    try:
        status, answer = await effect(reserved)
    except DatabaseAway:
        # Nothing can be released now; after a minute the same request takes the reservation over.
        raise
    except idempotency.Overtaken as error:
        raise _conflict(abandoned=False) from error
    except BaseException:
        await reserved.release()
        raise
    return json_bytes(answer, status)
