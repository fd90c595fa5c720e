"""The two messages that every actor understands without its `on_receive`: Ping and Stop."""

from dataclasses import dataclass

# Pykka's own stop message, under a public name: `ActorRef.stop()` and `Actor.stop()` send it too.
from pykka.messages import _ActorStop as Stop

__all__ = ["Ping", "Stop"]


@dataclass(frozen=True, slots=True)
class Ping:
    """A probe: answered with True when its turn in the inbox comes, so an answer proves that it takes messages."""
