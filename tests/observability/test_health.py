"""Readiness: ready when nobody gave a reason not to be."""

from dispatcher.observability.health import Readiness


def test_nothing_said_is_ready() -> None:
    """The empty list of reasons."""
    assert Readiness().ok


def test_a_reason_is_not_ready_and_a_note_is() -> None:
    """Degraded is not down: limits in memory while Redis is away, say."""
    assert (False, True) == (Readiness(["database: no answer"]).ok, Readiness(notes=["limits are in memory"]).ok)
