"""A contact file's header and rows: which column is what, and a row's cells -> a contact, or why it is refused.

What it is for: the importer and the upload agree on the format before a row is read. What it is not: reading files or
CSV quoting (the importer streams), or deciding what happens to a contact that exists already (`storage/contacts.py`).

Columns, by the names in the first line, in any order: phone (required), first_name, last_name, email, gender, birthday,
tags (several apart by `|` or, when it does not split cells, the other of `,` and `;`). Other columns are ignored.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from dispatcher.domain import phones
from dispatcher.domain.contacts import (
    FieldError,
    clean_email,
    clean_name,
    clean_tags,
    normal_gender,
    parse_birthday,
)

COLUMNS = ("first_name", "last_name", "phone", "email", "gender", "birthday", "tags")
DELIMITERS = (",", ";")
HEADER_CHARS_MAX = 4_096

_ALIASES = {"mobile": "phone", "telephone": "phone", "firstname": "first_name", "lastname": "last_name"}
_split_tags = re.compile(r"[|,;]").split


@dataclass(frozen=True, slots=True)
class Header:
    """Which character splits cells, and the place of each known column."""

    delimiter: str
    places: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class HeaderError:
    """Why a first line is no header. Codes: empty_file, header_too_long, no_phone_column, repeated_column."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ContactRow:
    """A contact as a file gives it: '' , None and [] are cells without content."""

    phone: int
    country: str
    first_name: str
    last_name: str
    email: str
    gender: str | None
    birthday: date | None
    tags: Sequence[str]


def read_header(line: str) -> Header | HeaderError:
    """The header in a file's first line, with or without a byte order mark; the delimiter is the one that splits it more."""
    text = line.removeprefix("\ufeff").strip("\r\n")
    if not text.strip():
        return HeaderError("empty_file", "the file has no first line with column names")
    if len(text) > HEADER_CHARS_MAX:
        return HeaderError("header_too_long", f"the first line has more than {HEADER_CHARS_MAX} characters")
    delimiter = max(DELIMITERS, key=text.count)
    places: dict[str, int] = {}
    for place, cell in enumerate(text.split(delimiter)):
        name = cell.strip().strip('"').strip().lower().replace(" ", "_")
        name = _ALIASES.get(name, name)
        if name not in COLUMNS:
            continue
        if name in places:
            return HeaderError("repeated_column", f"the column {name} is there twice")
        places[name] = place
    if "phone" not in places:
        return HeaderError("no_phone_column", "no column is named phone: name the columns " + ",".join(COLUMNS))
    return Header(delimiter, places)


def read_row(cells: Sequence[str], header: Header, region: str, today: date) -> ContactRow | FieldError:
    """One row; the first thing that is wrong with it when it is refused. `region` is the store's ISO 3166 country."""

    def cell(name: str) -> str:
        place = header.places.get(name)
        return cells[place] if place is not None and place < len(cells) else ""

    if any(_is_broken(text) for text in cells):
        return FieldError("file", "not_utf8", "the row is not UTF-8: save the file as UTF-8")
    raw_phone = cell("phone").strip()
    if not raw_phone:
        return FieldError("phone", "required", "the row has no phone number")
    phone = phones.parse(raw_phone, region)
    if isinstance(phone, phones.PhoneError):
        return FieldError("phone", phone.code, phone.message)
    values = (
        clean_name("first_name", cell("first_name")),
        clean_name("last_name", cell("last_name")),
        clean_email(cell("email")),
        normal_gender(cell("gender")),
        parse_birthday(cell("birthday"), today),
        clean_tags(_split_tags(cell("tags"))),
    )
    for value in values:
        if isinstance(value, FieldError):
            return value
    return ContactRow(phone.e164, phone.country, *values)  # type: ignore[arg-type]  # no error is left among them


def merged(earlier: ContactRow, later: ContactRow) -> ContactRow:
    """Two rows of one phone as one: the later's cells, and the earlier's where the later's are blank."""
    return ContactRow(
        later.phone,
        later.country,
        later.first_name or earlier.first_name,
        later.last_name or earlier.last_name,
        later.email or earlier.email,
        later.gender or earlier.gender,
        later.birthday or earlier.birthday,
        later.tags or earlier.tags,
    )


def _is_broken(text: str) -> bool:
    """Whether bytes of it were not UTF-8 (they are read as lone surrogates, PEP 383)."""
    if text.isascii():
        return False
    return any("\ud800" <= character <= "\udfff" for character in text)
