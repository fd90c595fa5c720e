"""From a configured account to its provider: the one list of the kinds that exist."""

from collections.abc import Callable, Mapping

from dispatcher.providers.base import Provider, ProviderSettings
from dispatcher.providers.mitto import Mitto

KINDS: Mapping[str, Callable[[ProviderSettings], Provider]] = {"mitto": Mitto}


def create(settings: ProviderSettings) -> Provider:
    """The provider of an account, not yet opened. ValueError for a kind that does not exist, or settings out of range."""
    kind = KINDS.get(settings.kind)
    if kind is None:
        msg = f"provider {settings.name!r}: the kind {settings.kind!r} is none of {', '.join(sorted(KINDS))}"
        raise ValueError(msg)
    return kind(settings)
