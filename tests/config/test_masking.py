"""What is logged shows no phone number and no secret, whatever else it shows."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.config.masking import masked, text
from dispatcher.config.secret import MASK, Secret

DIGITS = st.text(string.digits, min_size=8, max_size=15)
# What may stand beside a number in a sentence: nothing that would make it another number or word.
AROUND = st.text(string.ascii_letters + " .,;!?€ΑΩ\n", max_size=20).map(lambda words: f" {words} ")
PHONE_KEYS = st.sampled_from(["phone", "to", "from", "destination", "msisdn", "Phone", "phones"])
SECRET_KEYS = st.sampled_from(
    ["api_key", "authorization", "password", "token", "secret", "signature", "X-Mitto-API-Key", "webhook_secret", "dsn"]
)
SECRET = st.text(string.ascii_letters + string.digits, min_size=8, max_size=40)
PLAIN = st.one_of(st.none(), st.booleans(), st.floats(allow_nan=False), st.integers(), st.text(string.ascii_letters))


@given(AROUND, DIGITS, AROUND)
def test_a_number_in_a_text_is_not_readable(before: str, digits: str, after: str) -> None:
    """E.164 with its plus: at most six of its digits stay, and four at least do not."""
    shown = text(f"{before}+{digits}{after}")
    assert f"{before}+" == shown[: len(before) + 1]
    assert shown.endswith(after)
    left = re.findall(r"\d", shown)
    assert len(left) <= min(6, len(digits) - 4)


@given(DIGITS, st.data())
def test_a_number_with_separators_is_not_readable(digits: str, data: st.DataObject) -> None:
    """As people write it: +30 691 234-5678."""
    between = [data.draw(st.sampled_from(["", " ", "-", ".", ") "])) for _ in digits]
    written = "+" + "".join(digit + gap for digit, gap in zip(digits, between, strict=True)).rstrip(" -.)")
    assert digits not in re.sub(r"\D", "", text(f"sent to {written} now"))


@given(PHONE_KEYS, DIGITS, st.booleans())
def test_the_value_of_a_phone_key_is_masked_with_or_without_its_plus(key: str, digits: str, plus: bool) -> None:
    """Text or, as this product keeps numbers, an int."""
    shown = [masked(key, ("+" if plus else "") + digits), masked(key, int("1" + digits[1:]))]
    assert [True, True] == [MASK in one and len(re.findall(r"\d", one)) <= 6 for one in shown]


@given(SECRET_KEYS, st.one_of(SECRET, st.lists(SECRET, max_size=3), st.dictionaries(SECRET, SECRET, max_size=3)))
def test_nothing_under_a_secret_key_is_shown(key: str, value: object) -> None:
    """Whatever its form."""
    assert MASK == masked(key, value)


@given(SECRET_KEYS, SECRET, st.integers(0, 5))
def test_a_secret_is_found_at_any_depth(key: str, secret: str, depth: int) -> None:
    """A provider's answer that was logged whole."""
    value: object = {key: secret}
    for _ in range(depth):
        value = [{"inside": value}]
    assert secret not in str(masked("answer", value))


@given(
    st.fixed_dictionaries({"name": PLAIN, "count": st.lists(PLAIN, max_size=3), "state": st.tuples(PLAIN).map(list)})
)
def test_what_is_neither_stays_as_it_is(event: dict[str, object]) -> None:
    """Masking is not censoring."""
    assert event == masked("event_data", event)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("postgresql://user:hunter22@db/x", "postgresql://user:****@db/x"),
        ("Authorization: Bearer abc.def-1", "Authorization: Bearer ****"),
        ("https://x/y?token=abc&page=2", "https://x/y?token=****&page=2"),
        ('{"api_key": "abc", "n": 1}', '{"api_key": "****", "n": 1}'),
        ("call +306912345678.", "call +3069****78."),
        ("call +12345678", "call +12****78"),
        ("batch 306912345678 of campaign 12", "batch 306912345678 of campaign 12"),
        ("1+12345678", "1+12345678"),
        ("2026-11-24T10:00:00+02:00", "2026-11-24T10:00:00+02:00"),
    ],
)
def test_texts(written: str, shown: str) -> None:
    """The forms in which libraries' messages carry them; sums, ids and times are no phone numbers."""
    assert shown == text(written)


def test_counts_under_a_secret_sounding_key_are_shown() -> None:
    """Tokens of the rate limiter are numbers, not secrets."""
    assert {"tokens": 5000, "wait_s": 0.5} == masked("event_data", {"tokens": 5000, "wait_s": 0.5})


def test_a_number_as_a_key_is_masked_too() -> None:
    """A mapping by phone."""
    assert {"+3069****78": "delivered"} == masked("by_phone", {"+306912345678": "delivered"})


def test_what_nests_without_end_is_cut() -> None:
    """Bounded, also when a list holds itself."""
    value: list[object] = []
    value.append(value)
    assert "<list>" in str(masked("x", value))


def test_objects_are_shown_by_their_own_words_masked() -> None:
    """A Secret masks itself, an exception's number is masked here."""
    assert [f"Secret({MASK})", "no +3069****78"] == masked("x", [Secret("abcdef"), ValueError("no +306912345678")])
