"""Delivery reports and inbound messages: every spelling that Mitto's documents or reports have shown, and every bad one."""

import json
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.domain.lattice import MessageState, Report
from dispatcher.providers.base import BadBody, Inbound, ParsedReports
from dispatcher.providers.mitto_reports import epoch_s, parse_inbound, parse_reports
from dispatcher.providers.mitto_status import classify

ULID = "01HX4Y5T6Z7A8B9C0D1E2F3G4H"
NOON_S = 1795521600.0  # 2026-11-24T12:00:00Z

ACCEPTED, DELIVERED = MessageState.ACCEPTED, MessageState.DELIVERED
UNDELIVERED, EXPIRED, REJECTED = MessageState.UNDELIVERED, MessageState.EXPIRED, MessageState.REJECTED


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("Sent", ACCEPTED),
        ("Pending", ACCEPTED),
        ("ENROUTE", ACCEPTED),
        ("ACCEPTD", ACCEPTED),
        ("Delivered", DELIVERED),
        ("DELIVRD", DELIVERED),
        ("Failure", UNDELIVERED),
        ("UNDELIV", UNDELIVERED),
        ("DELETED", UNDELIVERED),
        ("EXPIRED", EXPIRED),
        ("REJECTD", REJECTED),
        ("UNKNOWN", None),
        ("Teleported", None),
    ],
)
def test_a_word_has_its_state_in_any_case(word: str, state: MessageState | None) -> None:
    """Words that no table knows have none: they are never guessed."""
    assert {classify(form)[0] for form in (word, word.upper(), word.lower(), word.swapcase(), f" {word}\n")} == {state}


@pytest.mark.parametrize("word", ["Failure", "UNDELIV", "EXPIRED", "REJECTD"])
def test_a_failure_has_a_reason_for_people(word: str) -> None:
    """Also when the report gives none; and its own when it does."""
    assert _one({"messageId": ULID, "deliveryStatus": word}).reason
    own = _one({"messageId": ULID, "deliveryStatus": word, "error": "Absent subscriber"})
    assert own.reason == "Absent subscriber"


def test_every_spelling_of_the_keys_says_the_same() -> None:
    """The quick way and the long way agree, one by one and in an array."""
    expected = Report(ULID, UNDELIVERED, "Failure", NOON_S, "Gone")
    spellings = product(
        ["messageId", "id", "MessageId"],
        ["deliveryStatus", "status", "Status", "delivery_status"],
        ["updatedAt", "doneAt", "timestamp", "createdAt"],
        ["error", "Error", "description", "errorMessage"],
    )
    for id_name, word_name, time_name, reason_name in spellings:
        item = {id_name: ULID, word_name: "Failure", time_name: "2026-11-24T12:00:00Z", reason_name: "Gone"}
        assert _parsed(item) == ParsedReports([expected])
        parsed = _parsed([item, {"messageId": ULID, "deliveryStatus": "Sent"}])
        assert parsed == ParsedReports([expected, Report(ULID, ACCEPTED, "Sent", None, None)])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-24T12:00:00Z", NOON_S),
        ("2026-11-24T12:00:00", NOON_S),
        ("2026-11-24 12:00:00", NOON_S),
        ("2026-11-24T14:00:00+02:00", NOON_S),
        ("2026-11-24T12:00:00.5Z", NOON_S + 0.5),
        ("2026-11-24T12:00:00.1234560Z", NOON_S + 0.123456),
        (1795521600, NOON_S),
        (1795521600.25, NOON_S + 0.25),
        (1795521600000, NOON_S),
        (1795521600000000, NOON_S),
        ("1795521600", NOON_S),
        ("1795521600000", NOON_S),
        ("0001-01-01T00:00:00", None),
        ("yesterday", None),
        ("", None),
        (0, None),
        (-5, None),
        (10**400, None),
        (True, None),
        (None, None),
        ([1], None),
        ({"a": 1}, None),
    ],
)
def test_a_time_in_any_form_is_seconds_of_the_epoch(value: Any, expected: float | None) -> None:
    """ISO 8601 with or without offset, or a count in any unit; what is no time takes nothing else away."""
    assert _one({"messageId": ULID, "deliveryStatus": "Delivered", "updatedAt": value}).at_epoch_s == expected
    assert _one({"id": ULID, "status": "Delivered", "doneAt": value}).at_epoch_s == expected


def test_an_unknown_word_is_kept_raw() -> None:
    """It can be counted and alarmed with the very word."""
    assert _one({"messageId": ULID, "deliveryStatus": "Teleported"}) == Report(ULID, None, "Teleported", None, None)
    assert _one({"messageId": ULID, "deliveryStatus": "In transit!"}).word == "In transit!"


def test_a_number_where_a_text_is_documented_is_read() -> None:
    """A numeric id or status is that id or status."""
    assert _one({"messageId": 12345, "deliveryStatus": "Delivered"}).provider_id == "12345"
    assert _one({"messageId": ULID, "deliveryStatus": 2}) == Report(ULID, None, "2", None, None)


