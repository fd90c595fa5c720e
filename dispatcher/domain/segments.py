"""How many SMS segments a text takes, and where they end: GSM 03.38 and UCS-2.

What it is for: the price, the rate and the preview all count segments, and they count them here. What it is not: it
renders nothing, prices nothing, and knows no national shift table (a text that needs one goes as UCS-2).

Rules and where they come from: 3GPP TS 23.038 section 6.2.1 (default alphabet and its extension table; an extension
character takes two septets, its escape and itself), 3GPP TS 23.040 section 9.2.3.24.1 (the concatenation header leaves
153 septets or 67 UTF-16 units of each segment), and the rule of receivers that neither an escape pair nor a surrogate
pair may be cut in two.
"""

import re
from dataclasses import dataclass
from enum import Enum

# TS 23.038 6.2.1 in the order of the table; 0x1B (escape) is not a character, so a text that holds one is not GSM.
GSM_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_EXTENSION = "\f^{}\\[~]|€"

GSM_SINGLE_SEPTETS = 160
GSM_PART_SEPTETS = 153
UCS2_SINGLE_UNITS = 70
UCS2_PART_UNITS = 67


def _character_class(characters: str, *, negated: bool = False) -> str:
    """A regular expression class of `characters`, spelt in code points so that Python and PostgreSQL read it alike."""
    return "[" + ("^" if negated else "") + "".join(f"\\u{ord(c):04x}" for c in characters) + "]"


# Public as text: the planner asks PostgreSQL the same questions of a column (`column ~ pattern`).
NON_GSM_PATTERN = _character_class(GSM_BASIC + GSM_EXTENSION, negated=True)
EXTENSION_PATTERN = _character_class(GSM_EXTENSION)

_NON_GSM = re.compile(NON_GSM_PATTERN)
_EXTENSION = re.compile(EXTENSION_PATTERN)
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
# The same questions of many texts joined: the first such character, or None.
find_non_gsm = _NON_GSM.search
find_extension = _EXTENSION.search
find_astral = _ASTRAL.search
find_double = re.compile(f"{EXTENSION_PATTERN}|{_ASTRAL.pattern}").search
# Put before a character that takes two units; neither can be in a text that is counted (escape is not GSM, and a lone
# surrogate is not text), so it can be taken out again.
_ESCAPE = "\x1b"
_SURROGATE = "\ud800"


class Encoding(Enum):
    """How the text travels: its data coding scheme."""

    GSM7 = "gsm7"
    UCS2 = "ucs2"


@dataclass(frozen=True, slots=True)
class SegmentCount:
    """`units` are septets (GSM7) or UTF-16 code units (UCS2); `segments` is what is charged."""

    encoding: Encoding
    units: int
    segments: int


def is_gsm(text: str) -> bool:
    """Whether every character is in the default alphabet or its extension table."""
    return find_non_gsm(text) is None


def forcing_characters(text: str) -> tuple[str, ...]:
    """The distinct characters that force UCS-2, in the order they first occur; empty when the text is GSM."""
    return tuple(dict.fromkeys(_NON_GSM.findall(text)))


def extension_count(text: str) -> int:
    """How many characters take two septets when the text goes as GSM."""
    return len(_EXTENSION.findall(text))


def astral_count(text: str) -> int:
    """How many characters are outside the basic multilingual plane: two UTF-16 units each when it goes as UCS-2."""
    return len(_ASTRAL.findall(text))


def count(text: str) -> SegmentCount:
    """Count the units and segments of `text` (no lone surrogates), exactly.

    An empty text has 0 units and 0 segments: nothing is sent.
    """
    if find_non_gsm(text) is None:
        encoding, single, part, pairs = Encoding.GSM7, GSM_SINGLE_SEPTETS, GSM_PART_SEPTETS, extension_count(text)
    else:
        encoding, single, part, pairs = Encoding.UCS2, UCS2_SINGLE_UNITS, UCS2_PART_UNITS, astral_count(text)
    units = len(text) + pairs
    if units <= single:
        segments = 1 if units else 0
    elif not pairs:
        segments = -(-units // part)
    else:
        segments = len(_parts(text, encoding))
    return SegmentCount(encoding, units, segments)


def split(text: str) -> list[str]:
    """The texts of the segments, in order; joined they are `text`. As many as `count(text).segments`."""
    counted = count(text)
    if counted.segments <= 1:
        return [text] if text else []
    marker = _ESCAPE if counted.encoding is Encoding.GSM7 else _SURROGATE
    return [part.replace(marker, "") for part in _parts(text, counted.encoding)]


def segments_at_most(units: int, pairs: int, encoding: Encoding) -> int:
    """The most segments a text of `units` units can take, `pairs` of whose characters take two units.

    A boundary loses at most one unit, and only to a pair of its own: s parts hold at least s x part - min(pairs, s - 1).
    Never falls when `units` or `pairs` grows.
    """
    single, part = _capacity(encoding)
    if units <= single:
        return 1 if units else 0
    segments = -(-units // part)
    while segments * part - min(pairs, segments - 1) < units:
        segments += 1
    return segments


def _capacity(encoding: Encoding) -> tuple[int, int]:
    if encoding is Encoding.GSM7:
        return GSM_SINGLE_SEPTETS, GSM_PART_SEPTETS
    return UCS2_SINGLE_UNITS, UCS2_PART_UNITS


def _parts(text: str, encoding: Encoding) -> list[str]:
    """The segments of a concatenated text, one character a unit (a marker stands for the first half of a pair)."""
    if encoding is Encoding.GSM7:
        marker, part_units = _ESCAPE, GSM_PART_SEPTETS
        units = _EXTENSION.sub(_ESCAPE + r"\g<0>", text)
    else:
        marker, part_units = _SURROGATE, UCS2_PART_UNITS
        units = _ASTRAL.sub(_SURROGATE + r"\g<0>", text)
    parts: list[str] = []
    start = 0
    while start < len(units):
        end = start + part_units
        if end < len(units) and units[end - 1] == marker:
            end -= 1
        parts.append(units[start:end])
        start = end
    return parts
