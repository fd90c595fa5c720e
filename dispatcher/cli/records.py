"""`dispatcher migrate`, `audit` and `explain`: what the database holds, proved and told."""

from pathlib import Path

import click

from dispatcher.cli import telling
from dispatcher.cli.common import (
    Failure,
    address,
    config_option,
    database,
    json_option,
    load_settings,
    print_json,
    print_rows,
    run,
)
from dispatcher.config import Settings
from dispatcher.storage import audit, explain
from dispatcher.storage.audit import Check
from dispatcher.storage.explain import Explanation
from dispatcher.storage.migrate import Applied, migrate


@click.command("migrate")
@config_option
@json_option
def migrate_command(config_file: Path | None, *, as_json: bool) -> None:
    """Bring the database's schema forward to this release. Safe while the previous release runs; may be repeated."""
    applied = run(_migrate(load_settings(config_file).settings))
    if as_json:
        print_json({"applied": [{"version": a.version, "name": a.name, "duration_ms": a.duration_ms} for a in applied]})
    elif applied:
        print_rows([(f"{a.version:04d}_{a.name}", f"{a.duration_ms} ms") for a in applied])
    else:
        click.echo("the schema is up to date")


async def _migrate(settings: Settings) -> list[Applied]:
    async with address(settings) as dsn:
        return await migrate(dsn)


@click.command("audit")
@config_option
@json_option
def audit_command(config_file: Path | None, *, as_json: bool) -> None:
    """Compute every balance, counter and range again from the rows; exit 1 if anything differs. Safe while running."""
    checks = run(_audit(load_settings(config_file).settings))
    if as_json:
        told = [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in checks]
        print_json({"ok": audit.is_ok(checks), "checks": told})
    else:
        print_rows([("ok" if check.ok else "DIFFERS", check.name, check.detail) for check in checks])
    if not audit.is_ok(checks):
        raise click.exceptions.Exit(1)


async def _audit(settings: Settings) -> list[Check]:
    async with database(settings) as db, db.acquire() as conn:
        return await audit.audit(conn)


@click.command("explain")
@click.argument("message_id")
@click.option("--show-phone", is_flag=True, help="Show the phone number in full.")
@config_option
@json_option
def explain_command(message_id: str, config_file: Path | None, *, show_phone: bool, as_json: bool) -> None:
    """Tell everything that is known of a message (msg_... or dmg_...): consent, route, price, reports, in order of time."""
    found = run(_explain(load_settings(config_file).settings, message_id))
    if found is None:
        raise Failure(f"there is no message {message_id!r} (ids look like msg_12_345 or dmg_12_3)")
    if as_json:
        print_json(telling.as_data(found, show_phone=show_phone))
    else:
        for line in telling.as_lines(found, show_phone=show_phone):
            click.echo(line)


async def _explain(settings: Settings, message_id: str) -> Explanation | None:
    async with database(settings) as db, db.acquire() as conn:
        return await explain.explain(conn, message_id)


COMMANDS = (migrate_command, audit_command, explain_command)
