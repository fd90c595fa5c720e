"""What `POST campaigns` and `PATCH campaigns/{id}` may say, checked field by field into what is stored."""

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from dispatcher.domain import audience as audiences
from dispatcher.domain import senders, templates
from dispatcher.domain.contacts import FieldError
from dispatcher.http.bodies import Checks

NAME_CHARS_MAX: Final = 200
LINK_CHARS_MAX: Final = 2_000
RATE_PER_S_MAX: Final = 100_000

UNSET = msgspec.UNSET
Unset = msgspec.UnsetType

# Parts of the contract that are not there yet: named, so that they are refused and not forgotten.
_NOT_YET: Final = {
    "template_id": "templates are not available yet: send the text",
    "quiet_hours": "quiet hours are not available yet",
}


class Filter(msgspec.Struct, forbid_unknown_fields=True):
    """Which contacts: all conditions must hold; ages in years, both ends included; any of the tags."""

    gender: str | None = None
    age_min: int | None = None
    age_max: int | None = None
    tags: list[str] | None = None


class Audience(msgspec.Struct, forbid_unknown_fields=True):
    """An audience other than "all"."""

    list_id: str | None = None
    filter: Filter | None = None


class NewCampaign(msgspec.Struct):
    """The body of `POST campaigns`."""

    name: str
    audience: str | Audience
    text: str | Unset = UNSET
    template_id: str | None | Unset = UNSET
    sender: str | None | Unset = UNSET
    provider: str | None | Unset = UNSET
    link_url: str | None | Unset = UNSET
    quiet_hours: Any = UNSET
    rate_per_s: int | None | Unset = UNSET


class CampaignChanges(msgspec.Struct):
    """The body of `PATCH campaigns/{id}`: what is not there stays as it is."""

    name: str | Unset = UNSET
    audience: str | Audience | Unset = UNSET
    text: str | Unset = UNSET
    template_id: str | None | Unset = UNSET
    sender: str | None | Unset = UNSET
    provider: str | None | Unset = UNSET
    link_url: str | None | Unset = UNSET
    quiet_hours: Any = UNSET
    rate_per_s: int | None | Unset = UNSET


class Defaults(msgspec.Struct, frozen=True):
    """What stands in for a sender or provider that is not named, and which providers there are."""

    sender: str | None
    provider: str | None
    providers: frozenset[str]


def columns(body: NewCampaign | CampaignChanges, defaults: Defaults) -> dict[str, Any]:
    """The columns that a body gives, in their stored form. Raises a problem that names every field that is wrong."""
    checks = Checks()
    given = {name: getattr(body, name) for name in body.__struct_fields__ if getattr(body, name) is not UNSET}
    for name, message in _NOT_YET.items():
        if given.pop(name, None) is not None:
            checks.add(name, "not_available", message)
    found: dict[str, Any] = {}
    for name, value in given.items():
        found[name] = checks.take(_CHECKS[name](value, defaults))
    if isinstance(body, NewCampaign):
        if "text" not in given:
            checks.add("text", "required", "this field is required")
        for name, check in (("sender", _sender), ("provider", _provider)):
            if name not in given:
                found[name] = checks.take(check(None, defaults))
    checks.done()
    return found


def _name(value: str, _: Defaults) -> str | FieldError:
    name = value.strip()
    if not 1 <= len(name) <= NAME_CHARS_MAX:
        return FieldError("name", "out_of_range", f"a name has 1 to {NAME_CHARS_MAX} characters")
    if templates.find_unclean(name):
        return FieldError("name", "control_character", "a name has no control characters")
    return name


def _text(value: str, _: Defaults) -> str | FieldError:
    template = templates.parse(value)
    if isinstance(template, templates.TemplateError):
        return FieldError("text", template.code, template.message, template.position, template.tag)
    if not value.strip():
        return FieldError("text", "required", "the text is empty")
    return value


def _sender(value: str | None, defaults: Defaults) -> str | FieldError:
    chosen = value if value is not None else defaults.sender
    if chosen is None:
        return FieldError("sender", "required", "the store has no default sender: name one")
    return check_sender(chosen)


def check_sender(value: str) -> str | FieldError:
    """A sender id that the networks take (`domain/senders.py`)."""
    found = senders.parse(value)
    return FieldError("sender", found.code, found.message) if isinstance(found, senders.SenderError) else found.text


def _provider(value: str | None, defaults: Defaults) -> str | FieldError:
    chosen = value if value is not None else defaults.provider
    if chosen is None:
        return FieldError("provider", "required", "there is no default provider: name one")
    if chosen not in defaults.providers:
        return FieldError("provider", "unknown_provider", "there is no such provider")
    return chosen


def _link_url(value: str | None, _defaults: Defaults) -> str | FieldError | None:
    if value is None:
        return None
    error = FieldError("link_url", "invalid_url", "write a web address that starts with http:// or https://")
    if len(value) > LINK_CHARS_MAX or not value.isprintable() or " " in value or "\\" in value:
        return error
    try:
        parts = urlsplit(value)
        # `port` is read for its check of the range.
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return error
    return value if parts.scheme in ("http", "https") and named else error


def _rate(value: int | None, _: Defaults) -> int | FieldError | None:
    if value is None or 1 <= value <= RATE_PER_S_MAX:
        return value
    return FieldError("rate_per_s", "out_of_range", f"a rate is 1 to {RATE_PER_S_MAX} messages a second")


def _audience(value: str | Audience, _: Defaults) -> Mapping[str, Any] | FieldError | list[FieldError]:
    if isinstance(value, str):
        if value == "all":
            return audiences.ALL
        return FieldError("audience", "unknown_value", 'an audience is "all" or {"filter": {...}}')
    if value.list_id is not None:
        return FieldError("audience.list_id", "not_available", "lists are not available yet: use a filter")
    if value.filter is None:
        return FieldError("audience", "required", 'an audience is "all" or {"filter": {...}}')
    f = value.filter
    found = audiences.canonical_filter(gender=f.gender, age_min=f.age_min, age_max=f.age_max, tags=f.tags)
    if isinstance(found, list):
        return [FieldError(f"audience.{error.field}", error.code, error.message) for error in found]
    return found


_CHECKS: Final[Mapping[str, Callable[[Any, Defaults], Any]]] = {
    "name": _name,
    "text": _text,
    "sender": _sender,
    "provider": _provider,
    "link_url": _link_url,
    "rate_per_s": _rate,
    "audience": _audience,
}
