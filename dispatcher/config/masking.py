"""Hides phone numbers and secrets in what is logged. Pure: values in, values out.

What is a secret is known by its key, or by the words around it in a text (a URL's password, "Bearer ...", "api_key=...").
What is a phone number is known by its key, or in a text by its form: a plus and 8 to 15 digits (E.164), which may be set
apart by spaces, dots, dashes or brackets. Digits without a plus in a text may be anything (an id, an amount), and stay.
The first four and the last two digits of a number stay readable: enough to follow a case, not to call.
"""

import re
from collections.abc import Mapping
from typing import Any

from dispatcher.config.secret import MASK

# Values nest as deep as JSON from a provider does; deeper is shown as its type only.
_DEPTH_MAX = 12

_SECRET_KEY = re.compile(
    r"api_?-?key|authori[sz]ation|cookie|credential|dsn|database_url|redis_url|passw|secret|signature|token|private_?key",
    re.IGNORECASE,
)
_PHONE_KEYS = frozenset(
    {
        "phone",
        "phones",
        "destination",
        "destinations",
        "to",
        "from",
        "msisdn",
        "recipient",
        "recipients",
        "sender_phone",
    }
)
_PHONE_IN_TEXT = re.compile(r"(?<![\w+])\+\(?\d(?:[ .()\-]{0,2}\d){7,14}(?!\d)")
_DIGIT_RUN = re.compile(r"\+?\d(?:[ .()\-]{0,2}\d){4,}")
_KEPT_FIRST, _KEPT_LAST = 4, 2
_DIGITS_MASKED_MIN = 4
# `from` and `to` are also the ends of a range: smaller numbers are no phone's.
_PHONE_INT_MIN = 1_000_000

_SECRETS_IN_TEXT: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?<=://)([^\s/@:]*):[^\s/@]+@"), rf"\1:{MASK}@"),
    (re.compile(r"\b(Bearer|Basic)\s+[^\s,;'\"]+", re.IGNORECASE), rf"\1 {MASK}"),
    (
        re.compile(
            r"(api[_-]?key|authorization|password|passwd|secret|signature|token)"
            r"(['\"]?\s*[=:]\s*['\"]?)(?!Bearer |Basic )[^\s,;&'\"}\])]+",
            re.IGNORECASE,
        ),
        rf"\1\2{MASK}",
    ),
)


def masked(key: str, value: Any, depth: int = 0) -> Any:
    """The value under `key`, with what it should not show hidden, at any depth. Always something that JSON can hold."""
    if isinstance(value, bool | float | None):
        return value
    if isinstance(value, int):
        is_phone = key.lower() in _PHONE_KEYS and abs(value) >= _PHONE_INT_MIN
        return _number(str(value)) if is_phone else value
    if _SECRET_KEY.search(key):
        return MASK
    if isinstance(value, Mapping | list | tuple | set | frozenset) and depth >= _DEPTH_MAX:
        return f"<{type(value).__name__}>"
    if isinstance(value, Mapping):
        return {text(str(name)): masked(str(name), below, depth + 1) for name, below in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [masked(key, item, depth + 1) for item in value]
    words = value if isinstance(value, str) else str(value)
    return text(_DIGIT_RUN.sub(_hidden, words) if key.lower() in _PHONE_KEYS else words)


def text(words: str) -> str:
    """A text with the numbers and secrets in it hidden."""
    if "+" in words:
        words = _PHONE_IN_TEXT.sub(_hidden, words)
    for pattern, instead in _SECRETS_IN_TEXT:
        words = pattern.sub(instead, words)
    return words


def _hidden(match: re.Match[str]) -> str:
    return _number(match[0])


def _number(written: str) -> str:
    """The first and last digits of a number; of a short one fewer, so that four at least are hidden."""
    digits = "".join(char for char in written if char.isdigit())
    first = max(0, min(_KEPT_FIRST, len(digits) - _KEPT_LAST - _DIGITS_MASKED_MIN))
    last = _KEPT_LAST if len(digits) > _DIGITS_MASKED_MIN + _KEPT_LAST else 0
    plus = "+" if written.lstrip().startswith("+") else ""
    return f"{plus}{digits[:first]}{MASK}{digits[len(digits) - last :]}"
