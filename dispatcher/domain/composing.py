"""What the messages of one campaign look like: its text, its links, and the bounds on what they may cost.

Joins `templates`, `rendering` and `codes` for those who work by the batch; holds no rule of its own except where the links
stand: the campaign's link and the opt-out link, each on a line of its own at the end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from dispatcher.domain import codes, rendering, segments, templates


@dataclass(frozen=True, slots=True)
class Composer:
    """Renders a campaign's batches and bounds their segments."""

    fields: tuple[str, ...]
    gsm_matters: bool
    renderer: rendering.BatchRenderer

    def worst_segments(self, bounds: Mapping[str, rendering.FieldBounds]) -> int:
        """At least the segments of any message whose merge values are within `bounds`; 1 or more."""
        return max(1, self.renderer.worst_case_segments(bounds))


@lru_cache(maxsize=256)
def compose(text: str, link_url: str | None, public_base_url: str) -> Composer:
    """The composer of a campaign's text, which was checked when the campaign was made.

    Raises ValueError for a text with a merge tag that is not known: such a campaign cannot have been created.
    """
    template = templates.parse(text)
    if isinstance(template, templates.TemplateError):
        msg = f"the text of a stored campaign does not parse: {template.message}"
        raise ValueError(msg)  # noqa: TRY004 - the value is wrong, not its type
    tail = rendering.links_tail(public_base_url, short_link=link_url is not None)
    static = "".join(template.literals) + tail.replace(rendering.CODE_MARK, "")
    return Composer(template.tags, segments.is_gsm(static), rendering.BatchRenderer(template, tail))


def codes_for(prefix: int | None, suffixes: Sequence[int], n_base: int, places: Sequence[int]) -> list[str]:
    """The link codes of the messages at `places` (their n); the suffix of n is at n - n_base. Raises on a place outside."""
    if prefix is None:
        msg = "a campaign's batch has no link block"
        raise ValueError(msg)
    return codes.encode_many(prefix, [suffixes[n - n_base] for n in places])


def affordable(available: int, needed: int, size: int) -> int:
    """How many messages `available` credits surely cover, when `size` of them needed `needed` at worst; fewer than `size`."""
    if needed <= 0 or size <= 0:
        msg = f"{size} messages for {needed} credits"
        raise ValueError(msg)
    return min(available * size // needed, size - 1)
