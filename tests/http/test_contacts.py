"""Contacts and suppressions through the API."""

from typing import Any

from tests.http.stand import Stand, new_key, new_tenant

MARIA = {
    "phone": "690 000 0001",
    "first_name": " Μαρία ",
    "last_name": "O'Neil",
    "email": "maria@example.com",
    "gender": "F",
    "birthday": "1990-01-15",
    "tags": ["VIP", "vip", " new "],
}


async def created(api: Stand, **fields: Any) -> dict[str, Any]:
    """A new contact."""
    answer = await api.call("POST", "contacts", json=MARIA | fields)
    assert 201 == answer.status, answer.json
    return dict(answer.json)


async def test_a_contact_is_kept_in_one_normal_form(api: Stand) -> None:
    """The phone in E.164, names trimmed, tags distinct and lower-case, the birthday the day that was written."""
    contact = await created(api)
    shown = {name: contact[name] for name in MARIA}
    assert {
        "phone": "+306900000001",
        "first_name": "Μαρία",
        "last_name": "O'Neil",
        "email": "maria@example.com",
        "gender": "female",
        "birthday": "1990-01-15",
        "tags": ["vip", "new"],
    } == shown
    assert ("GR", False) == (contact["country"], contact["opted_out"])
    assert contact == (await api.call("GET", f"contacts/{contact['id']}")).json


async def test_a_phone_is_one_contact_of_a_store(api: Stand) -> None:
    """In whatever spelling: 409. Another store may have it too."""
    await created(api)
    answer = await api.call("POST", "contacts", json={"phone": "00306900000001"})
    assert (409, "phone_exists") == (answer.status, answer.json["code"])
    other = await new_key(api.db, await new_tenant(api.db, "Other"))
    assert 201 == (await api.call("POST", "contacts", key=other, json=MARIA)).status


async def test_a_change_leaves_the_rest_and_null_clears(api: Stand) -> None:
    """PATCH changes what is named; a phone that is taken is 409 and changes nothing."""
    contact = await created(api)
    await created(api, phone="6900000002")
    path = f"contacts/{contact['id']}"
    changed = await api.call("PATCH", path, json={"gender": None, "birthday": None, "phone": "+306900000003"})
    assert (200, None, None, "+306900000003", "Μαρία") == (
        changed.status,
        changed.json["gender"],
        changed.json["birthday"],
        changed.json["phone"],
        changed.json["first_name"],
    )
    assert 409 == (await api.call("PATCH", path, json={"phone": "6900000002"})).status
    assert changed.json == (await api.call("PATCH", path, json={})).json
    assert 422 == (await api.call("PATCH", path, json={"first_name": None})).status
    assert 404 == (await api.call("PATCH", "contacts/con_999", json={"first_name": "x"})).status


async def test_a_deleted_contact_is_gone_and_its_opt_out_is_not(api: Stand) -> None:
    """204, then 404; a new contact of the phone is still opted out."""
    contact = await created(api)
    await api.call("POST", "suppressions", json={"phone": contact["phone"]})
    path = f"contacts/{contact['id']}"
    assert (204, b"") == ((gone := await api.call("DELETE", path)).status, gone.body)
    assert 404 == (await api.call("DELETE", path)).status
    assert (await created(api))["opted_out"]


async def test_a_list_is_read_page_by_page_without_gaps(api: Stand) -> None:
    """Following next_cursor visits each contact once; the last page has none."""
    ids = [(await created(api, phone=str(6900000000 + n)))["id"] for n in range(5)]
    seen: list[str] = []
    cursor = ""
    for _ in range(3):
        page = (await api.call("GET", f"contacts?limit=2{cursor}")).json
        seen += [item["id"] for item in page["items"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert (ids, None) == (seen, page["next_cursor"])
    found = (await api.call("GET", "contacts?phone=%2B306900000002")).json
    assert [ids[2]] == [item["id"] for item in found["items"]]
    assert [] == (await api.call("GET", "contacts?phone=6900000009")).json["items"]
    assert 422 == (await api.call("GET", "contacts?phone=12")).status


REFUSED: list[tuple[str, Any, str]] = [
    ("phone", "2101234567", "not_mobile"),
    ("phone", "x", "not_a_number"),
    ("email", "a@b", "invalid_email"),
    ("gender", "robot", "unknown_gender"),
    ("birthday", "1899-12-31", "out_of_range"),
    ("birthday", "2999-01-01", "out_of_range"),
    ("first_name", "a\nb", "control_character"),
    ("last_name", "x" * 101, "too_long"),
    ("tags", ["x" * 51], "invalid_tag"),
    ("tags", [str(n) for n in range(51)], "too_many"),
]


async def test_a_field_that_cannot_be_kept_is_refused_by_name(api: Stand) -> None:
    """422 with the field and a stable code."""
    for field, value, code in REFUSED:
        answer = await api.call("POST", "contacts", json=MARIA | {field: value})
        assert (422, [(field, code)]) == (answer.status, [(e["field"], e["code"]) for e in answer.json["errors"]])


async def test_suppressions_are_listed_and_lifted_and_repeat_without_change(api: Stand) -> None:
    """The first source and time stay; DELETE takes any spelling of the phone."""
    first = await api.call("POST", "suppressions", json={"phone": "6900000002"})
    assert (201, "+306900000002", "api") == (first.status, first.json["phone"], first.json["source"])
    assert first.json == (await api.call("POST", "suppressions", json={"phone": "+30 690 000 0002"})).json
    await api.call("POST", "suppressions", json={"phone": "6900000001"})
    page = (await api.call("GET", "suppressions?limit=1")).json
    assert ["+306900000001"] == [item["phone"] for item in page["items"]]
    page = (await api.call("GET", f"suppressions?limit=1&cursor={page['next_cursor']}")).json
    assert (["+306900000002"], None) == ([item["phone"] for item in page["items"]], page["next_cursor"])
    assert 204 == (await api.call("DELETE", "suppressions/+306900000002")).status
    assert 404 == (await api.call("DELETE", "suppressions/6900000002")).status
    assert 404 == (await api.call("DELETE", "suppressions/nonsense")).status
    assert 422 == (await api.call("POST", "suppressions", json={"phone": "1"})).status
