"""What the demo sends to whom, and how it judges: without processes."""

import csv
import io

from dispatcher.cli.demo import comparison
from dispatcher.cli.demo.comparison import Receipts, Row
from dispatcher.cli.demo.people import contact_file
from dispatcher.domain import phones
from dispatcher.storage.admin import Totals

COUNTS = {
    **dict.fromkeys(("planned", "submitting", "cancelled", "unknown", "suppressed", "accepted", "expired"), 0),
    "delivered": 2,
    "undelivered": 1,
    "rejected": 1,
}
CAMPAIGN = {"recipients": 4, "counts": COUNTS, "cost": {"held": 0, "captured": 3, "released": 1, "refunded": 0}}
TOTALS = Totals(4, 3, 2, 1, 1, 0, 0, 3, 1)
PHONES = [306900000001, 306900000002, 306900000003, 306900000004]


def _received(destinations: list[str], rejected: int = 1) -> comparison.Received:
    receipts = Receipts(PHONES)
    for destination in destinations:
        receipts.add(destination, "Hello")
    return receipts.total(rejected)


def _differing(received: comparison.Received) -> list[str]:
    return [row.name for row in comparison.compare(CAMPAIGN, 0, received, TOTALS, 4) if not row.agree]


def test_the_same_seed_makes_the_same_file() -> None:
    """So that a demo can be repeated."""
    assert contact_file(50, 3) == contact_file(50, 3)
    assert contact_file(50, 3) != contact_file(50, 4)


def test_the_good_rows_are_different_greek_mobiles_and_the_bad_ones_are_known() -> None:
    """Every phone that is promised is in the file and valid; as many rows as promised are not."""
    file = contact_file(300, 1)
    rows = list(csv.DictReader(io.StringIO(file.content.decode())))
    assert len(rows) == 300 + file.refused
    assert len(set(file.phones)) == 300
    parsed = [phones.parse(row["phone"], "GR") for row in rows]
    found = {phone.e164 for phone in parsed if isinstance(phone, phones.Phone)}
    assert set(file.phones) <= found
    assert all(phones.parse(f"+{phone}", "GR") == phones.Phone(phone, "GR") for phone in file.phones)


def test_sources_that_agree_agree() -> None:
    """Each phone but the rejected one got one message; the provider's segments are the credits captured."""
    assert _differing(_received(["+306900000001", "306900000002", "+306900000003"])) == []


def test_a_message_sent_twice_is_found() -> None:
    """Whatever the counters say."""
    received = _received(["+306900000001", "+306900000002", "+306900000003", "+306900000003"])
    assert (received.twice, received.strangers) == (1, 0)
    assert "sent twice" in _differing(received)


def test_a_message_to_a_stranger_and_one_that_never_left_are_found() -> None:
    """The right number of messages to the wrong people is not right."""
    received = _received(["+306900000001", "+306900000002", "+306900000009"])
    assert (received.strangers, received.missing) == (1, 1)
    assert _differing(received) == ["sent to nobody we know", "never reached the provider"]


def test_the_verdict_marks_the_row_that_differs() -> None:
    """And one such row is enough for a failure."""
    told = comparison.verdict([Row("same", 1, 1, None), Row("other", 1, None, 2)], accepted_per_s=1, reported_s=1)
    assert not told.ok
    assert next(line for line in told.lines if "DIFFER" in line).startswith("other")
