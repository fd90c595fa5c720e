"""Providers' message ids as 128-bit keys: what `delivery.provider_key` (uuid) holds.

What it is for: an index of 16-byte keys is a third cheaper to fill than one of texts, and most providers' ids are 128
bits anyway. What it is not: a check of ids; an id that a provider left out is for the provider's file to refuse (an
empty id has a key like any other text).

Three forms, so that each id is given back to the letter: 0 a canonical UUID (RFC 9562 section 4: lower-case hex and
dashes), 1 a canonical ULID (26 upper-case Crockford characters of at most 128 bits), both kept bit for bit; 2 anything
else, as BLAKE2b-128 of the provider's name, a NUL and the id: then the raw text must be kept beside the key.
"""

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

FORM_UUID = 0
FORM_ULID = 1
FORM_HASH = 2

_CROCKFORD = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_BASE32 = b"0123456789ABCDEFGHIJKLMNOPQRSTUV"
_TO_BASE32 = bytes.maketrans(_CROCKFORD, _BASE32)
_ULID = "[0-7][0-9A-HJKMNP-TV-Z]{25}"
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_is_ulid = re.compile(_ULID).fullmatch
_is_uuid = re.compile(_UUID).fullmatch
# Possessive: a list of a hundred thousand ids must not leave a way back for each.
_are_ulids = re.compile(f"(?:{_ULID}\n)*+").fullmatch
_are_uuids = re.compile(f"(?:{_UUID}\n)*+").fullmatch


class ProviderKey(NamedTuple):
    """`uuid_hex`: 32 lower-case hex digits; `form`: FORM_UUID, FORM_ULID or FORM_HASH."""

    uuid_hex: str
    form: int


def to_key(provider: str, provider_id: str) -> ProviderKey:
    """The key of an id. Any text has one; equal texts of one provider have equal keys."""
    if _is_ulid(provider_id):
        return ProviderKey(_ulid_hex(provider_id.encode().translate(_TO_BASE32)), FORM_ULID)
    if _is_uuid(provider_id):
        return ProviderKey(provider_id.replace("-", ""), FORM_UUID)
    # surrogatepass: a lone surrogate is no text, but a report that holds one must not fail the reports beside it.
    data = f"{provider}\0{provider_id}".encode("utf-8", "surrogatepass")
    return ProviderKey(blake2b(data, digest_size=16).hexdigest(), FORM_HASH)


def to_keys(provider: str, ids: Sequence[str]) -> tuple[list[str], list[int]]:
    """The keys of many ids, in order, as (hex digits, forms); the same as `to_key` of each."""
    joined = "\n".join(ids) + "\n" if ids else ""
    # The length too: an id that holds a line break would pass for two.
    if len(joined) == 27 * len(ids) and _are_ulids(joined):
        digits = joined.encode().translate(_TO_BASE32).split()
        # One hex() for all, cut in pieces: half the time of formatting each.
        packed = b"".join([int(digit, 32).to_bytes(16, "big") for digit in digits]).hex()
        return [packed[at : at + 32] for at in range(0, len(packed), 32)], [FORM_ULID] * len(ids)
    if len(joined) == 37 * len(ids) and _are_uuids(joined):
        return joined.replace("-", "").split(), [FORM_UUID] * len(ids)
    keys = [to_key(provider, provider_id) for provider_id in ids]
    return [key.uuid_hex for key in keys], [key.form for key in keys]


def from_key(uuid_hex: str, form: int, raw: str | None) -> str:
    """The provider's id again, to the letter. `uuid_hex` may have dashes; `raw` is what was kept beside a FORM_HASH key.

    ValueError for a form that does not exist, or a FORM_HASH key without its text.
    """
    if form == FORM_UUID:
        digits = uuid_hex.replace("-", "")
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
    if form == FORM_ULID:
        number = int(uuid_hex.replace("-", ""), 16)
        return "".join(chr(_CROCKFORD[number >> shift & 31]) for shift in range(125, -5, -5))
    if form != FORM_HASH or raw is None:
        raise ValueError(f"a provider key of form {form} with the text {raw!r} names no id")
    return raw


def _ulid_hex(base32: bytes) -> str:
    return f"{int(base32, 32):032x}"
