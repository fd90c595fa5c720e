"""Passwords at rest: Argon2id, with the parameters that OWASP's Password Storage Cheat Sheet gives (19 MiB, 2 passes, 1 lane).

What it is for: making and checking the stored text. What it is not: a rule for what people may choose, or a source of
randomness: the salt is given. One hash takes about 40 ms of a core on purpose: not for the event loop.
"""

from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import hash_secret

TIME_COST = 2
MEMORY_KIB = 19 * 1024
PARALLELISM = 1
HASH_BYTES = 32
SALT_BYTES = 16


def hash_password(password: str, salt: bytes) -> str:
    """The text to store (PHC string format). `salt` is SALT_BYTES random bytes. ValueError for another length."""
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes, not {len(salt)}")
    return hash_secret(password.encode(), salt, TIME_COST, MEMORY_KIB, PARALLELISM, HASH_BYTES, Type.ID).decode()


def is_password(stored: str, password: str) -> bool:
    """Whether `password` is the one that `stored` was made from; in time that tells nothing of how near it is. ValueError
    when `stored` is no Argon2 text."""
    try:
        return PasswordHasher().verify(stored, password)
    except InvalidHashError as error:
        raise ValueError("the stored password is not an Argon2 text") from error
    except VerificationError:
        return False


def is_outdated(stored: str) -> bool:
    """Whether `stored` was made with other parameters than today's: hash it again at the next login. ValueError when it is
    no Argon2 text."""
    try:
        found = extract_parameters(stored)
    except InvalidHashError as error:
        raise ValueError("the stored password is not an Argon2 text") from error
    return (found.type, found.time_cost, found.memory_cost, found.parallelism) != (
        Type.ID,
        TIME_COST,
        MEMORY_KIB,
        PARALLELISM,
    )
