"""Contacts, one by one. Files of them are `imports.py`."""

from datetime import date
from typing import Any, Final

import msgspec
from aiohttp import web

from dispatcher.domain import contacts as rules
from dispatcher.domain import phones
from dispatcher.domain.contact_files import ContactRow
from dispatcher.domain.contacts import FieldError
from dispatcher.domain.ids import Kind, encode
from dispatcher.http import answers, queries
from dispatcher.http.bodies import Checks, read_json
from dispatcher.http.problems import Problem, field_error, not_found
from dispatcher.http.routing import Call, Route
from dispatcher.storage import contacts

_WHAT: Final = "contact"


class NewContact(msgspec.Struct):
    """The body of `POST contacts`."""

    phone: str
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    gender: str | None = None
    birthday: date | None = None
    tags: list[str] = []


class ContactChanges(msgspec.Struct):
    """The body of `PATCH contacts/{id}`: what is not there stays; null clears gender and birthday."""

    phone: str | msgspec.UnsetType = msgspec.UNSET
    first_name: str | msgspec.UnsetType = msgspec.UNSET
    last_name: str | msgspec.UnsetType = msgspec.UNSET
    email: str | msgspec.UnsetType = msgspec.UNSET
    gender: str | None | msgspec.UnsetType = msgspec.UNSET
    birthday: date | None | msgspec.UnsetType = msgspec.UNSET
    tags: list[str] | msgspec.UnsetType = msgspec.UNSET


def shown(contact: contacts.Contact) -> dict[str, Any]:
    """A contact as the API shows it."""
    return {
        "id": encode(Kind.CONTACT, contact.contact_id),
        "phone": phones.format_e164(contact.phone),
        "country": contact.country,
        "first_name": contact.first_name,
        "last_name": contact.last_name,
        "email": contact.email,
        "gender": contact.gender,
        "birthday": contact.birthday,
        "tags": contact.tags,
        "opted_out": contact.opted_out,
        "created_at": contact.created_at,
        "updated_at": contact.updated_at,
    }


def check_phone(field: str, raw: str, country: str) -> phones.Phone | FieldError:
    """A phone as people write it; numbers without a country code are of `country`."""
    found = phones.parse(raw, country)
    return FieldError(field, found.code, found.message) if isinstance(found, phones.PhoneError) else found


def _checked(values: dict[str, Any], country: str, today: date) -> dict[str, Any]:
    """The values in the form in which they are stored; raises a problem that names every wrong one."""
    checks = Checks()
    found = dict(values)
    if "phone" in values:
        phone = checks.take(check_phone("phone", values["phone"], country))
        found |= {"phone": phone and phone.e164, "country": phone and phone.country}
    for name in ("first_name", "last_name"):
        if name in values:
            found[name] = checks.take(rules.clean_name(name, values[name]))
    if "email" in values:
        found["email"] = checks.take(rules.clean_email(values["email"]))
    if values.get("gender") is not None:
        found["gender"] = checks.take(rules.normal_gender(values["gender"]))
    if values.get("birthday") is not None:
        found["birthday"] = checks.take(rules.check_birthday(values["birthday"], today))
    if "tags" in values:
        found["tags"] = checks.take(rules.clean_tags(values["tags"]))
    checks.done()
    return found


def _given(body: msgspec.Struct) -> dict[str, Any]:
    values = {name: getattr(body, name) for name in body.__struct_fields__}
    return {name: value for name, value in values.items() if value is not msgspec.UNSET}


async def list_contacts(call: Call) -> web.Response:
    """The store's contacts by id; `?phone=` finds the one with that phone."""
    request, tenant = call.request, call.tenant
    queries.known(request, "limit", "cursor", "phone")
    limit, after = queries.limit(request), queries.cursor(request, 0)
    raw = request.query.get("phone")
    if raw is not None:
        phone = check_phone("phone", raw, tenant.country)
        if isinstance(phone, FieldError):
            raise field_error(phone.field, phone.code, phone.message)
        async with call.services.db.acquire() as conn:
            found = await contacts.by_phone(conn, tenant.tenant_id, phone.e164)
        return answers.page([] if found is None else [shown(found)], None)
    async with call.services.db.acquire() as conn:
        rows = await contacts.page(conn, tenant.tenant_id, after=after, limit=limit + 1)
    items, more = queries.cut(rows, limit)
    return answers.page([shown(item) for item in items], queries.make_cursor(items[-1].contact_id) if more else None)


async def create_contact(call: Call) -> web.Response:
    """201 with the new contact; 409 when the phone is another contact's."""
    body = await read_json(call.request, NewContact)
    values = _checked(_given(body), call.tenant.country, call.services.clock.utc_now().date())
    async with call.services.db.acquire() as conn:
        found = await contacts.insert(conn, call.tenant.tenant_id, ContactRow(**values))
    return answers.answer(shown(_not_taken(found)), 201)


def _not_taken(found: contacts.Contact | contacts.PhoneTaken) -> contacts.Contact:
    if isinstance(found, contacts.PhoneTaken):
        raise Problem(409, "phone_exists", "another contact has this phone")
    return found


async def get_contact(call: Call) -> web.Response:
    """One contact."""
    contact_id = queries.path_id(call.request, Kind.CONTACT, _WHAT)
    async with call.services.db.acquire() as conn:
        found = await contacts.get(conn, call.tenant.tenant_id, contact_id)
    if found is None:
        raise not_found(_WHAT)
    return answers.answer(shown(found))


async def change_contact(call: Call) -> web.Response:
    """The contact after the changes; a message on its way keeps the phone it was planned for, or is not sent."""
    contact_id = queries.path_id(call.request, Kind.CONTACT, _WHAT)
    body = await read_json(call.request, ContactChanges)
    changes = _checked(_given(body), call.tenant.country, call.services.clock.utc_now().date())
    async with call.services.db.acquire() as conn:
        found: contacts.Contact | contacts.PhoneTaken | None
        if changes:
            found = await contacts.update(conn, call.tenant.tenant_id, contact_id, changes)
        else:
            found = await contacts.get(conn, call.tenant.tenant_id, contact_id)
    if found is None:
        raise not_found(_WHAT)
    return answers.answer(shown(_not_taken(found)))


async def delete_contact(call: Call) -> web.Response:
    """204. Messages and their accounts stay; so does an opt-out."""
    contact_id = queries.path_id(call.request, Kind.CONTACT, _WHAT)
    async with call.services.db.acquire() as conn:
        deleted = await contacts.delete(conn, call.tenant.tenant_id, contact_id)
    if not deleted:
        raise not_found(_WHAT)
    return answers.nothing()


ROUTES = (
    Route("GET", "/api/v1/contacts", list_contacts, "contacts:read"),
    Route("POST", "/api/v1/contacts", create_contact, "contacts:write"),
    Route("GET", "/api/v1/contacts/{id}", get_contact, "contacts:read"),
    Route("PATCH", "/api/v1/contacts/{id}", change_contact, "contacts:write"),
    Route("DELETE", "/api/v1/contacts/{id}", delete_contact, "contacts:write"),
)
