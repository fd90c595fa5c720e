"""A template is read as it is written, its errors are values, and what a recipient is called never becomes markup."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.domain.templates import FIELDS, TEXT_CHARS_MAX, Slot, Template, TemplateError, clean, parse

plain = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.just("\n"), max_size=60)
values = st.text(st.sampled_from("aβ {}|$&<>\n\t\x1b\ud800€😀") | st.characters(), max_size=20)


def parsed(text: str) -> Template:
    template = parse(text)
    assert isinstance(template, Template)
    return template


def error(text: str) -> TemplateError:
    found = parse(text)
    assert isinstance(found, TemplateError)
    return found


@given(plain.filter(lambda text: "{{" not in text))
def test_a_text_without_tags_is_itself(text: str) -> None:
    """Line breaks, ampersands, angle brackets, `$&` and single braces are kept to the letter."""
    assert text == parsed(text).render({})
    assert parsed(text).tags == ()


def test_marks_of_other_languages_are_text() -> None:
    """What HTML, regular expressions or format strings would read is not read here."""
    text = "1 < 2 & 3 > 2\r\n<b>R&D;</b> $& \\1 %s {0} {first_name} }} 50%"

    assert text == parsed(text).render({"first_name": "x"})


@given(
    st.lists(st.tuples(plain, st.sampled_from(FIELDS)), max_size=5),
    plain,
    st.dictionaries(st.sampled_from(FIELDS), values),
)
def test_slots_take_values_and_literals_stay(parts: list[tuple[str, str]], end: str, filled: dict[str, str]) -> None:
    """The rendering is the literals with the cleaned values between; a value that looks like a tag stays as it is."""
    parts = [(literal.replace("{", "("), field) for literal, field in parts]
    end = end.replace("{", "(")
    text = "".join(literal + "{{" + field + "}}" for literal, field in parts) + end

    template = parsed(text)

    def shown(field: str) -> str:
        value = clean(filled.get(field, ""))
        return value if value.strip() else ""

    assert "".join(literal + shown(field) for literal, field in parts) + end == template.render(filled)
    assert tuple(dict.fromkeys(field for _, field in parts)) == template.tags


@given(values)
def test_a_value_brings_no_control_characters(value: str) -> None:
    """Controls but the line feed, and lone surrogates, are dropped; all else is kept in order."""
    kept = [c for c in value if c == "\n" or not (c < " " or "\x7f" <= c <= "\x9f" or "\ud800" <= c <= "\udfff")]

    assert "".join(kept) == clean(value)


@pytest.mark.parametrize("value", ["", " ", " \n\u00a0 ", "\x00\x1b"])
def test_a_blank_value_takes_the_fallback(value: str) -> None:
    """Empty, only spaces, or nothing visible after cleaning: the fallback, or nothing."""
    assert parsed("Hi {{first_name|friend}}!").render({"first_name": value}) == "Hi friend!"
    assert parsed("Hi {{first_name}}!").render({"first_name": value}) == "Hi !"
    assert parsed("Hi {{first_name|friend}}!").render({}) == "Hi friend!"


def test_a_value_is_never_expanded_again() -> None:
    """A recipient called `{{email}}` is greeted so; `$&` and backslashes have no meaning either."""
    template = parsed("{{first_name}} {{last_name}}")

    assert template.render({"first_name": "{{email}}", "last_name": r"$& \1", "email": "x"}) == r"{{email}} $& \1"


@pytest.mark.parametrize(
    ("text", "slot"),
    [
        ("{{ first_name }}", Slot("first_name")),
        ("{{first_name | dear friend }}", Slot("first_name", "dear friend")),
        ("{{email|}}", Slot("email")),
        ("{{last_name|a|b}}", Slot("last_name", "a|b")),
        ("{{\nlast_name\t|é\nè}}", Slot("last_name", "é\nè")),
    ],
)
def test_spaces_inside_the_braces_mean_nothing(text: str, slot: Slot) -> None:
    """The field and the fallback are read without the spaces around them; only the first bar divides."""
    assert Template(("", ""), (slot,)) == parsed(text)


def test_braces_around_a_tag_are_text() -> None:
    """Of three opening braces the last two open the tag, and the first two closing ones close it."""
    assert parsed("{{{first_name}}}").render({"first_name": "Al"}) == "{Al}"


@pytest.mark.parametrize(
    ("text", "code", "tag", "position"),
    [
        ("a {{name}}", "unknown_tag", "name", 2),
        ("{{First_Name}}", "unknown_tag", "First_Name", 0),
        ("{{first_name}} {{firstName|x}}", "unknown_tag", "firstName", 15),
        ("{{}}", "empty_tag", "", 0),
        ("ab{{ | friend}}", "empty_tag", "", 2),
        ("Hi {{first_name", "unclosed_tag", "", 3),
        ("Hi {{first_name}", "unclosed_tag", "", 3),
        ("{{first_name {{last_name}}", "unclosed_tag", "", 0),
        ("tail {{", "unclosed_tag", "", 5),
        ("a\x00b", "control_character", "", 1),
        ("a\ud800b", "control_character", "", 1),
        ("x" * (TEXT_CHARS_MAX + 1), "too_long", "", TEXT_CHARS_MAX),
    ],
)
def test_a_text_that_cannot_be_meant_is_an_error(text: str, code: str, tag: str, position: int) -> None:
    """The error says what is wrong, in which tag and where."""
    found = error(text)

    assert (code, tag, position) == (found.code, found.tag, found.position)
    assert found.message


@given(st.lists(st.sampled_from(["{", "{{", "}", "}}", "|", " ", "a", *FIELDS])).map("".join) | st.text(max_size=50))
def test_any_text_is_a_template_or_an_error(text: str) -> None:
    """Nothing raises, and a template has one literal more than slots."""
    found = parse(text)
    if isinstance(found, Template):
        assert len(found.literals) == len(found.slots) + 1
        assert all(slot.field in FIELDS for slot in found.slots)
    else:
        assert 0 <= found.position <= len(text)
