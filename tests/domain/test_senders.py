"""A sender id is taken exactly when the provider would take it."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.domain.senders import Sender, SenderError, parse


@pytest.mark.parametrize("text", ["Shop", "abc", "MyShop24", "Elevenchars", "1a1", "a" * 11])
def test_names_are_taken_as_they_are(text: str) -> None:
    """3 to 11 ASCII letters and digits, case kept."""
    assert parse(text) == Sender(text, "alphanumeric")


@pytest.mark.parametrize("text", ["123", "54321", "306912345678", "1" * 15])
def test_numbers_are_taken_with_or_without_a_plus(text: str) -> None:
    """3 to 15 digits; the plus is not part of what is sent."""
    assert parse(text) == parse("+" + text) == Sender(text, "numeric")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "empty"),
        ("+", "empty"),
        ("ab", "too_short"),
        ("12", "too_short"),
        ("+12", "too_short"),
        ("a" * 12, "too_long"),
        ("1" * 16, "too_long"),
        ("My Shop!", "forbidden_character"),
        ("My Shop", "forbidden_character"),
        (" Shop", "forbidden_character"),
        ("Shop\n", "forbidden_character"),
        ("Καφές", "forbidden_character"),
        ("+Shop", "forbidden_character"),
        ("++123", "forbidden_character"),
        ("\u0661\u0662\u0663", "forbidden_character"),
    ],
)
def test_others_are_errors(text: str, code: str) -> None:
    """The error says what is wrong; nothing is corrected silently."""
    found = parse(text)

    assert isinstance(found, SenderError)
    assert code == found.code


@given(st.text(max_size=17) | st.text(st.sampled_from(string.ascii_letters + string.digits + "+ "), max_size=17))
def test_the_rule_is_the_providers(text: str) -> None:
    """Taken if and only if the provider's words say so."""
    allowed = set(string.ascii_letters + string.digits)
    digits = text.removeprefix("+")
    name = 3 <= len(text) <= 11 and set(text) <= allowed
    number = 3 <= len(digits) <= 15 and set(digits) <= set(string.digits)

    assert isinstance(parse(text), Sender) == (name or number)
