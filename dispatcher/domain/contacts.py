"""A contact's fields: what is accepted from the API and from files, and the one form in which each is stored.

What it is for: the API and the importer refuse and repair the same things. What it is not: phone numbers (`phones.py`),
or what a text may do with the fields (`templates.py`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

NAME_CHARS_MAX = 100
EMAIL_CHARS_MAX = 254  # RFC 5321 section 4.5.3.1.3, less the angle brackets
TAG_CHARS_MAX = 50
TAGS_MAX = 50
YEAR_MIN = 1900

_GENDERS = {
    "female": "female",
    "f": "female",
    "woman": "female",
    "male": "male",
    "m": "male",
    "man": "male",
    "other": "other",
    "γυναίκα": "female",
    "γυναικα": "female",
    "θήλυ": "female",
    "θηλυ": "female",
    "άνδρας": "male",
    "ανδρας": "male",
    "άρρεν": "male",
    "αρρεν": "male",
    "άλλο": "other",
    "αλλο": "other",
}
_find_control = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]").search
_is_email = re.compile(r"[^@\s,;<>\"]{1,64}@[^@\s,;<>\"]+\.[^@\s,;<>\".]{2,}").fullmatch
_ISO = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})", re.ASCII)
_DAY_FIRST = re.compile(r"(\d{1,2})[./-](\d{1,2})[./-](\d{4})", re.ASCII)


@dataclass(frozen=True, slots=True)
class FieldError:
    """Why a field is refused: its name, a stable code, and a sentence for people.

    `position` (characters from 0) and `tag` say where in a text, when the text's place matters.
    """

    field: str
    code: str
    message: str
    position: int | None = None
    tag: str | None = None


def clean_name(field: str, raw: str) -> str | FieldError:
    """A first or last name: trimmed, at most NAME_CHARS_MAX characters, no control characters."""
    text = raw.strip()
    if len(text) > NAME_CHARS_MAX:
        return FieldError(field, "too_long", f"at most {NAME_CHARS_MAX} characters are kept")
    if _find_control(text):
        return FieldError(field, "control_character", "a line break or control character does not belong here")
    return text


def clean_email(raw: str) -> str | FieldError:
    """An e-mail address, or '' for none: trimmed, with an @ and a domain (RFC 5321 lengths); its case is kept."""
    text = raw.strip()
    if not text:
        return ""
    if len(text) > EMAIL_CHARS_MAX or _find_control(text) or not _is_email(text):
        return FieldError("email", "invalid_email", "this is not an e-mail address")
    return text


def normal_gender(raw: str) -> str | FieldError | None:
    """female, male or other, from the usual spellings in English and Greek; None for ''."""
    text = raw.strip().casefold()
    if not text:
        return None
    found = _GENDERS.get(text)
    return found if found is not None else FieldError("gender", "unknown_gender", "write female, male or other")


def parse_birthday(raw: str, today: date) -> date | FieldError | None:
    """A calendar date: 1990-01-15, 15/01/1990, 15.01.1990 or 15-01-1990 (day first); None for ''.

    A date only: it is never moved by a time zone. From 1900 to `today`.
    """
    text = raw.strip()
    if not text:
        return None
    if match := _ISO.fullmatch(text):
        year, month, day = match.groups()
    elif match := _DAY_FIRST.fullmatch(text):
        day, month, year = match.groups()
    else:
        return FieldError("birthday", "invalid_date", "write the date as 1990-01-15 or 15/01/1990")
    try:
        found = date(int(year), int(month), int(day))
    except ValueError:
        return FieldError("birthday", "invalid_date", "there is no such day")
    return check_birthday(found, today)


def check_birthday(day: date, today: date) -> date | FieldError:
    """`day` when it is a possible birthday: from 1900 to `today`."""
    if day.year < YEAR_MIN or day > today:
        return FieldError("birthday", "out_of_range", f"a birthday lies between {YEAR_MIN} and today")
    return day


def clean_tags(raw: Sequence[str]) -> list[str] | FieldError:
    """Tags: trimmed, lower-case, distinct, in the order given; at most TAGS_MAX of TAG_CHARS_MAX characters each."""
    found: dict[str, None] = {}
    for item in raw:
        tag = item.strip().lower()
        if not tag:
            continue
        if len(tag) > TAG_CHARS_MAX or _find_control(tag):
            return FieldError("tags", "invalid_tag", f"a tag has at most {TAG_CHARS_MAX} characters and no line break")
        found[tag] = None
    if len(found) > TAGS_MAX:
        return FieldError("tags", "too_many", f"at most {TAGS_MAX} tags are kept")
    return list(found)
