"""A secret value: cannot be shown, stored or sent by accident."""

import hmac
from typing import NoReturn

MASK = "****"


class Secret:
    """Text that no log, repr, traceback or serializer shows; `reveal()` is the one way to it, easy to search for."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    __str__ = __repr__

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        """In constant time, for texts of the same length."""
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> NoReturn:
        """Not to be pickled: a pickle holds the text."""
        msg = "a secret is not pickled"
        raise TypeError(msg)
