"""The observer: what the runtime tells metrics, and nothing about how metrics are kept."""

from typing import Protocol


class Observer(Protocol):
    """Told of each event on the loop's thread, by the actor's name; must not block, and must not raise."""

    def handled(self, actor: str, seconds: float, /) -> None:
        """A message was handled in `seconds` (wall time, awaiting included; a deferred reply's work is not)."""

    def restarted(self, actor: str, /) -> None:
        """A supervisor has started the actor again."""

    def failed(self, actor: str, exc: BaseException, /) -> None:
        """The actor died of `exc`."""

    def dropped(self, actor: str, /) -> None:
        """A message was not taken (no room, nobody bound), or waited in vain (its asker gave up, the actor died)."""


class Silent:
    """An observer that keeps nothing."""

    def handled(self, actor: str, seconds: float, /) -> None:
        """Nothing is kept."""

    def restarted(self, actor: str, /) -> None:
        """Nothing is kept."""

    def failed(self, actor: str, exc: BaseException, /) -> None:
        """Nothing is kept."""

    def dropped(self, actor: str, /) -> None:
        """Nothing is kept."""


SILENT: Observer = Silent()
