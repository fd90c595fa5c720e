"""A price is segments times the country's credits, and a hold at the worst case covers every exact price."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.domain.prices import PriceTable

countries = st.sampled_from(["GR", "CY", "DE", "US"])
credits_per_segment = st.integers(1, 1000)
tables = st.builds(PriceTable, credits_per_segment, st.dictionaries(countries, credits_per_segment))


@given(tables, st.lists(st.tuples(countries, st.integers(0, 10))), st.integers(0, 5))
def test_the_hold_covers_the_captures(table: PriceTable, messages: list[tuple[str, int]], more: int) -> None:
    """Whatever the messages turn out to cost, the hold for the longest of them in their countries is enough."""
    worst = max((segments for _, segments in messages), default=0) + more
    counts = {country: sum(c == country for c, _ in messages) for country, _ in messages}

    assert sum(table.price(country, segments) for country, segments in messages) <= table.worst_case_hold(counts, worst)


def test_a_country_without_a_price_has_the_default() -> None:
    """Only the named countries have their own price."""
    table = PriceTable(2, {"GR": 1, "US": 7})

    assert [table.price(country, 3) for country in ("GR", "US", "DE")] == [3, 21, 6]
    assert table.worst_case_hold({"GR": 10, "DE": 5}, 2) == 40
    assert table.worst_case_hold({}, 2) == 0


@pytest.mark.parametrize("bad", [0, -1, 1001])
def test_a_price_out_of_range_is_refused(bad: int) -> None:
    """No segment is free, and none costs more than 1000 credits."""
    with pytest.raises(ValueError, match="credits"):
        PriceTable(bad)
    with pytest.raises(ValueError, match="GR"):
        PriceTable(1, {"GR": bad})


def test_negative_counts_are_refused() -> None:
    """A negative count would lower a hold: a bug of the caller."""
    table = PriceTable(1)
    with pytest.raises(ValueError, match="segments"):
        table.price("GR", -1)
    with pytest.raises(ValueError, match="negative"):
        table.worst_case_hold({"GR": -1, "CY": 2}, 1)


def test_a_table_stays_as_it_was_checked() -> None:
    """Changing the mapping that a table was made of does not change the table."""
    prices = {"GR": 1}
    table = PriceTable(1, prices)
    prices["GR"] = -5

    assert table.price("GR", 1) == 1
