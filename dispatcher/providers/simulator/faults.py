"""What happens to a request: the next line of the script, else a draw. Only the choice; `server` does it."""

from collections import deque
from random import Random
from typing import Literal

from dispatcher.providers.simulator.profile import Fault, Profile

BEHAVE = Fault(kind="none")


class Faults:
    """The script as far as it is not used up, and the draws."""

    def __init__(self, profile: Profile, rng: Random) -> None:
        self._rng = rng
        self._scripts: dict[str, deque[Fault]] = {
            on: deque(fault for fault in profile.script for _ in range(fault.times) if fault.on == on)
            for on in ("send", "lookup")
        }
        self._draws = {on: [fault for fault in profile.faults if fault.on == on] for on in ("send", "lookup")}

    def next(self, on: Literal["send", "lookup"]) -> Fault:
        """What happens to the next request."""
        if self._scripts[on]:
            return self._scripts[on].popleft()
        draws = self._draws[on]
        if not draws:
            return BEHAVE
        at = self._rng.random()
        for fault in draws:
            if at < fault.share:
                return fault
            at -= fault.share
        return BEHAVE

    @property
    def script_left(self) -> int:
        """Requests that the script still speaks of."""
        return sum(len(script) for script in self._scripts.values())
