"""The texts and segments of a batch: the hot path of a campaign, a thousand recipients a call.

What it is for: the same result as `Template.render` + the tail + `segments.count` for each recipient, at a fraction of
the cost: what is the same for all is worked out once, what can be asked of the whole chunk is asked once, and a text is
counted character by character only when its length alone does not say how many segments it has. What it is not: another
meaning of templates or segments; a property test holds the two ways equal.

The tail is the fixed end of every text (links, the opt-out line); each `{code}` in it is the recipient's link code.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dispatcher.domain.codes import CODE_CHARS
from dispatcher.domain.segments import (
    Encoding,
    astral_count,
    count,
    extension_count,
    find_astral,
    find_double,
    find_extension,
    find_non_gsm,
    is_gsm,
    segments_at_most,
)
from dispatcher.domain.templates import FIELDS, Slot, Template, clean, find_unclean

ROWS_MAX = 5_000
CODE_MARK = "{code}"
# (first_name, last_name, email, code)
Row = tuple[str, str, str, str]


def links_tail(public_base_url: str, *, short_link: bool, stop: str = "Stop: ") -> str:
    """The tail of a campaign: the short link when it has a link, and always the opt-out link."""
    base = public_base_url.rstrip("/")
    link = f"\n{base}/s/{CODE_MARK}" if short_link else ""
    return f"{link}\n{stop}{base}/u/{CODE_MARK}"


@dataclass(frozen=True, slots=True)
class Rendered:
    """Parallel lists, one place a row: the text, its segments (what is charged) and its encoding."""

    texts: list[str]
    segments: list[int]
    encodings: list[Encoding]


@dataclass(frozen=True, slots=True)
class FieldBounds:
    r"""What is known of one merge field over a chunk, from its raw values; each may be more than the truth, never less.

    In SQL, over a column `v`: `chars_max` is max(length(v)), `gsm` is coalesce(bool_and(v !~ NON_GSM_PATTERN), true),
    `extension_max` is max(length(v) - length(translate(v, GSM_EXTENSION, ''))), and `astral_max` is
    max(length(regexp_replace(v, '[\u0001-\uffff]', '', 'g'))); the names are those of `segments.py`.
    """

    chars_max: int
    gsm: bool
    extension_max: int
    astral_max: int

    @classmethod
    def of(cls, values: Iterable[str]) -> "FieldBounds":
        """The bounds of these values; of none, those of an empty value."""
        bounds = cls(0, gsm=True, extension_max=0, astral_max=0)
        for value in values:
            bounds = bounds.widened(value)
        return bounds

    def widened(self, value: str) -> "FieldBounds":
        """Bounds that also hold for `value`."""
        return FieldBounds(
            max(self.chars_max, len(value)),
            gsm=self.gsm and is_gsm(value),
            extension_max=max(self.extension_max, extension_count(value)),
            astral_max=max(self.astral_max, astral_count(value)),
        )


class BatchRenderer:
    """Renders one campaign's texts; holds what is the same in all of them, and never changes."""

    def __init__(self, template: Template, tail: str) -> None:
        self._slots = template.slots
        self._code_places = tail.count(CODE_MARK)
        static = "".join(template.literals) + tail.replace(CODE_MARK, "")
        self._static_chars = len(static)
        self._static_gsm = is_gsm(static)
        self._static_extensions = extension_count(static)
        self._static_astral = astral_count(static)
        # A %-format: the quickest way Python has to put values between literals.
        literals = "%s".join(literal.replace("%", "%%") for literal in template.literals)
        self._format = literals + tail.replace("%", "%%").replace(CODE_MARK, "%s")

    def render(self, rows: Sequence[Row]) -> Rendered:
        """The texts of at most ROWS_MAX rows of (first_name, last_name, email, code); values as they are stored.

        ValueError for more rows, or a code that is not 11 ASCII letters and digits.
        """
        used = {slot.field for slot in self._slots}
        columns = {field: [row[at] for row in rows] for at, field in enumerate(FIELDS) if field in used}
        return self.render_columns(columns, [row[3] for row in rows])

    def render_columns(self, columns: Mapping[str, Sequence[str]], codes: Sequence[str]) -> Rendered:
        """The same from one list of values for each field that the template uses, and the codes."""
        _check_codes(codes)
        if not codes:
            return Rendered([], [], [])
        filled = [_fill(slot, columns[slot.field]) for slot in self._slots]
        # strict in effect: a column shorter or longer than the codes is refused before any text is made.
        if any(len(column) != len(codes) for column in filled):
            raise ValueError("the columns are not of one length")
        places = [*filled, *([codes] * self._code_places)]
        texts = (
            [self._format % row for row in zip(*places, strict=True)] if places else [self._format % ()] * len(codes)
        )
        return self._counted(texts, filled)

    def worst_case_segments(self, bounds: Mapping[str, FieldBounds]) -> int:
        """At least the segments of any row whose fields are within `bounds` (KeyError when one that is used is missing).

        Each slot is taken at its longest, its fallback included; a chunk where any value leaves GSM is taken to be UCS-2
        in the row where all is longest.
        """
        per_slot = [bounds[slot.field].widened(slot.fallback) for slot in self._slots]
        chars = self._static_chars + CODE_CHARS * self._code_places + sum(b.chars_max for b in per_slot)
        astral = self._static_astral + sum(b.astral_max for b in per_slot)
        extensions = self._static_extensions + sum(b.extension_max for b in per_slot)
        as_gsm = segments_at_most(chars + extensions, extensions, Encoding.GSM7) if self._static_gsm else 0
        if self._static_gsm and all(b.gsm for b in per_slot):
            return as_gsm
        return max(as_gsm, segments_at_most(chars + astral, astral, Encoding.UCS2))

    def _counted(self, texts: list[str], filled: Sequence[Sequence[str]]) -> Rendered:
        """Count by length alone where the whole chunk goes in one encoding and no value has a character of two units."""
        everything = "".join(["".join(column) for column in filled])
        if not self._static_gsm:
            if find_astral(everything) is None:
                return Rendered(
                    texts, _by_length(texts, Encoding.UCS2, self._static_astral), [Encoding.UCS2] * len(texts)
                )
        elif find_non_gsm(everything) is None and find_extension(everything) is None:
            return Rendered(
                texts, _by_length(texts, Encoding.GSM7, self._static_extensions), [Encoding.GSM7] * len(texts)
            )
        return self._counted_row_by_row(texts, filled, some_doubled=find_double(everything) is not None)

    def _counted_row_by_row(self, texts: list[str], filled: Sequence[Sequence[str]], *, some_doubled: bool) -> Rendered:
        """Each row in its own encoding, still by length; only rows whose values have a character of two units in full."""
        values = filled[0] if len(filled) == 1 else ["".join(row) for row in zip(*filled, strict=True)]
        segments = _by_length(texts, Encoding.UCS2, self._static_astral)
        encodings = [Encoding.UCS2] * len(texts)
        if self._static_gsm:
            encodings = [Encoding.GSM7 if found is None else Encoding.UCS2 for found in map(find_non_gsm, values)]
            as_gsm = _by_length(texts, Encoding.GSM7, self._static_extensions)
            choices = zip(encodings, as_gsm, segments, strict=True)
            segments = [gsm if encoding is Encoding.GSM7 else ucs2 for encoding, gsm, ucs2 in choices]
        if some_doubled:
            for at, found in enumerate(map(find_double, values)):
                if found is not None:
                    segments[at] = count(texts[at]).segments
        return Rendered(texts, segments, encodings)


