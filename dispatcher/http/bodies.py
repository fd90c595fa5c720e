"""JSON bodies -> typed values, with every field that is wrong named at once.

msgspec stops at the first error, so the object's fields are converted one by one: a form shows all its errors together.
"""

import asyncio
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from dispatcher.domain.contacts import FieldError
from dispatcher.http.problems import Problem, invalid
from dispatcher.http.services import SERVICES

T = TypeVar("T", bound=msgspec.Struct)

_UNSAID = "the body is not JSON: "


class Checks:
    """Errors that are collected while a body is checked, field by field."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []

    def add(self, field: str, code: str, message: str) -> None:
        """Note an error."""
        self.errors.append(FieldError(field, code, message))

    def take(self, value: Any) -> Any:
        """`value`, or None after noting it when it is an error or a list of errors."""
        errors = value if isinstance(value, list) else [value]
        if errors and all(isinstance(error, FieldError) for error in errors):
            self.errors += errors
            return None
        return value

    def done(self) -> None:
        """Raises a 422 problem when there was any error."""
        if self.errors:
            raise invalid(self.errors)


async def read_body(request: web.Request) -> bytes:
    """The request's body. Raises problems: 413 for one over the limit, 408 for one that does not come in time."""
    if request.content.is_eof():  # it came with the headers
        return await request.read()
    try:
        async with asyncio.timeout(request.app[SERVICES].patience.body_s):
            return await request.read()
    except TimeoutError as error:
        raise too_slow(request) from error


def too_slow(request: web.Request) -> Problem:
    """408 (RFC 9110 section 15.5.9) for a body that did not come in time, and count it."""
    request.app[SERVICES].metrics.http_cut("body").inc()
    return Problem(408, "too_slow", "the body did not come in time", headers={"Connection": "close"})


async def read_json(request: web.Request, type_: type[T]) -> T:
    """The request's JSON object as a `type_`.

    Raises problems: 415 for another content type, 413 for a body over the limit, 408 for one that is too slow, 400 for no JSON object, 422 for fields.
    """
    if request.content_type != "application/json":
        raise Problem(415, "unsupported_media_type", "send application/json")
    return decode(await read_body(request), type_)


def decode(body: bytes, type_: type[T]) -> T:
    """A JSON object as a `type_`; problems as in `read_json`."""
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "malformed_json", f"{_UNSAID}{error}") from error
    if not isinstance(content, dict):
        raise Problem(400, "malformed_json", "the body is not a JSON object")
    values: dict[str, Any] = {}
    fields = _fields(type_)
    unknown = [name for name in content if name not in fields]
    errors = [FieldError(name, "unknown_field", "there is no such field") for name in unknown]
    for name, field in fields.items():
        if name in content:
            converted = _convert(name, content[name], field.type)
            if isinstance(converted, FieldError):
                errors.append(converted)
            else:
                values[field.name] = converted
        elif field.required:
            errors.append(FieldError(name, "required", "this field is required"))
    if errors:
        raise invalid(errors)
    return type_(**values)


@cache
def _fields(type_: type) -> Mapping[str, msgspec.structs.FieldInfo]:
    """The fields of a body by their JSON names; msgspec works them out anew at each call."""
    return {field.encode_name: field for field in msgspec.structs.fields(type_)}


def _convert(name: str, value: Any, type_: Any) -> Any:
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        where = name + path.rstrip("`") if path else name
        code = "unknown_field" if "unknown field" in message else "wrong_type"
        return FieldError(where, code, message[:1].lower() + message[1:])
