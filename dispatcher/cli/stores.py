"""`dispatcher tenant create`, `user create` and `key create`: who may use this installation. Secrets are shown once."""

from dataclasses import astuple
from pathlib import Path

import click

from dispatcher.cli import new_store
from dispatcher.cli.common import (
    Failure,
    Refusal,
    config_option,
    database,
    json_option,
    load_settings,
    print_json,
    print_rows,
    run,
)
from dispatcher.cli.new_store import StoreFields
from dispatcher.config import Settings
from dispatcher.domain.contacts import FieldError
from dispatcher.domain.credentials import ADMIN_SCOPE, TENANT_SCOPES
from dispatcher.domain.ids import Kind, decode, encode
from dispatcher.storage import admin, tenants


@click.group("tenant")
def tenant_group() -> None:
    """Stores."""


@click.group("user")
def user_group() -> None:
    """People who log in."""


@click.group("key")
def key_group() -> None:
    """API keys."""


@tenant_group.command("create")
@click.option("--name", required=True, help="The store's name, as its customers know it.")
@click.option("--email", required=True, help="Its owner's e-mail: the login.")
@click.option("--credits", "credit_count", type=int, default=0, show_default=True, help="Credits to start with.")
@click.option(
    "--country", default="GR", show_default=True, help="ISO 3166 alpha-2; numbers without a calling code are its."
)
@click.option("--timezone", default="Europe/Athens", show_default=True, help="IANA name; days and quiet hours are its.")
@config_option
@json_option
def create_tenant(
    name: str, email: str, credit_count: int, country: str, timezone: str, config_file: Path | None, *, as_json: bool
) -> None:
    """Create a store with its wallet, owner and an API key with every scope. The password and the key are shown once."""
    settings = load_settings(config_file).settings
    fields = new_store.check_fields(
        name=name, email=email, country=country, timezone=timezone, credit_count=credit_count
    )
    if not isinstance(fields, StoreFields):
        raise _refused(fields)
    _show(run(_create_tenant(settings, fields)), as_json=as_json)


async def _create_tenant(settings: Settings, fields: StoreFields) -> dict[str, str]:
    async with database(settings) as db:
        made = await new_store.create_store(db, fields)
    if isinstance(made, FieldError):
        raise _refused([made])
    tenant_id, user_id, password, api_key = astuple(made)
    return {
        "tenant_id": encode(Kind.TENANT, tenant_id),
        "user_id": encode(Kind.USER, user_id),
        "password": password,
        "api_key": api_key,
    }


@user_group.command("create")
@click.option("--tenant", required=True, help="The store's id (ten_...).")
@click.option("--email", required=True, help="The login.")
@click.option("--role", type=click.Choice(["owner", "manager", "viewer"]), default="manager", show_default=True)
@config_option
@json_option
def create_user(tenant: str, email: str, role: str, config_file: Path | None, *, as_json: bool) -> None:
    """Add a user to a store. The password is shown once."""
    settings = load_settings(config_file).settings
    address = new_store.clean_login_email(email)
    if isinstance(address, FieldError):
        raise _refused([address])
    _show(run(_create_user(settings, _tenant_id(tenant), address, role)), as_json=as_json)


async def _create_user(settings: Settings, tenant_id: int, email: str, role: str) -> dict[str, str]:
    password = new_store.new_password()
    hashed = new_store.hash_new(password)
    async with database(settings) as db:
        try:
            async with db.transaction() as conn:
                if not await tenants.exists(conn, tenant_id):
                    raise _no_tenant(tenant_id)
                user_id = await admin.create_user(
                    conn, tenant_id=tenant_id, email=email, password_hash=hashed, role=role
                )
        except admin.EmailTaken as error:
            message = f"a user has the e-mail {email} already"
            raise _refused([FieldError("email", "email_taken", message)]) from error
    return {"user_id": encode(Kind.USER, user_id), "password": password}


@key_group.command("create")
@click.option("--admin", "is_admin", is_flag=True, help="An operator's key, for /api/v1/admin.")
@click.option("--tenant", help="A store's key: the store's id (ten_...).")
@click.option("--scopes", help="What a store's key may do, with commas between; all when not given.")
@click.option("--name", default="", help="What the key is for.")
@config_option
@json_option
def create_key(
    tenant: str | None, scopes: str | None, name: str, config_file: Path | None, *, is_admin: bool, as_json: bool
) -> None:
    """Create an API key: an operator's (--admin) or a store's (--tenant). It is shown once."""
    settings = load_settings(config_file).settings
    if is_admin == (tenant is not None):
        raise click.UsageError("give one of --admin and --tenant")
    if is_admin and scopes is not None:
        raise click.UsageError("an operator's key has the one scope admin: leave --scopes out")
    wanted = tuple(part.strip() for part in scopes.split(",")) if scopes is not None else TENANT_SCOPES
    wrong = [scope for scope in wanted if scope not in TENANT_SCOPES]
    if wrong:
        raise _refused([FieldError("scopes", "unknown_scope", f"{wrong[0]!r} is none of {', '.join(TENANT_SCOPES)}")])
    tenant_id = None if tenant is None else _tenant_id(tenant)
    api_key = run(_create_key(settings, tenant_id, (ADMIN_SCOPE,) if is_admin else wanted, name))
    _show({"api_key": api_key}, as_json=as_json)


async def _create_key(settings: Settings, tenant_id: int | None, scopes: tuple[str, ...], name: str) -> str:
    async with database(settings) as db:
        async with db.acquire() as conn:
            if tenant_id is not None and not await tenants.exists(conn, tenant_id):
                raise _no_tenant(tenant_id)
        return await new_store.create_key(db, tenant_id, scopes, name)


def _tenant_id(text: str) -> int:
    found = decode(Kind.TENANT, text)
    if found is None:
        raise _refused([FieldError("tenant", "invalid_id", f"{text!r} is no store's id (ten_...)")])
    return found


def _no_tenant(tenant_id: int) -> Failure:
    return Failure(f"tenant: there is no store {encode(Kind.TENANT, tenant_id)}")


def _refused(errors: list[FieldError]) -> Refusal:
    return Refusal("; ".join(f"{error.field}: {error.message}" for error in errors))


def _show(data: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        print_json(data)
    else:
        print_rows(list(data.items()))


COMMANDS = (tenant_group, user_group, key_group)
