"""From raw values to `Settings`, or to the error that says which one is wrong. Reads the environment when not given one.

Anything wrong is a `ConfigError` that names the setting, what is wrong with it, and what to do. No secret is ever in it.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from dispatcher.config import shape
from dispatcher.config.checking import check
from dispatcher.config.errors import ConfigError
from dispatcher.config.secret import Secret
from dispatcher.config.settings import Provider, Settings
from dispatcher.config.shape import Place, variable
from dispatcher.config.sources import gather, unknown

T = TypeVar("T")

# msgspec's words: "Expected `int`, got `str` - at `$.http.port`"; an item of a list is `$.x[0]` or `$.x[...]`.
_AT = re.compile(r"^(?P<problem>.*?)(?: - at `\$\.?(?P<path>[^`\[]*)[^`]*`)?$", re.DOTALL)
_FIELD = re.compile(r"(?P<what>unknown|missing required) field `(?P<name>[^`]+)`")


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and where each that was given came from ('environment', 'file', 'secret file', 'credential')."""

    settings: Settings
    sources: Mapping[str, str]


def load(
    environ: Mapping[str, str] | None = None, file: Path | None = None, credentials_dir: Path | None = None
) -> Loaded:
    """Read the settings; the process's environment when `environ` is not given. Raises ConfigError.

    `credentials_dir` is what CREDENTIALS_DIRECTORY says (systemd.exec(5)) when it is not given.
    """
    environ = os.environ if environ is None else environ
    if credentials_dir is None and environ.get("CREDENTIALS_DIRECTORY"):
        credentials_dir = Path(environ["CREDENTIALS_DIRECTORY"])
    given = gather(environ, file, credentials_dir)
    return Loaded(check(_convert(given.tree)), given.sources)


def _convert(tree: dict[str, Any]) -> Settings:
    found = tree.pop("providers", {})
    place: Place = ("providers",)
    if isinstance(found, dict):
        place = next((("providers", name) for name, one in found.items() if not isinstance(one, dict)), ())
    if place:
        name = f"{shape.PREFIX}PROVIDERS__<NAME>__KIND"
        raise ConfigError(variable(place), "it names no setting of an account", f"write {name}")
    # One by one: an error then knows the account's name.
    providers = {name: _convert_one(one, Provider, ("providers", name), found) for name, one in found.items()}
    settings = _convert_one(tree, Settings, (), found)
    default = settings.default_provider
    return msgspec.structs.replace(
        settings,
        providers=providers,
        default_provider=None if default is None else default.lower(),  # as the names of accounts are
    )


def _convert_one(tree: dict[str, Any], type_: type[T], above: Place, provider_names: Mapping[str, Any]) -> T:
    try:
        return msgspec.convert(tree, type_, strict=False, dec_hook=_hook)
    except msgspec.ValidationError as error:
        raise _explained(str(error), above, provider_names) from None  # its cause would show the value


def _hook(type_: type, value: object) -> object:
    if type_ is Secret and isinstance(value, str):
        return Secret(value)
    msg = f"Expected text, got `{type(value).__name__}`"
    raise ValueError(msg)


def _explained(message: str, above: Place, provider_names: Mapping[str, Any]) -> ConfigError:
    """A ConfigError from msgspec's words."""
    match = _AT.match(message)
    problem, path = (match["problem"], match["path"] or "") if match else (message, "")
    place = (*above, *(part for part in path.split(".") if part))
    field = _FIELD.search(problem)
    if field is None:
        words = "it is none of those that it may be" if shape.is_choice(place) else problem[0].lower() + problem[1:]
        return ConfigError(variable(place), words, f"use {shape.allowed(place)}")
    place = (*place, field["name"])
    if field["what"] == "unknown":
        return unknown(place, provider_names)
    return ConfigError(variable(place), "it is not set", f"set it to {shape.allowed(place)}")
