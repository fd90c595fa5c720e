"""Where settings come from: the TOML file, systemd's credentials, the environment; each goes before the one named earlier.

Gathers them into one tree of raw values; whether a value is right is `loading.py`'s to say. An environment variable that
is set to nothing counts as not set, as in a service manager's environment file.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dispatcher.config import shape
from dispatcher.config.errors import ConfigError
from dispatcher.config.shape import PREFIX, Place, place_of, variable

_FILE = "_file"
# A secret is a line or a key; a file larger than this is some other file.
_SECRET_BYTES_MAX = 65_536


@dataclass(slots=True)
class Given:
    """What was given: a tree by place, and for each setting its source by the name it has in the environment."""

    tree: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def put(self, place: Place, value: object, source: str) -> None:
        """Set the value at a place, over what an earlier source said. Raises ConfigError where a group and a value meet."""
        level = self.tree
        for name in place[:-1]:
            below = level.setdefault(name, {})
            if not isinstance(below, dict):
                raise ConfigError(variable(place), "what it belongs to has a value of its own", "give one of the two")
            level = below
        if isinstance(level.get(place[-1]), dict):
            raise ConfigError(variable(place), "it is a group of settings", f"set one of {variable(place)}__...")
        level[place[-1]] = value
        self.sources[variable(place)] = source


def gather(environ: Mapping[str, str], file: Path | None, credentials_dir: Path | None) -> Given:
    """All that is given. Raises ConfigError for what cannot be read."""
    given = Given()
    if file is not None:
        _take(given, _flat(_read_toml(file), ()), "file")
    if credentials_dir is not None:
        _take_credentials(given, credentials_dir)
    set_ = [(place_of(name), value) for name, value in environ.items() if name.startswith(PREFIX) and value]
    _take(given, sorted(set_), "environment")
    return given


def _take(given: Given, found: Iterable[tuple[Place, Any]], source: str) -> None:
    """Put what one source says. A secret may be there as the path of a file (`..._FILE`), but not as both."""
    seen: set[Place] = set()
    for written, raw in found:
        place, value, from_ = written, raw, source
        if written[-1].endswith(_FILE) and not shape.is_setting(written):
            place = (*written[:-1], written[-1].removesuffix(_FILE))
            if not shape.is_secret(place):
                raise _unknown(written, given)
            value, from_ = _read_secret(variable(written), Path(str(raw))), "secret file"
        if place in seen:
            raise ConfigError(variable(place), "it is given twice", "give it once (as a value, or as _FILE)")
        seen.add(place)
        given.put(place, _shaped(place, value), from_)


def _take_credentials(given: Given, directory: Path) -> None:
    """systemd's LoadCredential=: a file's name is the setting's, e.g. `secret_key` or `providers__mitto__api_key`."""
    try:
        files = sorted(directory.iterdir())
    except OSError as error:
        problem = f"{directory} cannot be listed: {error.strerror}"
        raise ConfigError("CREDENTIALS_DIRECTORY", problem, "unset it, or let systemd set it") from error
    for file in files:
        place = place_of(file.name)
        given.put(place, _shaped(place, _read_secret(variable(place), file)), "credential")


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            return tomllib.load(opened)
    except OSError as error:
        problem = f"{file} cannot be read: {error.strerror}"
        raise ConfigError("--config", problem, "name a TOML file that exists") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("--config", f"{file} is not TOML: {error}", "correct it") from error


def _flat(found: Mapping[str, Any], above: Place) -> Iterable[tuple[Place, Any]]:
    for key, value in found.items():
        place = (*above, *place_of(key))
        if isinstance(value, dict):
            yield from _flat(value, place)
        else:
            yield place, value


def _shaped(place: Place, value: Any) -> Any:
    """A value as its type reads it: a list from words between commas, a choice in lower case."""
    if not isinstance(value, str):
        return value
    if shape.is_list(place):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value.strip().lower() if shape.is_choice(place) else value


def _read_secret(name: str, file: Path) -> str:
    """The file's text without the newline at its end."""
    try:
        with file.open("rb") as opened:
            data = opened.read(_SECRET_BYTES_MAX + 1)
        text = data.decode("utf-8").rstrip("\r\n")
    except OSError as error:
        raise ConfigError(name, f"{file} cannot be read: {error.strerror}", "name a file that is readable") from error
    except UnicodeDecodeError as error:  # without its text, which shows bytes of the file
        raise ConfigError(name, f"{file} is not text in UTF-8", "name a file that holds the secret alone") from error
    if not text or len(data) > _SECRET_BYTES_MAX:
        problem = f"{file} is empty" if not text else f"{file} is larger than {_SECRET_BYTES_MAX} bytes"
        raise ConfigError(name, problem, "name a file that holds the secret alone")
    return text


def _unknown(place: Place, given: Given) -> ConfigError:
    providers = given.tree.get("providers")
    return unknown(place, providers if isinstance(providers, dict) else ())


def unknown(place: Place, provider_names: Iterable[str]) -> ConfigError:
    """The error of a name that is no setting, with the one it may have been meant to be."""
    near = shape.nearest(place, provider_names)
    remedy = f"did you mean {near}?" if near else "remove it; `dispatcher config show` lists the settings"
    return ConfigError(variable(place), "there is no such setting", remedy)
