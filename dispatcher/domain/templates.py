"""Campaign texts with merge tags: parsed once into literals and slots, rendered one recipient at a time.

What it is for: the truth about what a text means, used by the API (errors at creation), by previews and single sends.
What it is not: the hot path (`rendering.py` renders batches, and must equal this); it escapes nothing, since an SMS is
plain text: line breaks, `&`, `<`, `>`, `$&` and single braces are the customer's own words.

The language (the contract, "Merge tags"): `{{first_name}}`, `{{last_name}}`, `{{email}}`, each with an optional fallback
after a bar, `{{first_name|friend}}`. Spaces inside the braces, and around the fallback, mean nothing. Of a run of opening
braces the last two open the tag; the first `}}` closes it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

FIELDS = ("first_name", "last_name", "email")
TEXT_CHARS_MAX = 2_000

# What a value may not bring along: controls other than the line feed (an escape would change the count of septets), and
# lone surrogates, which are not text. U+2028 and other format characters are text, if odd.
find_unclean = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]").search
_drop_unclean = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]+").sub
# The customer's own text may also have the carriage returns and tabs that a browser's text area sends.
_find_forbidden = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]").search
_find_open = re.compile(r"\{\{(?!\{)").search


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for a recipient's field; `fallback` stands in for a blank value."""

    field: str
    fallback: str = ""

    def fill(self, value: str) -> str:
        """The text that goes here for `value`: cleaned, or the fallback when nothing visible is left of it."""
        cleaned = clean(value)
        return self.fallback if not cleaned or cleaned.isspace() else cleaned


@dataclass(frozen=True, slots=True)
class Template:
    """`literals[0] slots[0] literals[1] ... slots[k-1] literals[k]`: one literal more than slots, any may be empty."""

    literals: tuple[str, ...]
    slots: tuple[Slot, ...]

    @property
    def tags(self) -> tuple[str, ...]:
        """The distinct fields that the text uses, in the order they first occur."""
        return tuple(dict.fromkeys(slot.field for slot in self.slots))

    def render(self, values: Mapping[str, str]) -> str:
        """The text for one recipient; a field missing from `values` is blank. What a value holds is never a tag."""
        pieces = [self.literals[0]]
        for slot, literal in zip(self.slots, self.literals[1:], strict=True):
            pieces += (slot.fill(values.get(slot.field, "")), literal)
        return "".join(pieces)


@dataclass(frozen=True, slots=True)
class TemplateError:
    """Why a text is no template. `position` counts characters from 0; `tag` is what was written between the braces.

    Codes: unknown_tag, empty_tag, unclosed_tag, control_character, too_long.
    """

    code: str
    tag: str
    position: int
    message: str


def clean(value: str) -> str:
    """`value` without control characters (line feeds stay) and lone surrogates."""
    return _drop_unclean("", value) if find_unclean(value) else value


def parse(text: str) -> Template | TemplateError:
    """Read a text of 0 to TEXT_CHARS_MAX characters; the first error found, if there is one."""
    if len(text) > TEXT_CHARS_MAX:
        message = f"the text has {len(text)} characters; at most {TEXT_CHARS_MAX} are allowed"
        return TemplateError("too_long", "", TEXT_CHARS_MAX, message)
    if forbidden := _find_forbidden(text):
        message = f"the text has a control character (U+{ord(forbidden.group()):04X})"
        return TemplateError("control_character", "", forbidden.start(), message)
    literals: list[str] = []
    slots: list[Slot] = []
    done = 0
    while opening := _find_open(text, done):
        close = text.find("}}", opening.end())
        slot = _read_tag(text, opening.start(), close)
        if isinstance(slot, TemplateError):
            return slot
        literals.append(text[done : opening.start()])
        slots.append(slot)
        done = close + 2
    return Template((*literals, text[done:]), tuple(slots))


def _read_tag(text: str, start: int, close: int) -> Slot | TemplateError:
    """The slot that opens at `start` and closes at `close` (-1: never)."""
    inside = text[start + 2 : close] if close >= 0 else ""
    if close < 0 or "{{" in inside:
        return TemplateError("unclosed_tag", "", start, "a tag opens with {{ and is not closed with }}")
    name, _, fallback = inside.partition("|")
    name = name.strip()
    if not name:
        return TemplateError("empty_tag", "", start, "a tag has no field: write one of " + _allowed())
    if name not in FIELDS:
        return TemplateError("unknown_tag", name, start, f"there is no field {name!r}: write one of " + _allowed())
    return Slot(name, fallback.strip())


def _allowed() -> str:
    return ", ".join("{{" + field + "}}" for field in FIELDS)
