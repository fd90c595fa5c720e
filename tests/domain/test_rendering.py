"""The fast way to render a batch gives what the plain way gives, and the worst case is never under the truth."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispatcher.domain.codes import ALPHABET
from dispatcher.domain.rendering import ROWS_MAX, BatchRenderer, FieldBounds, Rendered, Row, links_tail
from dispatcher.domain.segments import Encoding, SegmentCount, count
from dispatcher.domain.templates import FIELDS, Slot, Template, parse

CODE = "0aZ9bY8cX7d"
# With a name of two characters the euro lies across the first boundary, and 306 septets are three segments.
ACROSS = Template(("", "a" * 150 + "€" + "a" * 152), (Slot("first_name"),))
ACROSS_ROWS = [("b" * n, "", "", CODE) for n in range(5)]
TAIL = links_tail("https://x.gr/", short_link=False)


def alphabets(*characters: str) -> st.SearchStrategy[str]:
    """Texts of one kind of character each, so that whole chunks are alike as often as they are mixed."""
    return st.sampled_from(characters).flatmap(lambda few: st.text(st.sampled_from(few), max_size=12))


KINDS = ("ab", "ab%{é", "aβΓ", "a€|", "a😀", " ", "a\x1b\n\r\ud800", "aβ€😀 \t")
words = alphabets(*KINDS)
# Long enough to come near the boundaries of two to four segments.
filler = st.builds(
    lambda word, times: word * times, st.sampled_from(["ab", "a", "Γ", "β", "a€", "%", "€€", "😀"]), st.integers(0, 230)
)
literals = st.tuples(words.map(lambda w: w.replace("\ud800", "").replace("\x1b", "")), filler).map("".join)
slots = st.builds(Slot, st.sampled_from(FIELDS), words.map(lambda w: w.replace("\ud800", "").replace("\x1b", "")))
codes = st.text(st.sampled_from(ALPHABET), min_size=11, max_size=11)
tails = st.sampled_from(
    [
        "",
        TAIL,
        links_tail("https://x.gr", short_link=True),
        "\n100% {code} €",
        "\nδ {code}",
        "😀{code}{code}",
        "{first_name}",
    ]
)


@st.composite
def templates(draw: st.DrawFn) -> Template:
    drawn = draw(st.lists(slots, max_size=3))
    return Template(tuple(draw(literals) for _ in range(len(drawn) + 1)), tuple(drawn))


@st.composite
def chunks(draw: st.DrawFn) -> list[Row]:
    values = st.sampled_from(KINDS).flatmap(lambda few: st.text(st.sampled_from(few), max_size=12))
    chunk_values = draw(st.sampled_from([values, *(st.text(st.sampled_from(few), max_size=12) for few in KINDS)]))
    return draw(st.lists(st.tuples(chunk_values, chunk_values, chunk_values, codes), max_size=5))


def plainly(template: Template, tail: str, row: Row) -> tuple[str, SegmentCount]:
    text = template.render(dict(zip(FIELDS, row, strict=False))) + tail.replace("{code}", row[3])
    return text, count(text)


@given(templates(), tails, chunks())
@example(ACROSS, "", ACROSS_ROWS)
@example(Template(("a" * 157, ""), (Slot("first_name"),)), "", [("€€", "", "", CODE), ("bb", "", "", CODE)])
@example(Template(("я" * 67, ""), (Slot("first_name"),)), "", [("😀😀", "", "", CODE), ("bb", "", "", CODE)])
@example(Template(("", ""), (Slot("email"),)), "", [("", "", "", CODE), ("", "", "a", CODE)])
@example(Template(("",), ()), "", [("", "", "", CODE)])
def test_the_fast_way_equals_the_plain_way(template: Template, tail: str, rows: list[Row]) -> None:
    """Texts, segments and encodings of a batch are those of each message rendered and counted by itself."""
    plain = [plainly(template, tail, row) for row in rows]

    rendered = BatchRenderer(template, tail).render(rows)

    assert [text for text, _ in plain] == rendered.texts
    assert [counted.segments for _, counted in plain] == rendered.segments
    assert [counted.encoding for _, counted in plain] == rendered.encodings


@given(templates(), tails, chunks(), words)
@example(ACROSS, "", ACROSS_ROWS[:3], "")
def test_the_worst_case_is_never_under_the_truth(template: Template, tail: str, rows: list[Row], other: str) -> None:
    """No row of a chunk has more segments than its bounds say, and wider bounds never say less."""
    renderer = BatchRenderer(template, tail)
    bounds = {field: FieldBounds.of(row[at] for row in rows) for at, field in enumerate(FIELDS)}
    wider = {field: bound.widened(other) for field, bound in bounds.items()}

    worst = renderer.worst_case_segments(bounds)

    assert max(renderer.render(rows).segments, default=0) <= worst <= renderer.worst_case_segments(wider)


@given(literals, tails)
def test_the_worst_case_of_a_fixed_text_is_exact_without_pairs(literal: str, tail: str) -> None:
    """Where no row differs and no character takes two units, the hold is the price."""
    text = literal + tail.replace("{code}", CODE)
    if count(text).units == len(text):
        assert count(text).segments == BatchRenderer(Template((literal,), ()), tail).worst_case_segments({})


@given(st.lists(words))
def test_bounds_hold_for_each_value(values: list[str]) -> None:
    """Taking a value that is already within the bounds does not widen them."""
    bounds = FieldBounds.of(values)

    assert all(bounds.widened(value) == bounds for value in values)
    assert FieldBounds.of([""]) == FieldBounds.of([])


def test_a_greek_name_makes_one_message_ucs2() -> None:
    """In one batch each message has the encoding its own name needs."""
    template = parse("Hi {{first_name|friend}}!")
    assert isinstance(template, Template)
    names = ("Maria", "Γιώργος", " ", "ΦΩΦΩ")

    rendered = BatchRenderer(template, TAIL).render([(name, "", "", CODE) for name in names])

    gsm, ucs2 = Encoding.GSM7, Encoding.UCS2
    shown = ("Maria", "Γιώργος", "friend", "ΦΩΦΩ")
    assert (
        Rendered([f"Hi {name}!\nStop: https://x.gr/u/{CODE}" for name in shown], [1] * 4, [gsm, ucs2, gsm, gsm])
        == rendered
    )


def test_the_tail_of_a_campaign_with_a_link() -> None:
    """The short link comes once and the opt-out link once, each on a line of its own."""
    assert links_tail("https://x.gr/", short_link=True) == "\nhttps://x.gr/s/{code}\nStop: https://x.gr/u/{code}"


@pytest.mark.parametrize("code", ["", CODE[:-1], CODE + "0", "0aZ9bY8cX7€", "0aZ9bY8cX7 "])
def test_what_is_no_code_is_refused(code: str) -> None:
    """A code of another length or alphabet would falsify the count: a bug of the caller."""
    with pytest.raises(ValueError, match="link code"):
        BatchRenderer(Template(("",), ()), TAIL).render([("", "", "", code)])


def test_columns_of_different_lengths_are_refused() -> None:
    """A row without its values is a bug of the caller, in whichever column it is."""
    renderer = BatchRenderer(Template(("", ""), (Slot("email"),)), TAIL)
    for column in ([], ["a", "b"]):
        with pytest.raises(ValueError, match="one length"):
            renderer.render_columns({"email": column}, [CODE])


def test_a_chunk_is_bounded() -> None:
    """One call renders at most ROWS_MAX rows, so that it cannot hold the loop for long."""
    with pytest.raises(ValueError, match="at most"):
        BatchRenderer(Template(("",), ()), TAIL).render([("", "", "", CODE)] * (ROWS_MAX + 1))
