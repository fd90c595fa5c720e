"""Settings: where they come from, which source wins, and what one is told when something is wrong with them."""

import pickle
from pathlib import Path

import pytest

from dispatcher.config import ConfigError, Secret, Settings, describe, load, require_for_run
from dispatcher.config.secret import MASK

MITTO = {
    "DISPATCHER_PROVIDERS__MITTO__KIND": "mitto",
    "DISPATCHER_PROVIDERS__MITTO__BASE_URL": "http://127.0.0.1:9",
    "DISPATCHER_PROVIDERS__MITTO__API_KEY": "a-key",
}


def settings(environ: dict[str, str], file: Path | None = None, credentials: Path | None = None) -> Settings:
    return load(environ, file, credentials).settings


def refused(environ: dict[str, str], file: Path | None = None, credentials: Path | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(environ, file, credentials)
    return caught.value


def toml(folder: Path, text: str) -> Path:
    file = folder / "dispatcher.toml"
    file.write_text(text)
    return file


def test_nothing_has_to_be_set() -> None:
    """Embedded PostgreSQL, limits in memory, port 8080 of this machine only."""
    found = settings({})
    assert (None, None, "127.0.0.1", 8080, {}) == (
        found.database_url,
        found.redis_url,
        found.http.host,
        found.http.port,
        found.providers,
    )
    assert (15.0, 86_400.0, 30.0, None) == (
        found.lease_s,
        found.unknown_after_s,
        found.drain_timeout_s,
        found.tenant_rate_per_s,
    )


def test_a_provider_account_has_the_documented_defaults() -> None:
    """What Mitto's documents and our measurements suggest."""
    found = settings(MITTO).providers["mitto"]
    assert (100.0, 5000, 30.0, 5.0, 4, None) == (
        found.rate_per_s,
        found.batch_size,
        found.timeout_s,
        found.connect_timeout_s,
        found.max_in_flight,
        found.not_taken_statuses,
    )


def test_environment_goes_before_credentials_before_the_file(tmp_path: Path) -> None:
    """And each setting knows where it came from."""
    file = toml(
        tmp_path,
        'log_level = "debug"\nsecret_key = "from the file"\nlease_s = 20\n'
        "[http]\nport = 1\n"
        '[providers.Mitto]\nkind = "mitto"\nbase_url = "http://f"\napi_key = "from the file"\n',
    )
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "secret_key").write_text("from the credential\n")
    (credentials / "providers__mitto__api_key").write_text("from the credential\n")
    environ = {"DISPATCHER_HTTP__PORT": "2", "DISPATCHER_PROVIDERS__MITTO__API_KEY": "from the environment"}
    loaded = load(environ, file, credentials)
    found = loaded.settings
    assert ("debug", 20.0, 2, "http://f") == (
        found.log_level,
        found.lease_s,
        found.http.port,
        found.providers["mitto"].base_url,
    )
    assert Secret("from the credential") == found.secret_key
    assert Secret("from the environment") == found.providers["mitto"].api_key
    assert {
        "DISPATCHER_LOG_LEVEL": "file",
        "DISPATCHER_LEASE_S": "file",
        "DISPATCHER_HTTP__PORT": "environment",
        "DISPATCHER_SECRET_KEY": "credential",
        "DISPATCHER_PROVIDERS__MITTO__KIND": "file",
        "DISPATCHER_PROVIDERS__MITTO__BASE_URL": "file",
        "DISPATCHER_PROVIDERS__MITTO__API_KEY": "environment",
    } == loaded.sources


def test_the_file_takes_the_names_of_the_environment_too(tmp_path: Path) -> None:
    """Upper case, with the prefix, nested with __: what is in one can be moved to the other."""
    file = toml(tmp_path, 'DISPATCHER_HTTP__PORT = 81\nLOG_FORMAT = "console"\n[PROVIDERS.MITTO]\nRATE_PER_S = 7\n')
    found = settings(MITTO, file)
    assert (81, "console", 7.0) == (found.http.port, found.log_format, found.providers["mitto"].rate_per_s)


@pytest.mark.parametrize("where", ["environment", "file"])
def test_a_secret_can_be_the_path_of_a_file(tmp_path: Path, where: str) -> None:
    """As container platforms mount them; the newline at the end is no part of it."""
    (tmp_path / "key").write_text("the key\n")
    if where == "environment":
        found = settings({"DISPATCHER_SECRET_KEY_FILE": str(tmp_path / "key")})
    else:
        found = settings({}, toml(tmp_path, f'secret_key_file = "{tmp_path}/key"\n'))
    assert Secret("the key") == found.secret_key


def test_systemd_says_where_the_credentials_are(tmp_path: Path) -> None:
    """systemd.exec(5): CREDENTIALS_DIRECTORY."""
    (tmp_path / "secret_key").write_text("from systemd")
    assert Secret("from systemd") == settings({"CREDENTIALS_DIRECTORY": str(tmp_path)}).secret_key


