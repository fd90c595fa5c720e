"""External ids are canonical: one text a number, and no other text is taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.domain.ids import ID_END, POSITION_END, Kind, decode, decode_message, encode, encode_message

kinds = st.sampled_from(Kind)
numbers = st.integers(1, ID_END - 1)
positions = st.integers(1, POSITION_END - 1)
near_numbers = st.text(st.sampled_from("0123456789 +-_\n\u0661"), max_size=22)


@given(kinds, numbers)
def test_an_id_reads_back_as_its_own_kind_only(kind: Kind, number: int) -> None:
    """The number comes back for the kind it was made for, and for no other."""
    text = encode(kind, number)

    assert {kind: number} == {k: decoded for k in Kind if (decoded := decode(k, text)) is not None}


@given(numbers, positions)
def test_a_message_id_reads_back(batch_id: int, n: int) -> None:
    """A message is its batch and its position."""
    assert (batch_id, n) == decode_message(encode_message(batch_id, n))


@given(kinds, near_numbers)
def test_what_decodes_is_what_encodes(kind: Kind, digits: str) -> None:
    """No leading zero, sign, space, line break or foreign digit: only the canonical text is an id."""
    number = decode(kind, kind.value + digits)

    assert number is None or encode(kind, number) == kind.value + digits
    assert decode(kind, digits) is None


@given(near_numbers, near_numbers)
def test_what_decodes_as_a_message_is_what_encodes(batch: str, n: str) -> None:
    """The same holds of both numbers of a message's id."""
    text = f"msg_{batch}_{n}"
    decoded = decode_message(text)

    assert decoded is None or encode_message(*decoded) == text


@pytest.mark.parametrize(
    "text", ["", "ten_", "ten_0", "ten_01", "ten_+1", "ten_1 ", "TEN_1", "ten_\u0661", f"ten_{ID_END}"]
)
def test_near_misses_are_no_ids(text: str) -> None:
    """Each is refused as a value, without an exception."""
    assert decode(Kind.TENANT, text) is None


@pytest.mark.parametrize(
    "text", ["msg_1", "msg_1_0", "msg_0_1", "msg_1_1_1", f"msg_{ID_END}_1", f"msg_1_{POSITION_END}"]
)
def test_near_misses_are_no_message_ids(text: str) -> None:
    """A message needs both its batch and its position, in range."""
    assert decode_message(text) is None


@pytest.mark.parametrize("number", [0, -1, ID_END])
def test_numbers_out_of_range_make_no_id(number: int) -> None:
    """A number that no row can have is a bug of the caller."""
    with pytest.raises(ValueError, match="number in an id"):
        encode(Kind.CAMPAIGN, number)
    with pytest.raises(ValueError, match="number in an id"):
        encode_message(number, 1)


def test_the_prefixes_are_the_contracts() -> None:
    """They are printed in customers' systems and never change."""
    kinds_of_thing = ("ten_", "usr_", "key_", "con_", "cmp_", "bat_", "jrn_", "imp_", "lst_", "tpl_")
    assert kinds_of_thing == tuple(kind.value for kind in Kind)
    assert "msg_" not in kinds_of_thing
