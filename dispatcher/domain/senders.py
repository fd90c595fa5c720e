"""Sender ids: what a recipient sees the message come from, checked before it is stored.

What it is for: a sender that the provider would refuse is refused at the form, not turned into another one at the send.
What it is not: proof that the tenant may use the name; some countries want senders registered.

Rules: the provider takes 3 to 11 alphanumeric characters without spaces, or a number of 3 to 15 digits. The alphanumeric
limit of 11 is that of a GSM address field (3GPP TS 23.040 section 9.1.2.5); only ASCII letters are safe in it everywhere.
"""

import re
from dataclasses import dataclass
from typing import Literal

_is_number = re.compile(r"\+?[0-9]{3,15}").fullmatch
_is_name = re.compile(r"[0-9A-Za-z]{3,11}").fullmatch


@dataclass(frozen=True, slots=True)
class Sender:
    """A sender that can be used. `text` is as it is sent: a number is its digits, without `+`."""

    text: str
    kind: Literal["alphanumeric", "numeric"]


@dataclass(frozen=True, slots=True)
class SenderError:
    """Why a text is no sender. Codes: empty, too_short, too_long, forbidden_character."""

    code: str
    message: str


def parse(text: str) -> Sender | SenderError:
    """Read a sender id as typed; nothing is trimmed or corrected but a leading `+` of a number."""
    if _is_number(text):
        return Sender(text.removeprefix("+"), "numeric")
    if _is_name(text):
        return Sender(text, "alphanumeric")
    characters = text.removeprefix("+")
    if not characters:
        return SenderError("empty", "a sender is needed")
    numeric = characters.isascii() and characters.isdigit()
    if not numeric and not (text.isascii() and text.isalnum()):
        return SenderError(
            "forbidden_character", "a sender has only the letters A-Z and a-z and digits: no spaces or signs"
        )
    limit = "a number has 3 to 15 digits" if numeric else "a name has 3 to 11 characters"
    return SenderError("too_short" if len(characters) < 3 else "too_long", limit)
