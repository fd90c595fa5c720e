"""The shape of the settings, read from their types: which names exist, and what each may be, in words for a person.

A place is the path of a setting in lower case: `("providers", "mitto", "rate_per_s")`. Nothing is read or checked here.
"""

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import inspect

from dispatcher.config.secret import Secret
from dispatcher.config.settings import Settings

PREFIX = "DISPATCHER_"
Place = tuple[str, ...]

_ROOT = inspect.type_info(Settings)
# Names for the suggestions, where no account has been named yet.
_EXAMPLE_PROVIDER = "mitto"


def variable(place: Place) -> str:
    """A setting's name in the environment."""
    return PREFIX + "__".join(place).upper()


def place_of(name: str) -> Place:
    """The place that a name means, in whatever case, with the prefix or without."""
    return tuple(name.lower().removeprefix(PREFIX.lower()).split("__"))


def is_setting(place: Place) -> bool:
    """Whether there is such a setting (a group is none)."""
    found = _type_at(place)
    return found is not None and not isinstance(found, inspect.StructType | inspect.DictType)


def is_list(place: Place) -> bool:
    """Whether it holds several values: with commas in the environment, an array in the file."""
    return isinstance(_type_at(place), inspect.VarTupleType)


def is_choice(place: Place) -> bool:
    """Whether it is one of a few words, which may come in any case."""
    return isinstance(_type_at(place), inspect.LiteralType)


def is_secret(place: Place) -> bool:
    """Whether its value is never to be shown."""
    found = _type_at(place)
    return isinstance(found, inspect.CustomType) and found.cls is Secret


def allowed(place: Place) -> str:
    """What the setting may be, to follow the word "use": "a number above 0, at most 60"."""
    found = _type_at(place)
    return "a value that it may have" if found is None else _words(found)


def nearest(place: Place, provider_names: Iterable[str]) -> str | None:
    """The setting whose name is most like `place`, in the environment's spelling; None when nothing is like it."""
    names = {"__".join(one): variable(one) for one in places((*provider_names, _EXAMPLE_PROVIDER))}
    found = difflib.get_close_matches("__".join(place), names, n=1)
    return names[found[0]] if found else None


def places(provider_names: Iterable[str]) -> list[Place]:
    """Every setting, with those of the provider accounts that are named."""
    return list(_walk(_ROOT, (), tuple(dict.fromkeys(provider_names))))


def _walk(type_: inspect.Type, above: Place, provider_names: tuple[str, ...]) -> Iterator[Place]:
    if isinstance(type_, inspect.StructType):
        for field in type_.fields:
            yield from _walk(_given(field.type), (*above, field.name), provider_names)
    elif isinstance(type_, inspect.DictType):
        for name in provider_names:
            yield from _walk(_given(type_.value_type), (*above, name), provider_names)
    else:
        yield above


def _type_at(place: Place) -> inspect.Type | None:
    found: inspect.Type | None = _ROOT
    for name in place:
        if isinstance(found, inspect.StructType):
            found = next((_given(field.type) for field in found.fields if field.name == name), None)
        elif isinstance(found, inspect.DictType):
            found = _given(found.value_type)
        else:
            return None
    return found


def _given(type_: inspect.Type) -> inspect.Type:
    """The type of a value that is there: `X` of `X | None`, without its metadata."""
    if isinstance(type_, inspect.Metadata):
        return _given(type_.type)
    if isinstance(type_, inspect.UnionType):
        return next(_given(one) for one in type_.types if not isinstance(one, inspect.NoneType))
    return type_


def _words(type_: inspect.Type) -> str:
    if isinstance(type_, inspect.LiteralType):
        return " or ".join(sorted(map(str, type_.values)))
    if isinstance(type_, inspect.VarTupleType):
        return f"{_words(_given(type_.item_type))}, several with commas between them"
    if isinstance(type_, inspect.IntType):
        return "a whole number" + _range(type_)
    if isinstance(type_, inspect.FloatType):
        return "a number" + _range(type_)
    if isinstance(type_, inspect.StrType | inspect.CustomType):
        return "text"
    return "a group of settings"


def _range(type_: Any) -> str:
    low = f" of {type_.ge} or more" if type_.ge is not None else f" above {type_.gt}" if type_.gt is not None else ""
    high = f", at most {type_.le}" if type_.le is not None else ""
    return low + high


def fields_of(value: msgspec.Struct) -> Iterator[tuple[str, Any]]:
    """The fields of a group of settings and what they hold, in the order of their definition."""
    for name in value.__struct_fields__:
        yield name, getattr(value, name)
