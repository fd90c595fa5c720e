"""API keys as texts: how one is made from random bytes, what is stored of it, and which scopes there are.

What it is for: the rules of a key, without the database. What it is not: it makes no randomness and looks nothing up.

A key is `dsp_` and 40 base62 characters: 238 bits, which is why a plain SHA-256 of it is stored and no slow hash (those
protect what people choose). A look-up by that hash compares nothing of the key itself, so its time tells nothing of it.
"""

import re
from hashlib import sha256

KEY_PREFIX = "dsp_"
KEY_CHARS = 40
KEY_BYTES = 48
SHOWN_CHARS = len(KEY_PREFIX) + 8

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_is_key = re.compile(r"dsp_[0-9A-Za-z]{40,80}").fullmatch

# What a store's key may be allowed to do, and what an operator's key is allowed: never both.
TENANT_SCOPES = (
    "contacts:read",
    "contacts:write",
    "suppressions:read",
    "suppressions:write",
    "campaigns:read",
    "campaigns:write",
    "messages:read",
    "messages:write",
    "wallet:read",
)
ADMIN_SCOPE = "admin"
SCOPES = frozenset({*TENANT_SCOPES, ADMIN_SCOPE})


def key_from_bytes(data: bytes) -> str:
    """The key made of KEY_BYTES random bytes. Their number modulo 62**40 is biased by less than 2**-140.

    ValueError for another count of bytes.
    """
    if len(data) != KEY_BYTES:
        raise ValueError(f"a key is made of {KEY_BYTES} bytes, not {len(data)}")
    number = int.from_bytes(data, "big")
    digits = []
    for _ in range(KEY_CHARS):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return KEY_PREFIX + "".join(digits)


def is_key(text: str) -> bool:
    """Whether a text has the form of a key: any other is refused before a query."""
    return _is_key(text) is not None


def key_hash(key: str) -> bytes:
    """What is stored and looked up: SHA-256 of the key, 32 bytes."""
    return sha256(key.encode()).digest()


def shown_prefix(key: str) -> str:
    """The part of a key that may be shown in lists: it tells keys apart and helps nobody to guess one."""
    return key[:SHOWN_CHARS]
