"""Ids as the outside world sees them: a prefix that says what kind of thing it is, and a number.

What it is for: an API key pasted where a campaign's id belongs is refused with a reason, before any query. What it is
not: a secret or an access check; ids are opaque to others, and every query still names its tenant.

The text is canonical: each number has one text, and each text at most one number.
"""

import re
from enum import Enum

ID_END = 2**63
POSITION_END = 2**31

# Ten digits more than bigint's nineteen would only waste time in int(); ASCII digits only, no sign, no leading zero.
_NUMBER = "[1-9][0-9]{0,18}"
_is_number = re.compile(_NUMBER).fullmatch
_is_message = re.compile(f"msg_({_NUMBER})_({_NUMBER})").fullmatch
_is_direct = re.compile(f"dmg_({_NUMBER})_({_NUMBER})").fullmatch


class Kind(Enum):
    """What an id names; the value is its prefix."""

    TENANT = "ten_"
    USER = "usr_"
    KEY = "key_"
    CONTACT = "con_"
    CAMPAIGN = "cmp_"
    BATCH = "bat_"
    JOURNAL = "jrn_"
    IMPORT = "imp_"
    LIST = "lst_"
    TEMPLATE = "tpl_"


def encode(kind: Kind, number: int) -> str:
    """The id of `number` (1 <= number < 2**63). ValueError outside this."""
    return kind.value + _checked(number, ID_END)


def decode(kind: Kind, text: str) -> int | None:
    """The number of an id of this kind; None for any text that `encode` does not make."""
    digits = text.removeprefix(kind.value)
    if len(digits) == len(text) or not _is_number(digits):
        return None
    number = int(digits)
    return number if number < ID_END else None


def encode_message(campaign_id: int, n: int) -> str:
    """The id of a campaign's message: the campaign (1 <= campaign_id < 2**63) and the position in it (1 <= n < 2**31).

    ValueError outside.
    """
    return f"msg_{_checked(campaign_id, ID_END)}_{_checked(n, POSITION_END)}"


def decode_message(text: str) -> tuple[int, int] | None:
    """The campaign and position of a message's id; None for any text that `encode_message` does not make."""
    return _pair(_is_message(text))


def encode_direct(batch_id: int, n: int) -> str:
    """The id of a direct message: its batch (1 <= batch_id < 2**63) and its position in it (1 <= n < 2**31).

    ValueError outside.
    """
    return f"dmg_{_checked(batch_id, ID_END)}_{_checked(n, POSITION_END)}"


def decode_direct(text: str) -> tuple[int, int] | None:
    """The batch and position of a direct message's id; None for any text that `encode_direct` does not make."""
    return _pair(_is_direct(text))


def _pair(match: re.Match[str] | None) -> tuple[int, int] | None:
    if match is None:
        return None
    number, n = int(match[1]), int(match[2])
    return (number, n) if number < ID_END and n < POSITION_END else None


def _checked(number: int, end: int) -> str:
    if not 1 <= number < end:
        raise ValueError(f"a number in an id is in [1, {end}), not {number}")
    return str(number)