def _by_length(texts: Sequence[str], encoding: Encoding, pairs: int) -> list[int]:
    """The segments of texts that each have `pairs` characters of two units, when they go in `encoding`.

    A length alone decides, except where a pair at a boundary may push the text over it: only those are counted in full.
    """
    lengths = list(map(len, texts))
    exact: dict[int, int | None] = {}
    for length in set(lengths):
        least, most = (segments_at_most(length + pairs, movable, encoding) for movable in (0, pairs))
        exact[length] = least if least == most else None
    segments = [exact[length] for length in lengths]
    return [count(text).segments if known is None else known for known, text in zip(segments, texts, strict=True)]


def _fill(slot: Slot, column: Sequence[str]) -> Sequence[str]:
    """What `slot.fill` gives for each value, asked of the column as a whole first."""
    if find_unclean("".join(column)):
        column = [clean(value) for value in column]
    if "" in column or any(map(str.isspace, column)):
        return [slot.fallback if not value or value.isspace() else value for value in column]
    return column


def _check_codes(codes: Sequence[str]) -> None:
    if len(codes) > ROWS_MAX:
        raise ValueError(f"{len(codes)} rows in one call; at most {ROWS_MAX}")
    joined = "".join(codes)
    if len(joined) != CODE_CHARS * len(codes) or (joined and not (joined.isascii() and joined.isalnum())):
        raise ValueError(f"a link code is {CODE_CHARS} ASCII letters and digits")
