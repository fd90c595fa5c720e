"""A contact file as stores export them: Greek and Latin names, and some rows that must be refused. Same seed, same file.

Numbers are in the range of Greek mobiles (69xxxxxxxx), so they look valid to every check; nothing here sends to them, the
demo's provider is the simulator.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

COUNT_MAX = 1_000_000
COUNTRY_CODE = 30
_FIRST = 6_900_000_000
_RANGE = 100_000_000

_NAMES = (
    *("Μαρία", "Γιώργος", "Ελένη", "Δημήτρης", "Κατερίνα", "Νίκος", "Βασιλική", "Κώστας", "Σοφία", "Γιάννης", "Άννα"),
    *("Maria", "Giorgos", "Eleni", "Alex", "Katerina", "Nikos", "Sophie", "John", "Zoë", "Anna", ""),
)
_SURNAMES = ("Παπαδοπούλου", "Νικολάου", "Γεωργίου", "Ιωάννου", "Smith", "Papadopoulos", "Georgiou", "O'Brien", "")
_TAGS = ("", "vip", "vip|athens", "thessaloniki")

# Each must be refused, for a reason of its own.
_BAD_ROWS = (
    ("Landline", "", "2101234567", "", "", ""),
    ("Short", "", "69123", "", "", ""),
    ("Letters", "", "69ABCDEFGH", "", "", ""),
    ("Missing", "", "", "", "", ""),
    ("Nowhere", "", "+999123456789", "", "", ""),
    ("Mail", "", "6999999901", "not-an-address", "", ""),
    ("Birthday", "", "6999999902", "", "31/02/1990", ""),
)


@dataclass(frozen=True, slots=True)
class ContactFile:
    """A csv file (UTF-8), the phones (E.164 digits) of its good rows in order, and how many rows must be refused."""

    content: bytes
    phones: Sequence[int]
    refused: int


def contact_file(count: int, seed: int) -> ContactFile:
    """`count` (1..COUNT_MAX) contacts with different phones, and the rows to refuse among them. ValueError outside."""
    if not 1 <= count <= COUNT_MAX:
        raise ValueError(f"a contact file of the demo has 1 to {COUNT_MAX} contacts, not {count}")
    draw = random.Random(seed)  # noqa: S311 - contacts of a demo, the same for the same seed
    # Below the numbers of the rows to refuse, so that no phone is in both.
    numbers = [_FIRST + number for number in draw.sample(range(_RANGE - 1000), count)]
    lines = [_line(_person(draw, number)) for number in numbers]
    for row in _BAD_ROWS:
        lines.insert(draw.randrange(len(lines) + 1), _line(row))
    content = "\n".join(["first_name,last_name,phone,email,birthday,tags", *lines, ""])
    return ContactFile(content.encode(), [COUNTRY_CODE * 10**10 + number for number in numbers], len(_BAD_ROWS))


def _person(draw: random.Random, number: int) -> Sequence[str]:
    email = f"customer{number}@example.com" if draw.random() < 0.5 else ""
    birthday = f"{draw.randint(1940, 2005)}-{draw.randint(1, 12):02d}-{draw.randint(1, 28):02d}"
    written = draw.choice((f"{number}", f"+30{number}", f"{str(number)[:3]} {str(number)[3:6]} {str(number)[6:]}"))
    return draw.choice(_NAMES), draw.choice(_SURNAMES), written, email, birthday, draw.choice(_TAGS)


def _line(cells: Sequence[str]) -> str:
    return ",".join(cells)
