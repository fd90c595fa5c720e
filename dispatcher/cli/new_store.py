"""A new store, user or key: checked fields, random secrets, one transaction. For the commands and for the demo.

What it is not: printing (the commands do), or SQL (`storage/admin.py`).
"""

import secrets
import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass

import phonenumbers

from dispatcher.domain import credentials, passwords
from dispatcher.domain.contacts import FieldError, clean_email, clean_name
from dispatcher.storage import admin, keys
from dispatcher.storage.admin import NewTenant
from dispatcher.storage.pool import Database

CREDITS_MAX = 10**12
_PASSWORD_BYTES = 18


@dataclass(frozen=True, slots=True)
class StoreFields:
    """What an operator says of a new store, checked and in the form in which it is stored."""

    name: str
    email: str
    country: str
    timezone: str
    credits: int


@dataclass(frozen=True, slots=True)
class NewStore:
    """A store that was made, with what is shown once and never again."""

    tenant_id: int
    user_id: int
    password: str
    api_key: str


def check_fields(
    *, name: str, email: str, country: str, timezone: str, credit_count: int
) -> StoreFields | list[FieldError]:
    """The fields as they are stored, or everything that is wrong with them. `country` is ISO 3166 alpha-2 with a calling
    code, `timezone` a name of the IANA database, `credit_count` 0 to CREDITS_MAX."""
    cleaned, address = clean_name("name", name), clean_login_email(email)
    errors = [found for found in (cleaned, address) if isinstance(found, FieldError)]
    if cleaned == "":
        errors.append(FieldError("name", "missing", "a store has a name"))
    if country.upper() not in phonenumbers.SUPPORTED_REGIONS:
        errors.append(FieldError("country", "unknown_country", f"{country!r} is no country code (ISO 3166 alpha-2)"))
    if not _is_timezone(timezone):
        errors.append(
            FieldError("timezone", "unknown_timezone", f"{timezone!r} is no time zone (such as Europe/Athens)")
        )
    if not 0 <= credit_count <= CREDITS_MAX:
        errors.append(FieldError("credits", "out_of_range", f"a store starts with 0 to {CREDITS_MAX} credits"))
    if errors or isinstance(cleaned, FieldError) or isinstance(address, FieldError):
        return errors
    return StoreFields(cleaned, address, country.upper(), timezone, credit_count)


def clean_login_email(raw: str) -> str | FieldError:
    """The e-mail that a user logs in with: in lower case, so that it is one user whatever way it is typed."""
    found = clean_email(raw)
    if found == "":
        return FieldError("email", "missing", "a user has an e-mail address")
    return found.lower() if isinstance(found, str) else found


async def create_store(db: Database, fields: StoreFields) -> NewStore | FieldError:
    """Make the store; a FieldError when a user has the e-mail already. Takes some 50 ms for the password's hash."""
    password, key = new_password(), new_key()
    new = NewTenant(
        fields.name,
        fields.email,
        hash_new(password),
        fields.country,
        fields.timezone,
        fields.credits,
        credentials.key_hash(key),
        credentials.shown_prefix(key),
        credentials.TENANT_SCOPES,
    )
    try:
        async with db.transaction() as conn:
            created = await admin.create_tenant(conn, new)
    except admin.EmailTaken:
        return FieldError("email", "email_taken", f"a user has the e-mail {fields.email} already")
    return NewStore(created.tenant_id, created.user_id, password, key)


async def create_key(db: Database, tenant_id: int | None, scopes: Sequence[str], name: str) -> str:
    """A new API key, shown once. `tenant_id` None: an operator's; the tenant must exist."""
    key = new_key()
    async with db.transaction() as conn:
        await keys.create(
            conn,
            key_hash=credentials.key_hash(key),
            prefix=credentials.shown_prefix(key),
            tenant_id=tenant_id,
            scopes=scopes,
            name=name,
        )
    return key


def new_password() -> str:
    """144 random bits as text."""
    return secrets.token_urlsafe(_PASSWORD_BYTES)


def new_key() -> str:
    """A random API key."""
    return credentials.key_from_bytes(secrets.token_bytes(credentials.KEY_BYTES))


def hash_new(password: str) -> str:
    """What is stored of a password, under a random salt."""
    return passwords.hash_password(password, secrets.token_bytes(passwords.SALT_BYTES))


def _is_timezone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
