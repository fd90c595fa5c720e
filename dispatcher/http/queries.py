"""Query strings: limits, cursors and choices, each checked; a bad one is a 422 that names it.

A cursor is opaque to clients: base64url of the place the next page starts after.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Sequence
from typing import Final, TypeVar

from aiohttp import web

from dispatcher.domain.contacts import FieldError
from dispatcher.domain.ids import Kind
from dispatcher.domain.ids import decode as decode_id
from dispatcher.http.problems import field_error, invalid, not_found

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 200
ID_MAX: Final = 2**63 - 1

_CURSOR_CHARS_MAX = 200

T = TypeVar("T")


def known(request: web.Request, *names: str) -> None:
    """Refuse parameters that this list does not know: a misspelt filter must not be a list of everything."""
    errors = [
        FieldError(name, "unknown_parameter", "there is no such parameter")
        for name in dict.fromkeys(request.query)
        if name not in names
    ]
    if errors:
        raise invalid(errors)


def limit(request: web.Request) -> int:
    """`?limit=`, 1 to 200, 50 when it is not given."""
    text = request.query.get("limit")
    if text is None:
        return LIMIT_DEFAULT
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= LIMIT_MAX):
        raise field_error("limit", "out_of_range", f"limit is a number from 1 to {LIMIT_MAX}")
    return int(text)


def cursor_parts(request: web.Request, parts: int) -> Sequence[str] | None:
    """The parts of `?cursor=`; None when there is no cursor."""
    text = request.query.get("cursor")
    if text is None:
        return None
    if len(text) <= _CURSOR_CHARS_MAX:
        try:
            found = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii").split("|")
        except (binascii.Error, ValueError):
            found = []
        if len(found) == parts:
            return found
    raise bad_cursor()


def cursor(request: web.Request, default: int) -> int:
    """`?cursor=` of a list that is ordered by one number; `default` when there is none."""
    found = cursor_parts(request, 1)
    if found is None:
        return default
    text = found[0]
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= ID_MAX):
        raise bad_cursor()
    return int(text)


def bad_cursor() -> Exception:
    """422: not a cursor that this list gave."""
    return field_error("cursor", "invalid_cursor", "use the next_cursor of the page before, as it was given")


def make_cursor(*parts: object) -> str:
    """The text of a cursor."""
    return urlsafe_b64encode("|".join(map(str, parts)).encode()).decode().rstrip("=")


def cut(rows: Sequence[T], size: int) -> tuple[Sequence[T], bool]:
    """The page of `size` out of rows that were asked for with one more, and whether there is another page."""
    return rows[:size], len(rows) > size


def choice(request: web.Request, name: str, choices: Collection[str]) -> str | None:
    """A parameter that is one of `choices`; None when it is not given."""
    text = request.query.get(name)
    if text is None or text in choices:
        return text
    raise field_error(name, "unknown_value", f"{name} is one of " + ", ".join(choices))


def path_id(request: web.Request, kind: Kind, what: str, name: str = "id") -> int:
    """The number of an id in the path; 404 for a text that is no id of this kind."""
    number = decode_id(kind, request.match_info[name])
    if number is None:
        raise not_found(what)
    return number
