"""What the commands share: the settings, the database they work on, and how they answer and fail.

What it is not: a command; and no decision of the product is made here. Answers go to standard output, everything else
(errors, logs) to standard error, so that `--json` can be piped.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from dispatcher.config import ConfigError, Loaded, Settings, load, logs, places
from dispatcher.storage import embedded
from dispatcher.storage.embedded import EmbeddedError
from dispatcher.storage.errors import DatabaseAway
from dispatcher.storage.migrate import MigrationError, migrate, status
from dispatcher.storage.pool import Database

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

EX_CONFIG = 78  # sysexits.h: something was found in an unconfigured or misconfigured state
EX_TERMINATED = 128 + 15  # as a shell says it of a process that SIGTERM ended
STATEMENT_TIMEOUT_S = 300.0


class Failure(click.ClickException):
    """A command failed for a reason that can be said: one line, and exit status 1."""

    def show(self, file: Any = None) -> None:
        """One line, so that a service manager's log has all of it."""
        click.echo(f"dispatcher: {' '.join(self.format_message().split())}", err=True, file=file)


class Refusal(Failure):
    """What was given cannot be used: exit status 2, as click's own usage errors have."""

    exit_code = 2


class WrongSetting(Failure):
    """A setting is wrong: exit status 78, which tells systemd that starting again will not help."""

    exit_code = EX_CONFIG


class Group(click.Group):
    """A group of commands that turns the errors one may expect into a line and an exit status."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Raises click's exceptions only, and bugs."""
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            raise WrongSetting(str(error)) from error
        except (EmbeddedError, DatabaseAway, MigrationError) as error:
            raise Failure(str(error)) from error


def config_option(command: F) -> F:
    """`--config FILE`, which every command takes."""
    return click.option(
        "--config",
        "config_file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="A TOML file with settings; the environment (DISPATCHER_*) goes before it.",
    )(command)


def json_option(command: F) -> F:
    """`--json`, which every command that prints data takes."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")(command)


def load_settings(config_file: Path | None) -> Loaded:
    """The settings. Logs of the command itself go to standard error, from warnings on. Raises ConfigError."""
    logs.set_up("warning", "console")
    return load(file=config_file)


@asynccontextmanager
async def address(settings: Settings) -> AsyncIterator[str]:
    """The database's address: DISPATCHER_DATABASE_URL's, or the embedded server's: the running daemon's one, or one that
    is started for this block. Raises EmbeddedError."""
    if settings.database_url is not None:
        yield settings.database_url.reveal()
        return
    async with embedded.server_of(places.state_dir(settings)) as dsn:
        yield dsn


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[Database]:
    """The database with this release's schema. An embedded one is brought forward; another is the operator's to migrate.

    Raises DatabaseAway, EmbeddedError, MigrationError.
    """
    async with address(settings) as dsn:
        if settings.database_url is None:
            await migrate(dsn)
        async with opened(dsn) as db:
            if settings.database_url is not None:
                await _require_schema(db)
            yield db


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Database]:
    """A few connections to `dsn`, closed at the end."""
    db = await Database.open(
        dsn,
        size_max=2,
        dlr_size_max=1,
        statement_timeout_s=STATEMENT_TIMEOUT_S,
        application_name="dispatcher command",
    )
    try:
        yield db
    finally:
        await db.close()


async def _require_schema(db: Database) -> None:
    async with db.acquire() as conn:
        found = await status(conn)
    if found.pending:
        raise MigrationError(
            f"the database lacks {found.pending[0].file} and what follows it: run `dispatcher migrate` first"
        )


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a command's work to its end. Ctrl-C, and SIGTERM where the work asks for it, cancel it; it cleans up first."""
    try:
        return asyncio.run(main)
    except asyncio.CancelledError:
        raise click.exceptions.Exit(EX_TERMINATED) from None


def print_json(data: object) -> None:
    """One JSON document on one line."""
    click.echo(json.dumps(data, ensure_ascii=False, default=_plain))


def _plain(value: object) -> str:
    if isinstance(value, datetime | date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def print_rows(rows: list[tuple[str, ...]]) -> None:
    """Columns, as wide as they must be; the last one as long as it is."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]) - 1)] if rows else []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[-1]]).rstrip())
