"""A provider's id becomes a 128-bit key and comes back to the letter."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.domain.provider_ids import FORM_HASH, FORM_ULID, FORM_UUID, from_key, to_key, to_keys

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
uuids = st.uuids().map(str)
ulids = st.tuples(st.sampled_from("01234567"), st.text(st.sampled_from(CROCKFORD), min_size=25, max_size=25)).map(
    "".join
)
others = st.text(max_size=40) | uuids.map(str.upper) | ulids.map(str.lower) | ulids.map(lambda u: "8" + u[1:])
ids = uuids | ulids | others


def round_trip(provider_id: str) -> tuple[str, int]:
    key = to_key("mitto", provider_id)
    assert uuid.UUID(key.uuid_hex).hex == key.uuid_hex
    kept = provider_id if key.form == FORM_HASH else None
    assert from_key(str(uuid.UUID(key.uuid_hex)), key.form, kept) == from_key(key.uuid_hex, key.form, kept)
    return from_key(key.uuid_hex, key.form, kept), key.form


@given(uuids)
def test_a_uuid_is_kept_bit_for_bit(provider_id: str) -> None:
    """The key of a canonical UUID is the UUID; no text need be kept."""
    assert round_trip(provider_id) == (provider_id, FORM_UUID)
    assert uuid.UUID(provider_id).hex == to_key("mitto", provider_id).uuid_hex


@given(ulids)
def test_a_ulid_is_kept_bit_for_bit(provider_id: str) -> None:
    """The key of a canonical ULID is its 128 bits; no text need be kept."""
    number = 0
    for character in provider_id:
        number = number * 32 + CROCKFORD.index(character)

    assert round_trip(provider_id) == (provider_id, FORM_ULID)
    assert f"{number:032x}" == to_key("mitto", provider_id).uuid_hex


@given(ids)
def test_any_id_comes_back(provider_id: str) -> None:
    """Whatever an id looks like, key, form and kept text give it back."""
    assert provider_id == round_trip(provider_id)[0]


@given(others)
def test_other_ids_are_hashed_with_their_provider(provider_id: str) -> None:
    """An id that is no canonical UUID or ULID has a key of its own for each provider."""
    key = to_key("mitto", provider_id)
    if key.form == FORM_HASH:
        assert key.uuid_hex != to_key("twilio", provider_id).uuid_hex


@pytest.mark.parametrize(
    "near",
    [
        "01ARZ3NDEKTSV4RRFFQ69G5FAV\n",
        "81ARZ3NDEKTSV4RRFFQ69G5FAV",
        "01ARZ3NDEKTSV4RRFFQ69G5FAU",
        "01ARZ3NDEKTSV4RRFFQ69G5FAv",
        "6BA7B810-9dad-11d1-80b4-00c04fd430c8",
        "6ba7b8109dad11d180b400c04fd430c8",
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8 ",
        "",
        "\ud800",
    ],
)
def test_what_is_nearly_canonical_is_hashed(near: str) -> None:
    """Another spelling would come back changed, so it is not taken for the canonical one."""
    assert round_trip(near) == (near, FORM_HASH)


@given(st.lists(ulids) | st.lists(uuids) | st.lists(ids) | st.lists(ulids).map(lambda many: ["\n".join(many)]))
def test_many_keys_are_each_key(many: list[str]) -> None:
    """The fast way over a provider's answer equals one id at a time, also where an id holds a line break."""
    expected = [to_key("mitto", provider_id) for provider_id in many]

    assert ([key.uuid_hex for key in expected], [key.form for key in expected]) == to_keys("mitto", many)


@pytest.mark.parametrize(("form", "raw"), [(3, "x"), (FORM_HASH, None)])
def test_a_key_that_names_no_id_is_refused(form: int, raw: str | None) -> None:
    """A hash without its text cannot be turned back, and says so."""
    with pytest.raises(ValueError, match="names no id"):
        from_key("0" * 32, form, raw)
