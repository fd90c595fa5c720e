"""What the command line accepts, and how it refuses: one line that names the field or the setting."""

import json
from collections.abc import Iterator

import click
import pytest

from dispatcher.cli import cli
from tests.cli.conftest import Invoke

SECRET = "s" * 40
COMPLETE = {
    "DISPATCHER_SECRET_KEY": SECRET,
    "DISPATCHER_PROVIDERS__MITTO__KIND": "mitto",
    "DISPATCHER_PROVIDERS__MITTO__BASE_URL": "http://127.0.0.1:1",
    "DISPATCHER_PROVIDERS__MITTO__API_KEY": "the-api-key",
}
STORE = ("tenant", "create", "--name", "Shop", "--email", "owner@example.com")
# No address that a test could reach by mistake: refusals come before the database is asked.
NOWHERE = {"DISPATCHER_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"}


def _leaves(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _leaves(command, (*path, name))
        else:
            yield (*path, name)


COMMANDS = list(_leaves(cli))
WITHOUT_DATA = {("run",), ("simulate",), ("demo",)}


def test_the_commands_of_the_contract_are_there() -> None:
    """Scripts depend on these names."""
    wanted = {("run",), ("demo",), ("migrate",), ("audit",), ("explain",), ("simulate",), ("tenant", "create")}
    wanted |= {("user", "create"), ("key", "create"), ("config", "show"), ("config", "check")}
    assert wanted - set(COMMANDS) == set()


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_help_and_takes_config_and_prints_json_if_data(invoke: Invoke, path: tuple[str, ...]) -> None:
    """--help, --config, and --json for those that print data."""
    result = invoke(*path, "--help")
    assert result.exit_code == 0
    assert "--config" in result.output
    assert ("--json" in result.output) == (path not in WITHOUT_DATA)


def test_run_names_the_setting_that_is_missing_in_one_line(invoke: Invoke) -> None:
    """Exit 78, so that the service manager does not start it again and again."""
    result = invoke("run")
    assert result.exit_code == 78
    assert result.stderr.count("\n") == 1
    assert "DISPATCHER_SECRET_KEY" in result.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_config_file_that_is_none_is_refused_by_every_command(invoke: Invoke, command: tuple[str, ...]) -> None:
    """--config is read, wherever it has a meaning."""
    needs = {
        ("explain",): ["msg_1_1"],
        ("tenant", "create"): ["--name", "Shop", "--email", "a@example.com"],
        ("user", "create"): ["--tenant", "ten_1", "--email", "a@example.com"],
        ("key", "create"): ["--admin"],
    }
    if command == ("simulate",):
        return
    result = invoke(*command, *needs.get(command, []), "--config", "/nowhere/dispatcher.toml")
    assert result.exit_code == 78
    assert "/nowhere/dispatcher.toml" in result.stderr


@pytest.mark.parametrize("roles", ["api,postman", ",", ""])
def test_run_refuses_roles_that_are_none(invoke: Invoke, roles: str) -> None:
    """A misspelt role must not start a daemon that does less than was meant."""
    result = invoke("run", "--roles", roles, **COMPLETE)
    assert result.exit_code == 2
    assert "the roles are" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--country", "XX"), "country: 'XX' is no country code"),
        (("--timezone", "Europe/Atlantis"), "timezone: 'Europe/Atlantis' is no time zone"),
        (("--timezone", "../etc/passwd"), "timezone: "),
        (("--credits", "-1"), "credits: a store starts with 0 to"),
        (("--credits", "1000000000001"), "credits: a store starts with 0 to"),
        (("--email", "owner"), "email: this is not an e-mail address"),
        (("--email", ""), "email: a user has an e-mail address"),
        (("--name", "  "), "name: a store has a name"),
        (("--name", "a\nb"), "name: a line break or control character"),
    ],
)
def test_a_store_is_refused_by_the_name_of_the_field(invoke: Invoke, arguments: tuple[str, str], says: str) -> None:
    """Before anything is stored."""
    result = invoke(*STORE, *arguments, **NOWHERE)
    assert result.exit_code == 2
    assert says in result.stderr


def test_everything_that_is_wrong_is_said_at_once(invoke: Invoke) -> None:
    """Not one field a try."""
    result = invoke(*STORE, "--country", "XX", "--credits", "-1", **NOWHERE)
    assert [part.split(":")[0] for part in result.stderr.removeprefix("dispatcher: ").split("; ")] == [
        "country",
        "credits",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "give one of --admin and --tenant"),
        (("--admin", "--tenant", "ten_1"), "give one of --admin and --tenant"),
        (("--admin", "--scopes", "contacts:read"), "leave --scopes out"),
        (("--tenant", "12"), "tenant: '12' is no store's id"),
        (("--tenant", "ten_1", "--scopes", "contacts:read,admin"), "scopes: 'admin' is none of"),
    ],
)
def test_a_key_is_refused_by_the_name_of_the_option(invoke: Invoke, arguments: tuple[str, ...], says: str) -> None:
    """An operator's scope can never get into a store's key."""
    result = invoke("key", "create", *arguments, **NOWHERE)
    assert result.exit_code == 2
    assert says in result.stderr


def test_config_show_masks_secrets_and_names_sources(invoke: Invoke) -> None:
    """What is shown may be pasted into a mail."""
    result = invoke("config", "show", "--json", **COMPLETE)
    assert result.exit_code == 0
    assert SECRET not in result.output
    assert "the-api-key" not in result.output
    shown = {row["name"]: row for row in json.loads(result.stdout)["settings"]}
    assert shown["DISPATCHER_SECRET_KEY"] == {
        "name": "DISPATCHER_SECRET_KEY",
        "value": "****",
        "source": "environment",
    }
    assert shown["DISPATCHER_HTTP__PORT"]["source"] == "default"


def test_config_check_says_what_run_would_say(invoke: Invoke) -> None:
    """0 for settings that are complete, 78 and the setting otherwise."""
    assert invoke("config", "check", **COMPLETE).exit_code == 0
    result = invoke("config", "check", **COMPLETE | {"DISPATCHER_SECRET_KEY": "short"})
    assert result.exit_code == 78
    assert "DISPATCHER_SECRET_KEY" in result.stderr


def test_a_database_that_is_away_is_one_line(invoke: Invoke) -> None:
    """No traceback for what an operator can do something about."""
    result = invoke("audit", **NOWHERE)
    assert result.exit_code == 1
    assert result.stderr.startswith("dispatcher: cannot connect to the database")
    assert result.stderr.count("\n") == 1
