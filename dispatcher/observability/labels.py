"""Children of a labelled metric, kept at hand and bounded in number.

prometheus_client keeps a child for ever, and finds it under a lock. Here one dict look-up finds it, and no stream of new
label values (a provider's new words, say) can fill the memory: past the bound they are counted together as "other".
"""

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

OTHER = "other"
CHILDREN_MAX = 256


class Children(Generic[T]):
    """The children that `make(*values)` gives, one for each combination of label values; at most `children_max`, and "other"."""

    __slots__ = ("_children", "_children_max", "_make", "_other")

    def __init__(self, make: Callable[..., T], children_max: int = CHILDREN_MAX) -> None:
        self._make = make
        self._children: dict[tuple[str, ...], T] = {}
        self._children_max = children_max
        self._other: T | None = None

    def __call__(self, *values: str) -> T:
        """The child of these label values."""
        child = self._children.get(values)
        if child is None:
            if len(self._children) >= self._children_max:
                return self._rest(len(values))
            child = self._children[values] = self._make(*values)
        return child

    def _rest(self, label_count: int) -> T:
        if self._other is None:
            self._other = self._make(*(OTHER,) * label_count)
        return self._other
