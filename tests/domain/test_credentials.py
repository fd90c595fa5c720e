"""Keys have one form, enough randomness, and are stored as a hash only."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.domain import credentials


@given(st.binary(min_size=credentials.KEY_BYTES, max_size=credentials.KEY_BYTES))
def test_every_key_has_the_form_that_is_looked_up(data: bytes) -> None:
    """`dsp_` and 40 base62 characters; the hash is SHA-256; what is shown is a prefix of it."""
    key = credentials.key_from_bytes(data)
    assert credentials.is_key(key)
    assert 44 == len(key)
    assert sha256(key.encode()).digest() == credentials.key_hash(key)
    assert key.startswith(credentials.shown_prefix(key))
    assert 12 == len(credentials.shown_prefix(key))


@given(st.text(max_size=60))
def test_other_texts_are_no_keys(text: str) -> None:
    """Whatever is pasted there: no query is made for it."""
    assert not credentials.is_key(text) or text.startswith("dsp_")
    assert not credentials.is_key(f"dsp_{'A' * 39}\n")


def test_too_few_bytes_make_no_key() -> None:
    """Less randomness is an error, not a weaker key."""
    with pytest.raises(ValueError, match="48 bytes"):
        credentials.key_from_bytes(bytes(47))


def test_an_operators_scope_is_none_of_a_tenants() -> None:
    """The two sets never meet."""
    assert credentials.ADMIN_SCOPE not in credentials.TENANT_SCOPES
    assert credentials.SCOPES == {*credentials.TENANT_SCOPES, credentials.ADMIN_SCOPE}
