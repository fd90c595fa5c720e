"""A unit of work: statements that belong in one transaction with the credits they move.

A unit says *what* to write and *which* movements follow; only WalletLedger runs units, opens their transaction and posts
their movements. That is how the one door to money and "one transaction" go together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from dispatcher.domain.money import Movement

PoolName = Literal["main", "dlr"]


@dataclass(frozen=True, slots=True)
class Done:
    """What a unit answers: a value for whoever asked, and the movements to post before the commit."""

    value: Any
    movements: Sequence[Movement] = ()


class Unit(Protocol):
    """Statements to run in a transaction that WalletLedger owns.

    `run` may be called again from the start when the database went away before the commit, so it keeps no state between
    calls. It raises to roll back.
    """

    pool: ClassVar[PoolName]

    async def run(self, conn: Any) -> Done:
        """Run the statements on `conn` (inside a transaction)."""
        ...
