"""Reading the settings: environment over secret files over the TOML file over defaults. The one reader of the environment.

Anything wrong is a `ConfigError` that names the setting, what is wrong with it, and what to do.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from dispatcher.config.secret import Secret
from dispatcher.config.settings import Provider, Settings

T = TypeVar("T")

PREFIX = "DISPATCHER_"
SECRET_KEY_CHARS_MIN = 32
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_AT = re.compile(r"^(?P<problem>.*?)(?: - at `(?P<path>\$?[^`]*)`)?$", re.DOTALL)
# Settings that hold several values: written with commas in the environment.
_LISTS = frozenset({("http", "trusted_proxies"), ("not_taken_statuses",)})


class ConfigError(Exception):
    """The settings cannot be used. `setting` is its environment name."""

    def __init__(self, setting: str, problem: str, remedy: str) -> None:
        super().__init__(f"{setting}: {problem}; {remedy}")
        self.setting = setting
        self.problem = problem
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and where each that was given came from ('environment', 'file', 'secret file', 'credential')."""

    settings: Settings
    sources: Mapping[str, str]


def load(
    environ: Mapping[str, str] | None = None, file: Path | None = None, credentials_dir: Path | None = None
) -> Loaded:
    """Read the settings; the process's environment when `environ` is not given. Raises ConfigError."""
    environ = os.environ if environ is None else environ
    if credentials_dir is None and environ.get("CREDENTIALS_DIRECTORY"):
        credentials_dir = Path(environ["CREDENTIALS_DIRECTORY"])
    tree: dict[str, Any] = {}
    sources: dict[str, str] = {}
    if file is not None:
        _merge_file(tree, sources, file)
    if credentials_dir is not None:
        _merge_credentials(tree, sources, credentials_dir)
    _merge_environment(tree, sources, environ)
    return Loaded(check(_convert(tree)), sources)


def check(settings: Settings) -> Settings:
    """What no single setting says by itself. Raises ConfigError; answers the settings."""
    for name in settings.providers:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{PREFIX}PROVIDERS__{name.upper()}__KIND", "a provider's name is letters, digits and _",
                              "rename it")
    default = settings.default_provider
    if default is not None and default not in settings.providers:
        raise ConfigError(
            f"{PREFIX}DEFAULT_PROVIDER", f"there is no provider {default!r}", f"name one of {sorted(settings.providers)}"
        )
    if not settings.public_base_url.startswith(("http://", "https://")):
        raise ConfigError(f"{PREFIX}PUBLIC_BASE_URL", "it is no http(s) address", "write https://your.host")
    return settings


def require_for_run(settings: Settings) -> None:
    """What serving needs beyond what the other commands do. Raises ConfigError."""
    name = f"{PREFIX}SECRET_KEY"
    if settings.secret_key is None:
        raise ConfigError(name, "it is not set", "set it to 32 or more random characters (openssl rand -base64 48)")
    if len(settings.secret_key.reveal()) < SECRET_KEY_CHARS_MIN:
        raise ConfigError(name, f"it has fewer than {SECRET_KEY_CHARS_MIN} characters", "use: openssl rand -base64 48")
    if not settings.providers:
        raise ConfigError(
            f"{PREFIX}PROVIDERS__MITTO__KIND", "no provider is configured", "set KIND, BASE_URL and API_KEY of one"
        )


# ---------------------------------------------------------------- the three sources


def _merge_file(tree: dict[str, Any], sources: dict[str, str], file: Path) -> None:
    try:
        with file.open("rb") as opened:
            found = tomllib.load(opened)
    except OSError as error:
        raise ConfigError("--config", f"{file} cannot be read: {error.strerror}", "name a TOML file that exists") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("--config", f"{file} is no TOML: {error}", "correct it") from error
    _merge_level(tree, sources, found, ())


def _merge_level(tree: dict[str, Any], sources: dict[str, str], found: Mapping[str, Any], path: tuple[str, ...]) -> None:
    for key, value in found.items():
        place = (*path, *key.lower().removeprefix(PREFIX.lower()).split("__"))
        if isinstance(value, dict):
            _merge_level(tree, sources, value, place)
        else:
            _set(tree, place, value)
            sources[_variable(place)] = "file"


def _merge_credentials(tree: dict[str, Any], sources: dict[str, str], directory: Path) -> None:
    """systemd's LoadCredential: the file's name is the setting's, e.g. `secret_key` or `providers__mitto__api_key`."""
    if not directory.is_dir():
        raise ConfigError("CREDENTIALS_DIRECTORY", f"{directory} is no directory", "unset it, or let systemd set it")
    for file in sorted(directory.iterdir()):
        place = tuple(file.name.lower().removeprefix(PREFIX.lower()).split("__"))
        _set(tree, place, _read_secret(_variable(place), file))
        sources[_variable(place)] = "credential"