def test_a_variable_set_to_nothing_is_not_set() -> None:
    """As `DISPATCHER_REDIS_URL=` in an environment file."""
    assert settings({}) == settings({"DISPATCHER_REDIS_URL": "", "DISPATCHER_HTTP__PORT": ""})


def test_words_may_come_in_any_case_and_lists_with_commas() -> None:
    """LOG_LEVEL=INFO is what other programs take."""
    found = settings(
        MITTO
        | {
            "DISPATCHER_LOG_LEVEL": "WARNING",
            "DISPATCHER_DEFAULT_PROVIDER": "Mitto",
            "DISPATCHER_HTTP__TRUSTED_PROXIES": "10.0.0.0/8, 192.168.0.1",
            "DISPATCHER_PROVIDERS__MITTO__NOT_TAKEN_STATUSES": "429,503",
        }
    )
    assert ("warning", "mitto", ("10.0.0.0/8", "192.168.0.1"), (429, 503)) == (
        found.log_level,
        found.the_default_provider(),
        found.http.trusted_proxies,
        found.providers["mitto"].not_taken_statuses,
    )


@pytest.mark.parametrize(
    ("name", "value", "problem", "remedy"),
    [
        ("HTTP__PORT", "http", "expected `int`, got `str`", "use a whole number of 0 or more, at most 65535"),
        ("HTTP__PORT", "70000", "expected `int` <= 65535", "use a whole number of 0 or more, at most 65535"),
        ("LOG_LEVEL", "loud", "it is none of those that it may be", "use debug or error or info or warning"),
        ("LEASE_S", "0", "expected `float` >= 1.0", "use a number of 1 or more, at most 600"),
        ("TENANT_RATE_PER_S", "nan", "expected `float` > 0.0", "use a number above 0, at most 1000000"),
        ("UNKNOWN_AFTER_S", "inf", "expected `float` <= 2592000.0", "use a number above 0, at most 2592000"),
        (
            "DATABASE_URL",
            "mysql://u:hunter22@h/d",
            "it is not an address that begins with postgresql://",
            "postgresql:",
        ),
        ("REDIS_URL", "redis://h:hunter22", "it is not an address", "redis://host"),
        ("PUBLIC_BASE_URL", "shop.example", "it is not an address that begins with http://", "http://host"),
        ("PUBLIC_BASE_URL", "https://", "the address names no host", "http://host"),
        ("PUBLIC_BASE_URL", "https://a b/", "there is a space in the address", "http://host"),
        ("HTTP__TRUSTED_PROXIES", "10.0.0.0/8,proxy", "'proxy' is neither an address nor a network", "10.0.0.0/8"),
        ("DEFAULT_SENDER", "My Shop!", "'My Shop!' cannot be a sender", "3 to 11 letters"),
        ("DEFAULT_PROVIDER", "mito", "there is no account 'mito'", "name one of: mitto"),
        ("METRICS_PORT", "8080", "port 8080 is the API's", "choose another"),
        ("PROVIDERS__MITTO__KIND", "carrier pigeon", "it is none of those that it may be", "mitto or smpp or twilio"),
        ("PROVIDERS__MITTO__BASE_URL", "ftp://x", "it is not an address that begins with http://", "http://host"),
        ("PROVIDERS__MITTO__API_KEY", " ", "it is empty", "set it to the key"),
        ("PROVIDERS__MITTO__NOT_TAKEN_STATUSES", "429,12", "expected `int` >= 400", "a whole number of 400 or more"),
        (
            "PROVIDERS__MITTO__RATE",
            "5",
            "there is no such setting",
            "did you mean DISPATCHER_PROVIDERS__MITTO__RATE_PER",
        ),
        ("HTTP_PORT", "5", "there is no such setting", "did you mean DISPATCHER_HTTP__PORT?"),
        ("HTTP", "5", "expected `object`, got `str`", "use a group of settings"),
        ("QZXJVK", "5", "there is no such setting", "remove it; `dispatcher config show` lists the settings"),
        ("LOG_LEVEL_FILE", "/x", "there is no such setting", "did you mean DISPATCHER_LOG_LEVEL?"),
        ("PROVIDERS__MITTO", "5", "what it belongs to has a value of its own", "give one of the two"),
        ("SECRET_KEY_FILE", "/nowhere/at/all", "/nowhere/at/all cannot be read: No such file", "name a file"),
    ],
)
def test_an_error_names_the_setting_the_problem_and_the_remedy(
    name: str, value: str, problem: str, remedy: str
) -> None:
    """One line an operator can act on; never a secret's value."""
    error = refused(MITTO | {f"DISPATCHER_{name}": value})
    assert error.setting.startswith(f"DISPATCHER_{name}".removesuffix("_FILE").removesuffix("__KIND"))
    assert [True, True] == [problem in error.problem, remedy in error.remedy]
    assert str(error) == f"{error.setting}: {error.problem}; {error.remedy}"
    assert "hunter22" not in str(error) + repr(error.__cause__)


