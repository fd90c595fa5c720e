"""Passwords are stored as Argon2id texts that say their own parameters."""

import pytest
from argon2 import extract_parameters

from dispatcher.domain import passwords

SALT = bytes(range(16))
STORED = passwords.hash_password("correct horse", SALT)


def test_the_stored_text_has_the_parameters_that_owasp_gives() -> None:
    """Argon2id, 19 MiB, two passes, one lane (OWASP Password Storage Cheat Sheet)."""
    found = extract_parameters(STORED)
    assert STORED.startswith("$argon2id$v=19$")
    assert (found.memory_cost, found.time_cost, found.parallelism, found.salt_len) == (19_456, 2, 1, 16)


@pytest.mark.parametrize(("password", "right"), [("correct horse", True), ("correct horse ", False), ("", False)])
def test_only_the_password_itself_is_it(password: str, right: bool) -> None:
    """To the letter."""
    assert passwords.is_password(STORED, password) is right


def test_the_salt_makes_equal_passwords_different() -> None:
    """Nobody sees from the rows that two people chose the same; the same salt gives the same text."""
    assert passwords.hash_password("correct horse", bytes(16)) != STORED
    assert passwords.hash_password("correct horse", SALT) == STORED


def test_a_text_of_other_parameters_is_outdated() -> None:
    """So that the next login can store it anew."""
    assert passwords.is_outdated(STORED) is False
    assert passwords.is_outdated(STORED.replace("m=19456", "m=8192")) is True


def test_what_is_no_argon2_text_is_a_bug() -> None:
    """A damaged row must not look like a wrong password."""
    with pytest.raises(ValueError, match="is not an Argon2 text"):
        passwords.is_password("-", "x")
    with pytest.raises(ValueError, match="is not an Argon2 text"):
        passwords.is_outdated("-")
    with pytest.raises(ValueError, match="a salt has 16 bytes"):
        passwords.hash_password("x", b"short")
