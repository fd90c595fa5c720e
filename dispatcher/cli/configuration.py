"""`dispatcher config show` and `config check`: the settings as this machine would use them, secrets masked."""

from pathlib import Path

import click

from dispatcher.cli.common import config_option, json_option, load_settings, print_json, print_rows
from dispatcher.config import describe, require_for_run


@click.group("config")
def config_group() -> None:
    """Look at the settings."""


@config_group.command("show")
@config_option
@json_option
def show(config_file: Path | None, *, as_json: bool) -> None:
    """Show every setting, its value (secrets masked) and where it came from."""
    rows = describe(load_settings(config_file))
    if as_json:
        print_json({"settings": [{"name": name, "value": value, "source": source} for name, value, source in rows]})
    else:
        print_rows([(source, f"{name}={value}") for name, value, source in rows])


@config_group.command("check")
@config_option
@json_option
def check(config_file: Path | None, *, as_json: bool) -> None:
    """Say whether `dispatcher run` could start with these settings: exit 0, or 78 and the setting that is wrong."""
    loaded = load_settings(config_file)
    require_for_run(loaded.settings)
    if as_json:
        print_json({"ok": True})
    else:
        click.echo("the settings are complete")


COMMANDS = (config_group,)