def test_an_account_with_half_its_settings_is_named() -> None:
    """The name is the one that was given, not the kind's."""
    error = refused({"DISPATCHER_PROVIDERS__SECOND__KIND": "mitto"})
    assert ("DISPATCHER_PROVIDERS__SECOND__BASE_URL", "it is not set") == (error.setting, error.problem)


def test_an_account_needs_a_group_of_settings() -> None:
    """A single underscore where two belong."""
    error = refused({"DISPATCHER_PROVIDERS__MITTO_KIND": "mitto"})
    assert ("DISPATCHER_PROVIDERS__MITTO_KIND", "write DISPATCHER_PROVIDERS__<NAME>__KIND") == (
        error.setting,
        error.remedy,
    )


def test_selling_needs_the_secret_by_which_payments_are_known() -> None:
    """Without the webhook's secret a payment would never become credits."""
    error = refused({"DISPATCHER_STRIPE__SECRET_KEY": "sk_test_x"})
    assert "DISPATCHER_STRIPE__WEBHOOK_SECRET" == error.setting


def test_a_secret_given_twice_is_an_error(tmp_path: Path) -> None:
    """Nobody could tell which one is meant."""
    (tmp_path / "key").write_text("x")
    error = refused({"DISPATCHER_SECRET_KEY": "y", "DISPATCHER_SECRET_KEY_FILE": str(tmp_path / "key")})
    assert ("DISPATCHER_SECRET_KEY", "it is given twice") == (error.setting, error.problem)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"", "is empty"), (b"\xff\xfe", "is not text in UTF-8"), (b"x" * 70_000, "is larger than")],
)
def test_a_secret_file_that_holds_no_secret_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    """An empty key would sign with nothing."""
    (tmp_path / "key").write_bytes(content)
    assert problem in refused({"DISPATCHER_SECRET_KEY_FILE": str(tmp_path / "key")}).problem


@pytest.mark.parametrize("text", ["port = ", "\x00", "[http]\nport = 1\nport = 2"])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, text: str) -> None:
    """With the place in it that TOML's reader names."""
    error = refused({}, toml(tmp_path, text))
    assert [True, True] == ["--config" == error.setting, "is not TOML" in error.problem]


def test_a_file_or_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A typing mistake in --config must not mean "all defaults"."""
    errors = [refused({}, tmp_path / "no.toml"), refused({"CREDENTIALS_DIRECTORY": str(tmp_path / "no")})]
    assert ["--config", "CREDENTIALS_DIRECTORY"] == [error.setting for error in errors]


@pytest.mark.parametrize(
    ("environ", "setting"),
    [
        (MITTO, "DISPATCHER_SECRET_KEY"),
        (MITTO | {"DISPATCHER_SECRET_KEY": "x" * 31}, "DISPATCHER_SECRET_KEY"),
        ({"DISPATCHER_SECRET_KEY": "x" * 32}, "DISPATCHER_PROVIDERS__MITTO__KIND"),
        (MITTO | {"DISPATCHER_SECRET_KEY": "x" * 32}, None),
    ],
)
def test_serving_needs_a_key_and_an_account(environ: dict[str, str], setting: str | None) -> None:
    """There is no default secret that could be left in place."""
    found = settings(environ)
    error = None
    try:
        require_for_run(found)
    except ConfigError as caught:
        error = caught.setting
    assert setting == error


def test_what_is_shown_has_every_setting_and_no_secret() -> None:
    """`config show`."""
    rows = describe(load(MITTO | {"DISPATCHER_DATABASE_URL": "postgresql://u:hunter22@h/d"}))
    by_name = {name: (value, source) for name, value, source in rows}
    assert ("8080", "default") == by_name["DISPATCHER_HTTP__PORT"]
    assert (MASK, "environment") == by_name["DISPATCHER_PROVIDERS__MITTO__API_KEY"]
    assert (MASK, "environment") == by_name["DISPATCHER_DATABASE_URL"]
    assert ("", "default") == by_name["DISPATCHER_SECRET_KEY"]
    assert [] == [row for row in rows if "hunter22" in str(row) or "a-key" in str(row)]


def test_a_secret_shows_itself_nowhere() -> None:
    """Not in a string, a format, a container, or a pickle."""
    secret = Secret("hunter22")
    shown = [str(secret), repr(secret), f"{secret}", f"{secret!r:>20}", str([secret]), str(settings(MITTO))]
    assert [] == [one for one in shown if "hunter22" in one or "a-key" in one]
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)
    assert ("hunter22", True, False) == (secret.reveal(), secret == Secret("hunter22"), secret == "hunter22")
