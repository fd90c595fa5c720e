"""Link codes are read back as they were made, and nothing else is read as one."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.domain.codes import (
    ALPHABET,
    PREFIX_END,
    SUFFIX_END,
    decode,
    encode,
    encode_many,
    find_code,
    suffixes_from_bytes,
)

prefixes = st.integers(0, PREFIX_END - 1)
suffixes = st.integers(0, SUFFIX_END - 1)
codes = st.text(st.sampled_from(ALPHABET), min_size=11, max_size=11)


@given(prefixes, suffixes)
def test_a_code_reads_back(prefix: int, suffix: int) -> None:
    """Decoding a code gives the prefix and suffix it was made of."""
    assert (prefix, suffix) == decode(encode(prefix, suffix))


@given(codes)
def test_every_eleven_characters_are_one_code(code: str) -> None:
    """Codes and pairs of numbers correspond one to one."""
    decoded = decode(code)

    assert decoded is not None
    assert code == encode(*decoded)


@given(prefixes, st.lists(suffixes))
def test_many_codes_are_each_code(prefix: int, many: list[int]) -> None:
    """A batch's codes are those of its suffixes, in order."""
    assert [encode(prefix, suffix) for suffix in many] == encode_many(prefix, many)


@given(st.text(max_size=13))
def test_other_text_is_no_code(text: str) -> None:
    """Only eleven ASCII letters and digits are a code: no sign, space, line break or foreign digit."""
    strict = len(text) == 11 and all(c in ALPHABET for c in text)

    assert strict == (decode(text) is not None)
    assert decode("00000000001\n") is None
    assert decode("0000000000\u0661") is None


@pytest.mark.parametrize(("prefix", "suffix"), [(-1, 0), (PREFIX_END, 0), (0, -1), (0, SUFFIX_END)])
def test_numbers_out_of_range_are_refused(prefix: int, suffix: int) -> None:
    """A number that would need another character is a bug of the caller."""
    with pytest.raises(ValueError, match="link"):
        encode(prefix, suffix)


@given(st.binary(min_size=80, max_size=400), st.integers(0, 10))
def test_suffixes_are_distinct_and_in_range(data: bytes, n: int) -> None:
    """As many as asked, all different, or a refusal that says more bytes are needed."""
    words = struct.unpack_from(f"<{len(data) // 8}Q", data)
    if len({word % SUFFIX_END for word in words}) < n:
        with pytest.raises(ValueError, match="give more"):
            suffixes_from_bytes(data, n)
        return
    made = suffixes_from_bytes(data, n)

    assert n == len(set(made)) == len(made)
    assert all(0 <= suffix < SUFFIX_END for suffix in made)


def test_the_bytes_of_a_repeat_are_skipped() -> None:
    """A word seen before makes no second suffix, and neither does one that is equal modulo 62**7."""
    data = struct.pack("<5Q", 7, 7, 7 + SUFFIX_END, 9, 8)

    assert suffixes_from_bytes(data, 3) == [7, 9, 8]


@pytest.mark.parametrize("n", [-1, 2])
def test_too_few_bytes_are_refused(n: int) -> None:
    """There is no suffix without eight bytes of its own."""
    with pytest.raises(ValueError, match="suffixes need"):
        suffixes_from_bytes(bytes(15), n)


@given(codes, codes, st.sampled_from("uso"))
def test_codes_are_found_in_a_text(first: str, second: str, kind: str) -> None:
    """Codes after /u/, /s/ and /o/ are found once each, in order, whatever punctuation follows."""
    text = f"Hi! https://x.gr/{kind}/{first}.\nStop: https://x.gr/u/{second}) https://x.gr/s/{first}"

    assert list(dict.fromkeys([first, second])) == find_code(text)


def test_what_only_looks_like_a_code_is_not_found() -> None:
    """Another path, too few or too many characters are no candidates."""
    assert find_code("x/n/00000000000 x/u/0000000000 x/u/000000000000 00000000000") == []
