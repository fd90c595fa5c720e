"""Errors as RFC 9457 problems: one exception that every handler may raise, and the answer it becomes.

`code` is stable and meant for programs; `title` and `detail` are for people. Nothing of a stack ever leaves the process.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import web

from dispatcher.domain.contacts import FieldError

CONTENT_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 5


class Problem(Exception):
    """An answer other than success. `errors`: what is wrong with which field."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors
        self.headers = headers
        self.members = members

    def body(self) -> bytes:
        """The problem as JSON (RFC 9457 section 3), with the extension members code and errors."""
        content: dict[str, Any] = {
            "type": f"urn:dispatcher:problem:{self.code}",
            "code": self.code,
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            **self.members,
        }
        if self.errors:
            content["errors"] = [_shown(error) for error in self.errors]
        return msgspec.json.encode(content)

    def response(self) -> web.Response:
        """The answer."""
        return web.Response(status=self.status, body=self.body(), content_type=CONTENT_TYPE, headers=self.headers)


def _shown(error: FieldError) -> dict[str, Any]:
    where = {"position": error.position, "tag": error.tag}
    shown = {"field": error.field, "code": error.code, "message": error.message}
    return shown | {name: value for name, value in where.items() if value is not None}


def invalid(errors: Sequence[FieldError]) -> Problem:
    """422: fields of a request are wrong; each is named."""
    count = len(errors)
    detail = "one field is not valid" if count == 1 else f"{count} fields are not valid"
    return Problem(422, "validation_failed", detail, errors=errors)


def field_error(field: str, code: str, message: str) -> Problem:
    """422 about a single field."""
    return invalid([FieldError(field, code, message)])


def not_found(what: str) -> Problem:
    """404: no such thing here (or it is another tenant's: the same answer)."""
    return Problem(404, "not_found", f"there is no such {what}")


def unavailable(code: str, detail: str, retry_after_s: int = RETRY_AFTER_S) -> Problem:
    """503: not now; the same request may succeed after `retry_after_s` seconds."""
    return Problem(503, code, detail, headers={"Retry-After": str(retry_after_s)})
