"""The settings as a person may see them: for `config show`. Secrets are masked, whatever they are."""

from collections.abc import Iterator
from typing import Any

import msgspec

from dispatcher.config.loading import Loaded
from dispatcher.config.secret import MASK, Secret
from dispatcher.config.shape import Place, fields_of, variable


def describe(loaded: Loaded) -> list[tuple[str, str, str]]:
    """(environment name, value, source) of every setting, in order; source is 'default' for what was not given."""
    return [
        (variable(place), _shown(value), loaded.sources.get(variable(place), "default"))
        for place, value in _leaves(loaded.settings, ())
    ]


def _leaves(value: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    if isinstance(value, msgspec.Struct):
        for name, below in fields_of(value):
            yield from _leaves(below, (*place, name))
    elif isinstance(value, dict):
        for name, below in value.items():
            yield from _leaves(below, (*place, name))
    else:
        yield place, value


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Secret):
        return MASK
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