def _merge_environment(tree: dict[str, Any], sources: dict[str, str], environ: Mapping[str, str]) -> None:
    for name in sorted(environ):
        if not name.startswith(PREFIX):
            continue
        place = tuple(name.removeprefix(PREFIX).lower().split("__"))
        value: Any = environ[name]
        source = "environment"
        if place[-1].endswith("_file"):
            place = (*place[:-1], place[-1].removesuffix("_file"))
            value, source = _read_secret(name, Path(value)), "secret file"
        if place in _LISTS or place[-1:] in _LISTS:
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        _set(tree, place, value)
        sources[_variable(place)] = source


def _read_secret(name: str, file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(name, f"{file} cannot be read: {error}", "name a readable UTF-8 file") from error


def _set(tree: dict[str, Any], place: tuple[str, ...], value: object) -> None:
    for key in place[:-1]:
        below = tree.setdefault(key, {})
        if not isinstance(below, dict):
            raise ConfigError(_variable(place), "a setting above it has a value already", "give one of the two")
        tree = below
    tree[place[-1]] = value


# ---------------------------------------------------------------- from text to types


def _convert(tree: dict[str, Any]) -> Settings:
    found = tree.pop("providers", {})
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise ConfigError(f"{PREFIX}PROVIDERS", "it is no group of providers", f"write {PREFIX}PROVIDERS__<NAME>__KIND")
    # One by one: the error then knows the provider's name.
    providers = {name: _convert_one(one, Provider, ("providers", name)) for name, one in found.items()}
    return msgspec.structs.replace(_convert_one(tree, Settings, ()), providers=providers)


def _convert_one(tree: dict[str, Any], type_: type[T], above: tuple[str, ...]) -> T:
    try:
        return msgspec.convert(tree, type_, strict=False, dec_hook=_hook)
    except msgspec.ValidationError as error:
        raise _explained(str(error), above) from None  # its cause would show the value


def _hook(type_: type, value: object) -> object:
    if type_ is Secret and isinstance(value, str):
        return Secret(value)
    msg = f"Expected `{type_.__name__.lower()}`"
    raise ValueError(msg)


def _explained(message: str, above: tuple[str, ...]) -> ConfigError:
    """A ConfigError from msgspec's words, which end in the path: "... - at `$.http.port`"."""
    match = _AT.match(message)
    problem, path = (match["problem"], match["path"] or "$") if match else (message, "$")
    place = (*above, *(part for part in path.removeprefix("$").split(".") if part))
    unknown = re.search(r"unknown field `([^`]+)`", problem)
    if unknown:
        place = (*place, unknown[1])
        near = difflib.get_close_matches(_variable(place), _known(), n=1)
        remedy = f"did you mean {near[0]}?" if near else "remove it; `dispatcher config show` lists the settings"
        return ConfigError(_variable(place), "there is no such setting", remedy)
    missing = re.search(r"missing required field `([^`]+)`", problem)
    if missing:
        return ConfigError(_variable((*place, missing[1])), "it is not set", "set it")
    return ConfigError(_variable(place), problem[0].lower() + problem[1:], "correct the value")


def _variable(place: tuple[str, ...]) -> str:
    return PREFIX + "__".join(place).upper()


def _known(type_: type = Settings, above: tuple[str, ...] = ()) -> list[str]:
    names: list[str] = []
    for field in msgspec.structs.fields(type_):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            names += _known(field.type, (*above, field.name))
        elif field.name == "providers":
            names += _known(Provider, (*above, "providers", "mitto"))
        else:
            names.append(_variable((*above, field.name)))
    return names


# ---------------------------------------------------------------- for `config show`


def describe(loaded: Loaded) -> list[tuple[str, str, str]]:
    """(environment name, value with secrets masked, source) of every setting, in order."""
    rows: list[tuple[str, str, str]] = []

    def walk(value: Any, place: tuple[str, ...]) -> None:
        if isinstance(value, msgspec.Struct):
            for field in value.__struct_fields__:
                walk(getattr(value, field), (*place, field))
        elif isinstance(value, dict):
            for name, below in value.items():
                walk(below, (*place, name))
        else:
            shown = "" if value is None else "****" if isinstance(value, Secret) else _words(value)
            rows.append((_variable(place), shown, loaded.sources.get(_variable(place), "default")))

    walk(loaded.settings, ())
    return rows


def _words(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
