"""A phone has one spelling whatever way it was typed; what cannot take an SMS is an error, and nothing raises."""

import itertools

import phonenumbers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispatcher.domain.phones import (
    E164_END,
    FAST_REGIONS,
    Phone,
    PhoneError,
    _parse_any,
    _parse_plain_mobile,
    format_e164,
    mask,
    parse,
    parse_e164,
    parse_msisdn,
)

GREEK = 306912345678
DIGITS = "0123456789"
regions = st.sampled_from([*FAST_REGIONS, "US", "GB", "IT", "XX", ""])


@st.composite
def nearly_numbers(draw: st.DrawFn) -> str:
    """A calling code or none, digits of a plausible length with a plausible beginning, separators anywhere."""
    code = draw(
        st.sampled_from(["", "0", "+", "00", "+30", "0030", "30", "+49", "0049", "+48", "+357", "+359", "+36", "+46"])
    )
    lead = draw(st.sampled_from(["", "69", "9", "87", "15", "6", "7", "90", "21", "45", "970", "0"]))
    digits = code + lead + draw(st.text(st.sampled_from(DIGITS), min_size=3, max_size=11))
    separators = draw(
        st.lists(st.sampled_from(["", "", "", " ", "-", " - "]), min_size=len(digits) + 1, max_size=len(digits) + 1)
    )
    return "".join(itertools.chain.from_iterable(zip(separators, digits, strict=False))) + separators[-1]


@given(nearly_numbers(), regions)
@example("00306912345678", "US")
@example("+ 30 69-1234 5678 -", "GR")
def test_the_short_way_is_the_librarys_way(raw: str, region: str) -> None:
    """Whatever the short way answers, the library answers too."""
    quick = _parse_plain_mobile(raw, region)

    assert quick is None or quick == _parse_any(raw, region)


@pytest.mark.parametrize("region", FAST_REGIONS)
def test_the_short_way_is_the_librarys_way_over_each_plan(region: str) -> None:
    """Over all beginnings of three digits of a plan, in its lengths, in full and as dialled at home."""
    code = phonenumbers.country_code_for_region(region)
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(region)
    assert metadata is not None
    assert metadata.mobile is not None
    agreed = 0
    for lead, length in itertools.product(range(1000), metadata.mobile.possible_length):
        national = f"{lead:03}" + "5170384629"[: length - 3]
        quick = _parse_plain_mobile(f"+{code}{national}", region)
        if quick is not None:
            assert quick == _parse_any(f"+{code}{national}", "ZZ") == _parse_any(national, region)
            assert quick == _parse_plain_mobile(national, region) == _parse_plain_mobile(f"00{code}{national}", region)
            agreed += 1
    assert agreed > 0


@pytest.mark.parametrize(
    ("raw", "region"),
    [
        ("6912345678", "GR"),
        ("69 1234-5678", "GR"),
        ("+30 691 234 5678", "US"),
        ("0030 6912345678", "GR"),
        ("306912345678", "GR"),
        ("(691) 234.5678", "GR"),
        ("+30\u00a0691\u00a02345678", "GR"),
        ("\uff0b\uff13\uff10 6912345678", "GR"),
        ("01130 6912345678", "US"),
    ],
)
def test_all_spellings_are_one_phone(raw: str, region: str) -> None:
    """Spaces, dashes, brackets, dialling prefixes and wide digits are ways of writing, not other numbers."""
    assert parse(raw, region) == Phone(GREEK, "GR")


@pytest.mark.parametrize(
    ("raw", "region", "phone"),
    [
        ("07400 123456", "GB", Phone(447400123456, "GB")),
        ("312 345 6789", "IT", Phone(393123456789, "IT")),
        ("(201) 555-0123", "US", Phone(12015550123, "US")),
        ("+1 868 291 1234", "GR", Phone(18682911234, "TT")),
        ("99 123456", "CY", Phone(35799123456, "CY")),
    ],
)
def test_numbers_of_other_plans(raw: str, region: str, phone: Phone) -> None:
    """The country is the number's own, not the caller's; where fixed and mobile look alike the number is taken."""
    assert parse(raw, region) == phone


@pytest.mark.parametrize(
    ("raw", "region", "code"),
    [
        ("", "GR", "not_a_number"),
        ("+", "GR", "not_a_number"),
        ("69ABCDEFGH", "GR", "not_a_number"),
        ("+30 6912345678 ext 5", "GR", "not_a_number"),
        ("6912345678;5", "GR", "invalid_number"),
        ("6912345678", "XX", "unknown_country"),
        ("+9996912345678", "GR", "unknown_country"),
        ("+883510012345678", "GR", "unknown_country"),
        ("+1", "GR", "not_a_number"),
        ("69123", "GR", "invalid_number"),
        ("6912345678" * 7, "GR", "too_long"),
        ("6912345678" * 3, "GR", "too_long"),
        ("2101234567", "GR", "not_mobile"),
        ("8001234567", "GR", "not_mobile"),
        ("+44 20 7031 3000", "GR", "not_mobile"),
        ("+44 70 1234 5678", "GR", "not_mobile"),
    ],
)
def test_what_takes_no_sms_is_an_error(raw: str, region: str, code: str) -> None:
    """Each is refused with a code that an import's error file can show."""
    found = parse(raw, region)

    assert isinstance(found, PhoneError)
    assert code == found.code
    assert found.message


@given(st.text(max_size=80) | st.text(st.characters(categories=["Nd", "Pd", "Zs", "Po", "Cs"]), max_size=40), regions)
def test_any_text_is_a_phone_or_an_error(raw: str, region: str) -> None:
    """Nothing raises; a phone is within E.164 and has a country of two letters."""
    found = parse(raw, region)
    if isinstance(found, Phone):
        assert parse_e164(format_e164(found.e164)) == found.e164
        assert len(found.country) == 2
        assert found.country != "ZZ"


@given(st.integers(10**6, E164_END - 1))
def test_e164_reads_back(e164: int) -> None:
    """The text of a number is the number again; networks' spellings are too."""
    text = format_e164(e164)

    assert e164 == parse_e164(text) == parse_msisdn(text) == parse_msisdn(text[1:]) == parse_msisdn("00" + text[1:])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+",
        "306912345678",
        "+0306912345",
        "+123456",
        "+1234567890123456",
        "+30691234567\n",
        "+3069123 4567",
        "+30\u0661\u0662345678",
    ],
)
def test_other_text_is_no_e164(text: str) -> None:
    """Strict means strict: a plus and 7 to 15 ASCII digits, not beginning with zero."""
    assert parse_e164(text) is None


@pytest.mark.parametrize("e164", [0, -1, E164_END])
def test_what_is_no_number_is_not_formatted(e164: int) -> None:
    """A number that no phone can have is a bug of the caller."""
    with pytest.raises(ValueError, match=r"E\.164"):
        format_e164(e164)


@given(st.integers(1, E164_END - 1))
def test_a_mask_hides_at_least_four_digits_or_all_but_two(e164: int) -> None:
    """A log never holds a whole number."""
    shown = [c for c in mask(e164) if c in DIGITS]

    assert len(str(e164)) - len(shown) >= min(4, len(str(e164)) - 2)
    assert mask(GREEK) == "+3069*****78"
