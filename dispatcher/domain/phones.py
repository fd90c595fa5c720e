"""Phone numbers: what a person typed or a provider sent -> the E.164 digits as an int, and back.

What it is for: one spelling for each phone, so that a suppression, a duplicate and a delivery meet; numbers that cannot
take an SMS are refused before anybody pays for them. What it is not: a look-up of who owns or carries a number.

Rules: ITU-T E.164 (at most 15 digits with the country code) and the metadata of Google's libphonenumber. A number that is
written in full and is plainly a mobile of a common country takes a shorter way through the same metadata, which a test
holds equal to the library's.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import phonenumbers
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumberType

E164_END = 10**15
RAW_CHARS_MAX = 64

# VOIP numbers take SMS in several countries. The others named here do not, or cost the caller more than a mobile.
_REFUSED_TYPES = frozenset(
    {
        PhoneNumberType.FIXED_LINE,
        PhoneNumberType.PREMIUM_RATE,
        PhoneNumberType.TOLL_FREE,
        PhoneNumberType.SHARED_COST,
        PhoneNumberType.PERSONAL_NUMBER,
        PhoneNumberType.PAGER,
        PhoneNumberType.UAN,
        PhoneNumberType.VOICEMAIL,
    }
)
_PARSE_CODES = {
    NumberParseException.INVALID_COUNTRY_CODE: "unknown_country",
    NumberParseException.NOT_A_NUMBER: "not_a_number",
    NumberParseException.TOO_SHORT_AFTER_IDD: "too_short",
    NumberParseException.TOO_SHORT_NSN: "too_short",
    NumberParseException.TOO_LONG: "too_long",
}
_is_e164 = re.compile(r"\+[1-9][0-9]{6,14}").fullmatch
_is_msisdn = re.compile(r"(?:\+|00)?[1-9][0-9]{6,14}").fullmatch

# Countries alone under their calling code, where 00 dials abroad: their full mobile numbers need no more than a pattern.
FAST_REGIONS = (
    "GR",
    "CY",
    "BG",
    "RO",
    "AL",
    "MK",
    "DE",
    "AT",
    "FR",
    "ES",
    "PT",
    "NL",
    "BE",
    "PL",
    "CZ",
    "HU",
    "SE",
    "IE",
)


@dataclass(frozen=True, slots=True)
class Phone:
    """A number that can take an SMS: its E.164 digits, and its country as ISO 3166 alpha-2."""

    e164: int
    country: str


@dataclass(frozen=True, slots=True)
class PhoneError:
    """Why a text is no such number.

    Codes: not_a_number, too_short, too_long, unknown_country (no calling code and no known region, or a code of no
    country), invalid_number (no such number in that country's plan), not_mobile.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class _Plan:
    """The mobile numbers of a country. `is_mobile` takes the national digits."""

    region: str
    calling_code: str
    is_mobile: Callable[[str], object]


def _plan(region: str) -> _Plan:
    metadata = PhoneMetadata.metadata_for_region(region)
    if metadata is None or metadata.mobile is None or metadata.mobile.national_number_pattern is None:
        raise ValueError(f"there is no metadata of mobile numbers in {region}")
    # ASCII: the library's patterns say \d, of which int() and the wire know only ten.
    pattern = re.compile(metadata.mobile.national_number_pattern, re.ASCII)
    return _Plan(region, str(metadata.country_code), pattern.fullmatch)


_PLANS = {region: _plan(region) for region in FAST_REGIONS}
_PLANS_BY_CODE = {plan.calling_code: plan for plan in _PLANS.values()}


def parse(raw: str, region: str) -> Phone | PhoneError:
    """Read a number as people write it. `region` (ISO 3166 alpha-2) is whose it is when it has no calling code.

    Letters are refused, not turned into digits or skipped: a message to a wrong number costs money and trust. Never raises.
    """
    return _parse_plain_mobile(raw, region) or _parse_any(raw, region)


def format_e164(e164: int) -> str:
    """`+` and the digits. ValueError outside 1 <= e164 < 10**15."""
    if not 1 <= e164 < E164_END:
        raise ValueError("an E.164 number has 1 to 15 digits")
    return f"+{e164}"


def parse_e164(text: str) -> int | None:
    """The digits of a strict E.164 text: `+`, then 7 to 15 ASCII digits that do not begin with 0. Else None."""
    return int(text[1:]) if _is_e164(text) else None


def parse_msisdn(text: str) -> int | None:
    """The digits of a number as networks write it, in full, whether with `+`, `00` or neither. Else None."""
    return int(text.removeprefix("+")) if _is_msisdn(text) else None


def mask(e164: int) -> str:
    """For logs and errors: the first four digits and the last two; of less than ten digits only the first two."""
    digits = str(e164)
    return f"+{digits[:4]}*****{digits[-2:]}" if len(digits) >= 10 else f"+{digits[:2]}*****"


def _parse_plain_mobile(raw: str, region: str) -> Phone | None:
    """The short way; None says only that the library must be asked."""
    if len(raw) > RAW_CHARS_MAX:
        return None
    digits = raw.replace(" ", "").replace("-", "")
    if digits.startswith("00") and region in _PLANS:
        digits = "+" + digits[2:]
    if digits.startswith("+"):
        # No calling code is the beginning of another.
        plan = _PLANS_BY_CODE.get(digits[1:3]) or _PLANS_BY_CODE.get(digits[1:4])
        national = digits[1 + len(plan.calling_code) :] if plan else ""
    else:
        plan, national = _PLANS.get(region), digits
    if plan is None or not plan.is_mobile(national):
        return None
    return Phone(int(plan.calling_code + national), plan.region)


def _parse_any(raw: str, region: str) -> Phone | PhoneError:
    """The library's way."""
    if len(raw) > RAW_CHARS_MAX:
        return PhoneError("too_long", f"a phone number has at most {RAW_CHARS_MAX} characters as written")
    if any(map(str.isalpha, raw)):
        return PhoneError("not_a_number", "a phone number has no letters")
    try:
        number = phonenumbers.parse(raw, region)
    except NumberParseException as error:
        return PhoneError(_PARSE_CODES[error.error_type], str(error))
    if number.extension is not None or not phonenumbers.is_valid_number(number):
        return PhoneError("invalid_number", "the number is in no numbering plan")
    if phonenumbers.number_type(number) in _REFUSED_TYPES:
        return PhoneError("not_mobile", "the number is not a mobile, so it takes no SMS")
    country = phonenumbers.region_code_for_number(number)
    if country is None or not country.isalpha():
        return PhoneError("unknown_country", "the number belongs to no country")
    text = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return Phone(int(text.removeprefix("+")), country)
