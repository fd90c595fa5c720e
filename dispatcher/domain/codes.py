"""Link codes: 11 base62 characters, 4 of the batch's prefix and 7 that are random.

What it is for: a message's own short link and opt-out link, and the evidence that resolves an uncertain send (the code is
in the text that the provider shows). What it is not: it makes no randomness and stores nothing; a code is valid only if
its prefix and suffix are found in the database.

Seven random characters are 62**7 = 3.5e12 possibilities (41 bits) within each batch: guessing one live code of a
5,000-message batch takes 700 million tries on average.
"""

import re
import struct
from collections.abc import Sequence

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PREFIX_CHARS = 4
SUFFIX_CHARS = 7
CODE_CHARS = PREFIX_CHARS + SUFFIX_CHARS
PREFIX_END = 62**PREFIX_CHARS
SUFFIX_END = 62**SUFFIX_CHARS
BYTES_PER_SUFFIX = 8

_VALUE = {character: value for value, character in enumerate(ALPHABET)}
_PAIRS = [a + b for a in ALPHABET for b in ALPHABET]
_is_code = re.compile(r"[0-9A-Za-z]{11}").fullmatch
_codes_in = re.compile(r"/[uso]/([0-9A-Za-z]{11})(?![0-9A-Za-z])").findall


def encode(prefix: int, suffix: int) -> str:
    """The code of `prefix` (0 <= prefix < 62**4) and `suffix` (0 <= suffix < 62**7). ValueError outside these."""
    return encode_many(prefix, (suffix,))[0]


def encode_many(prefix: int, suffixes: Sequence[int]) -> list[str]:
    """The codes of a batch, in order. ValueError when the prefix or a suffix is out of range."""
    if not 0 <= prefix < PREFIX_END:
        raise ValueError(f"a link prefix is in [0, 62**4), not {prefix}")
    if suffixes and not 0 <= min(suffixes) <= max(suffixes) < SUFFIX_END:
        raise ValueError("a link suffix is in [0, 62**7)")
    pairs, two, four, six = _PAIRS, 62**2, 62**4, 62**6
    head = pairs[prefix // two] + pairs[prefix % two]
    return [
        f"{head}{ALPHABET[s // six]}{pairs[s // four % two]}{pairs[s // two % two]}{pairs[s % two]}" for s in suffixes
    ]


def decode(text: str) -> tuple[int, int] | None:
    """The prefix and suffix of a code; None for anything that `encode` does not make."""
    if not _is_code(text):
        return None
    return _number(text[:PREFIX_CHARS]), _number(text[PREFIX_CHARS:])


def suffixes_from_bytes(data: bytes, n: int) -> list[int]:
    """`n` distinct suffixes from random bytes, eight bytes each; the bytes of a repeated one are skipped.

    Each is a 64-bit number modulo 62**7: the bias is below 62**7 / 2**64 = 2e-7, too small to help a guess.
    Give bytes for a few more than `n` (a repeat has odds of 4e-6 in 5,000). ValueError when they do not suffice.
    """
    available = len(data) // BYTES_PER_SUFFIX
    if n < 0 or available < n:
        raise ValueError(f"{n} suffixes need {n * BYTES_PER_SUFFIX} bytes at least, not {len(data)}")
    numbers = struct.unpack(f"<{available}Q", data[: available * BYTES_PER_SUFFIX])
    distinct = list(dict.fromkeys(number % SUFFIX_END for number in numbers))
    if len(distinct) < n:
        raise ValueError(f"{len(data)} bytes gave {len(distinct)} distinct suffixes of {n}: give more")
    return distinct[:n]


def find_code(text: str) -> list[str]:
    """The distinct codes that follow `/u/`, `/s/` or `/o/` in a message's text, in order: candidates, not proof."""
    return list(dict.fromkeys(_codes_in(text)))


def _number(digits: str) -> int:
    number = 0
    for digit in digits:
        number = number * 62 + _VALUE[digit]
    return number
