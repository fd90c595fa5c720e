"""The outermost layer of every request: exceptions become problems, and every answer gets its security headers.

It is the only app-wide middleware, and adds one call and a few header entries: the webhooks' rate pays for nothing else.
"""

from collections.abc import Awaitable, Callable
from uuid import uuid4

import structlog
from aiohttp import web

from dispatcher.actors.runtime import ActorUnavailable
from dispatcher.http.answers import SECURITY_HEADERS
from dispatcher.http.problems import Problem, unavailable
from dispatcher.storage.errors import DatabaseAway

log = structlog.get_logger(__name__)

_HEADERS = tuple(SECURITY_HEADERS.items())
_LAST = _HEADERS[-1][0]
_WORDS = {
    404: ("not_found", "there is nothing at this path"),
    405: ("method_not_allowed", "this path does not take this method"),
    413: ("too_large", "the request's body is larger than is accepted here"),
}


@web.middleware
async def edge(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer whatever happens; only a cancellation goes through."""
    try:
        response = await handler(request)
    except Problem as problem:
        response = problem.response()
    except DatabaseAway as error:
        log.warning("http.database_away", path=_path(request), error=str(error))
        response = unavailable("database_away", "the database cannot be reached; try again").response()
    except ActorUnavailable as error:
        log.warning("http.actor_unavailable", path=_path(request), error=str(error))
        response = unavailable("busy", "a part of the service is not ready; try again").response()
    except web.HTTPException as error:
        response = _translate(error)
    except ConnectionError as error:
        # The client left while its body was read: nobody reads this answer, but the request ends in order.
        log.info("http.client_left", path=_path(request), error=str(error))
        response = Problem(400, "incomplete_body", "the connection ended inside the body").response()
    except Exception as error:  # noqa: BLE001 - a bug: logged in full, and answered without a word of it
        response = _bug(request, error)
    headers = response.headers
    if _LAST in headers:  # the answer came with all of them
        return response
    for name, value in _HEADERS:
        headers.setdefault(name, value)
    return response


def _translate(error: web.HTTPException) -> web.StreamResponse:
    """aiohttp's own answers (no such path, method, body too large) as problems; redirects pass."""
    if error.status < 400:
        return error
    code, detail = _WORDS.get(error.status, ("bad_request", error.reason))
    kept = {name: error.headers[name] for name in ("Allow", "Retry-After") if name in error.headers}
    return Problem(error.status, code, detail, headers=kept).response()


def _bug(request: web.Request, error: Exception) -> web.Response:
    error_id = uuid4().hex
    log.error("http.bug", error_id=error_id, method=request.method, path=_path(request), exc_info=error)
    detail = "this is our fault; tell us the id of this error"
    return Problem(500, "internal_error", detail, id=error_id).response()


def _path(request: web.Request) -> str:
    """The path's pattern, not the path: that may hold a phone number or a link code."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "(no route)"
