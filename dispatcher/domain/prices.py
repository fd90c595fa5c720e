"""What a message costs: segments x the credits a segment of its country.

What it is for: the exact price at capture and the bound at hold, from one table read once. What it is not: money that
moves (`money.py`), or the price of credits in a currency (`billing/`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

CREDITS_PER_SEGMENT_MAX = 1_000


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Credits a segment, 1..1000: of the countries named (ISO 3166 alpha-2), and of all others. ValueError outside."""

    default: int
    by_country: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for country, credits_per_segment in (("*", self.default), *self.by_country.items()):
            if not 1 <= credits_per_segment <= CREDITS_PER_SEGMENT_MAX:
                raise ValueError(
                    f"{country}: a segment costs 1 to {CREDITS_PER_SEGMENT_MAX} credits, not {credits_per_segment}"
                )
        # A copy, so that a table once checked stays as it was checked.
        object.__setattr__(self, "by_country", dict(self.by_country))

    def credits_per_segment(self, country: str) -> int:
        """The country's own price, or the default."""
        return self.by_country.get(country, self.default)

    def price(self, country: str, segments: int) -> int:
        """Credits of one message of `segments` (>= 0). ValueError when negative."""
        if segments < 0:
            raise ValueError(f"a message has no {segments} segments")
        return segments * self.credits_per_segment(country)

    def price_many(self, countries: Sequence[str], segments: Sequence[int]) -> list[int]:
        """The prices of many messages, place by place. ValueError when the lists differ in length."""
        of = {country: self.credits_per_segment(country) for country in set(countries)}
        return [of[country] * count for country, count in zip(countries, segments, strict=True)]

    def worst_case_hold(self, counts_by_country: Mapping[str, int], worst_segments: int) -> int:
        """Credits that cover `counts_by_country` messages of at most `worst_segments` segments each. ValueError if negative."""
        if any(messages < 0 for messages in counts_by_country.values()):
            raise ValueError("a country has a negative count of messages")
        return sum(messages * self.price(country, worst_segments) for country, messages in counts_by_country.items())
