"""The count of segments agrees with an independent codec and with the standard's limits, and a pair is never cut."""

import itertools
import sys
import unicodedata

import gsm0338
from gsm0338.charset import BASIC_CHARACTER_SET, BASIC_CHARACTER_SET_EXTENSION
from hypothesis import example, given
from hypothesis import strategies as st

from dispatcher.domain.segments import (
    GSM_BASIC,
    GSM_EXTENSION,
    Encoding,
    SegmentCount,
    count,
    extension_count,
    forcing_characters,
    is_gsm,
    segments_at_most,
    split,
)

CODEC = gsm0338.Codec()
ESCAPE = "\x1b"
gsm_text = st.text(st.sampled_from(GSM_BASIC + GSM_EXTENSION), max_size=700)
mixed_text = st.text(st.sampled_from("aβ{€😀\n") | st.characters(exclude_categories=["Cs"]), max_size=400)


def oracle_septets(text: str) -> int | None:
    try:
        return len(CODEC.encode(text)[0])
    except UnicodeEncodeError:
        return None


def units_of(text: str) -> int:
    return len(text) + extension_count(text) if is_gsm(text) else len(text.encode("utf-16-be")) // 2


def test_the_alphabet_is_the_oracles_character_by_character() -> None:
    """Of all of Unicode the same characters are GSM; escape, which the oracle encodes as a septet, is no character."""
    every = (chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF)
    ours = {c for c in every if is_gsm(c)}

    names = [*BASIC_CHARACTER_SET.values(), *BASIC_CHARACTER_SET_EXTENSION.values()]
    theirs = {unicodedata.lookup(name) for name in names}
    assert theirs - {ESCAPE} == ours
    assert len(GSM_BASIC + GSM_EXTENSION) == len(ours) == 137


@given(gsm_text | mixed_text.filter(lambda t: ESCAPE not in t))
def test_gsm_septets_are_the_oracles(text: str) -> None:
    """A text encodes in the independent codec exactly when it is GSM, and to as many septets as are counted."""
    septets = oracle_septets(text)

    assert is_gsm(text) == (septets is not None)
    counted = count(text)
    assert counted.encoding is (Encoding.UCS2 if septets is None else Encoding.GSM7)
    assert counted.units == units_of(text) if septets is None else septets == counted.units


@given(gsm_text | mixed_text)
@example("a" * 152 + "€" + "a" * 152 + "€" + "a")
@example("я" + "a" * 65 + "😀" + "a" * 66)
def test_the_split_is_the_count(text: str) -> None:
    """The segments join to the text, each fits, none is empty, and there are as many as were counted."""
    counted = count(text)
    parts = split(text)

    assert "".join(parts) == text
    assert len(parts) == counted.segments
    gsm = counted.encoding is Encoding.GSM7
    limit = (160 if len(parts) == 1 else 153) if gsm else (70 if len(parts) == 1 else 67)
    for part in parts:
        units = len(part) + extension_count(part) if gsm else len(part.encode("utf-16-be")) // 2
        assert 0 < units <= limit


@given(gsm_text | mixed_text)
def test_no_segment_has_room_for_the_next_character(text: str) -> None:
    """The split is greedy, so no other split that keeps pairs whole has fewer segments."""
    parts = split(text)
    gsm = is_gsm(text)
    for part, following in itertools.pairwise(parts):
        head = part + following[0]
        units = len(head) + extension_count(head) if gsm else len(head.encode("utf-16-be")) // 2
        assert units > (153 if gsm else 67)


def test_the_boundaries_of_the_standard() -> None:
    """160/153 septets and 70/67 UTF-16 units, to the unit."""
    assert count("") == SegmentCount(Encoding.GSM7, 0, 0)
    assert [count("a" * n).segments for n in (1, 160, 161, 306, 307, 459, 460)] == [1, 1, 2, 2, 3, 3, 4]
    assert [count("ж" * n).segments for n in (1, 70, 71, 134, 135, 201, 202)] == [1, 1, 2, 2, 3, 3, 4]
    assert [count("€" * n).segments for n in (80, 81, 152, 153)] == [1, 2, 2, 3]
    assert [count("😀" * n).segments for n in (35, 36, 66, 67)] == [1, 2, 2, 3]


def test_a_pair_at_a_boundary_moves_whole_to_the_next_segment() -> None:
    """306 septets are two segments, but not when an escape pair lies across the boundary."""
    text = "a" * 152 + "€" + "a" * 152

    assert count(text) == SegmentCount(Encoding.GSM7, 306, 3)
    assert split(text) == ["a" * 152, "€" + "a" * 151, "a"]


@given(mixed_text)
def test_forcing_characters_are_why_it_is_ucs2(text: str) -> None:
    """They are distinct, in order, each not GSM, and without them the text is GSM."""
    forcing = forcing_characters(text)

    assert len(set(forcing)) == len(forcing)
    assert list(forcing) == sorted(forcing, key=text.index)
    assert all(not is_gsm(c) for c in forcing)
    assert is_gsm("".join(c for c in text if c not in forcing))


def test_greek_capitals_are_gsm_where_the_alphabet_has_them() -> None:
    """ΓΔΘΛΞΠΣΦΨΩ are GSM; the capitals that only look Latin, and the small letters, are not."""
    assert forcing_characters("ΓΔΘΛΞΠΣΦΨΩ") == ()
    assert forcing_characters("ΑΒ Γιώτα Α") == ("Α", "Β", "ι", "ώ", "τ", "α")


@given(gsm_text | mixed_text, st.integers(0, 50), st.integers(0, 20))
@example("a" * 152 + "€" + "a" * 152, 0, 0)
def test_the_upper_bound_is_never_under(text: str, more_units: int, more_pairs: int) -> None:
    """`segments_at_most` of this many units and pairs, or more, is at least the exact count."""
    counted = count(text)
    pairs = counted.units - len(text)

    assert segments_at_most(counted.units + more_units, pairs + more_pairs, counted.encoding) >= counted.segments
