"""Readiness as a value: whether requests may come here, and why not."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Readiness:
    """Ready when nobody gave a reason not to be. `notes`: what is degraded, and works all the same."""

    reasons: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def ok(self) -> bool:
        """Whether the daemon is ready."""
        return not self.reasons
