"""A contact's fields: one stored form for each, whatever was typed; and audiences made of them."""

from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.domain import audience, contact_files, contacts
from dispatcher.domain.contact_files import Header
from dispatcher.domain.contacts import FieldError

TODAY = date(2026, 11, 24)
HEADER = Header(",", {name: place for place, name in enumerate(contact_files.COLUMNS)})


@given(st.dates(date(1900, 1, 1), TODAY))
def test_a_birthday_is_the_day_that_was_written(day: date) -> None:
    """In every accepted way of writing it; no time zone moves it."""
    ways = (day.isoformat(), f"{day.day}/{day.month}/{day.year}", f"{day:%d.%m.%Y}", f" {day:%d-%m-%Y} ")
    assert {day} == {contacts.parse_birthday(way, TODAY) for way in ways}


@pytest.mark.parametrize(
    "raw", ["31/02/2000", "2000-13-01", "1/2/99", "yesterday", "2000-01-01T00:00:00Z", "٢٠٠٠-01-01"]
)
def test_what_is_no_day_is_refused(raw: str) -> None:
    """With a reason, not a guess."""
    found = contacts.parse_birthday(raw, TODAY)
    assert isinstance(found, FieldError)
    assert "invalid_date" == found.code


@given(st.text(max_size=120), st.text(max_size=120), st.lists(st.text(max_size=60), max_size=8))
def test_cleaning_twice_changes_nothing_more(name: str, email: str, tags: list[str]) -> None:
    """Each stored form is a fixed point; anything else is refused, never raised."""
    cleaners: list[tuple[Callable[[Any], Any], Any]] = [
        (partial(contacts.clean_name, "first_name"), name),
        (contacts.clean_email, email),
        (contacts.clean_tags, tags),
    ]
    for clean, value in cleaners:
        once = clean(value)
        assert isinstance(once, FieldError) or once == clean(once)


@given(st.lists(st.text(max_size=40), max_size=10))
def test_any_row_is_a_contact_or_an_error(cells: list[str]) -> None:
    """Short, long, empty or full of odd characters."""
    assert isinstance(contact_files.read_row(cells, HEADER, "GR", TODAY), contact_files.ContactRow | FieldError)


@given(st.text(max_size=300))
def test_any_first_line_is_a_header_or_an_error(line: str) -> None:
    """Never an exception."""
    assert isinstance(contact_files.read_header(line), Header | contact_files.HeaderError)


@given(
    st.none() | st.sampled_from(["female", "M", "other"]),
    st.none() | st.integers(0, 130),
    st.none() | st.integers(0, 130),
    st.none() | st.lists(st.sampled_from(["a", "B", "b", " c "]), max_size=4),
)
def test_an_audience_is_canonical_and_survives_being_shown(
    gender: str | None, age_min: int | None, age_max: int | None, tags: list[str] | None
) -> None:
    """What is shown, given again, is stored the same; a filter without conditions is everybody."""
    found = audience.canonical_filter(gender=gender, age_min=age_min, age_max=age_max, tags=tags)
    if isinstance(found, list):
        assert age_min is not None
        assert age_max is not None
        assert age_min > age_max
        return
    shown = audience.as_given(found)
    if shown == "all":
        assert audience.ALL == found
        assert not (gender or tags or age_min is not None or age_max is not None)
        return
    again = {"gender": None, "age_min": None, "age_max": None, "tags": None} | shown["filter"]
    assert found == audience.canonical_filter(**again)