def test_an_error_that_is_an_object_gives_its_message() -> None:
    """And what is no text is still shown, never longer than 300 characters, without NUL (PostgreSQL takes none)."""
    base = {"messageId": ULID, "deliveryStatus": "Failure"}
    assert _one(base | {"error": {"code": 7, "message": "Barred"}}).reason == "Barred"
    assert _one(base | {"error": {"code": 7}}).reason == "7"
    assert _one(base | {"error": ["a", 1]}).reason == '["a",1]'
    assert _one(base | {"error": "x\0y" * 200}).reason == ("xy" * 200)[:300]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"not json",
        b"\xff\xfe",
        b'"text"',
        b"12",
        b"null",
        b"{}",
        b'{"messageId":"","deliveryStatus":"Delivered"}',
        b'{"messageId":"a b","deliveryStatus":"Delivered"}',
        b'{"messageId":"a\\u0000","deliveryStatus":"Delivered"}',
        b'{"messageId":"abc"}',
        b'{"messageId":"abc","deliveryStatus":null}',
        b'{"deliveryStatus":"Delivered"}',
        b'{"messageId":"' + b"a" * 300 + b'","deliveryStatus":"Delivered"}',
        b"[1,2,3]",
        b"[{}]",
        b"[" * 100_000,
        b'{"messageId":"abc","deliveryStatus":"Delivered"} trailing',
    ],
)
def test_a_body_that_holds_no_report_is_refused(body: bytes) -> None:
    """400, and nothing raised, whatever it is."""
    assert isinstance(parse_reports(body), BadBody)


def test_one_bad_element_does_not_take_the_good_ones_away() -> None:
    """A refused body would be repeated for ever; what is bad is counted."""
    good = {"messageId": ULID, "deliveryStatus": "Delivered"}
    parsed = _parsed([good, {}, 7, good | {"messageId": "other"}])
    assert ([report.provider_id for report in parsed.reports], parsed.bad) == ([ULID, "other"], 2)


def test_an_empty_array_is_a_body_of_no_reports() -> None:
    """There is nothing to refuse in it."""
    assert _parsed([]) == ParsedReports([])


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
def test_nothing_that_is_posted_raises(body: bytes) -> None:
    """The webhook is open to the world: each body is reports or a BadBody."""
    assert isinstance(parse_reports(body), ParsedReports | BadBody)
    assert isinstance(parse_inbound(body), Inbound | BadBody)


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "messageId": st.from_regex(r"[0-9A-Za-z-]{1,40}", fullmatch=True),
            "deliveryStatus": st.sampled_from(["Sent", "x", "Failure"]),
        },
        optional={
            "updatedAt": st.none() | st.sampled_from(["2026-11-24T12:00:00Z", 1795521600, "", 0, "junk"]),
            "timestamp": st.none() | st.sampled_from(["2026-11-24T13:00:00Z", ""]),
            "error": st.none() | st.sampled_from(["", "Gone", 0, {"code": 1}]),
            "description": st.none() | st.text(max_size=5),
        },
    )
)
def test_the_quick_way_and_the_long_way_agree(item: dict[str, Any]) -> None:
    """A leading space sends the same object the long way."""
    body = json.dumps(item).encode()
    assert _parsed_body(body) == _parsed_body(b" " + body)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"from": "306911111111", "to": "Store", "text": "ΣΤΟΠ"}, Inbound("306911111111", "Store", "ΣΤΟΠ")),
        ({"from": "+306911111111", "text": ""}, Inbound("+306911111111", None, "")),
        ({"from": 306911111111, "text": "a\0b", "more": 1}, Inbound("306911111111", None, "ab")),
        ({"from": "", "text": "x"}, None),
        ({"from": "306911111111"}, None),
        ({"text": "x"}, None),
        ({"from": "3" * 100, "text": "x"}, None),
        ({"from": "306911111111", "text": "x" * 5000}, None),
        ([], None),
    ],
)
def test_an_inbound_message_keeps_its_numbers_as_written(body: Any, expected: Inbound | None) -> None:
    """D66: with or without '+'; whoever looks for the recipient normalises."""
    parsed = parse_inbound(json.dumps(body).encode())
    assert parsed == expected if expected is not None else isinstance(parsed, BadBody)


def test_times_have_one_meaning_wherever_they_stand() -> None:
    """The function itself, for look-ups."""
    assert epoch_s("2026-11-24T12:00:00Z") == NOON_S


def _parsed_body(body: bytes) -> ParsedReports:
    parsed = parse_reports(body)
    assert isinstance(parsed, ParsedReports), parsed
    return parsed


def _parsed(value: Any) -> ParsedReports:
    return _parsed_body(json.dumps(value).encode())


def _one(value: Any) -> Report:
    (report,) = _parsed(value).reports
    return report
