"""Mitto's delivery words: which state each means, and the reason to show for it.

A table and nothing else. Sources: Mitto's `deliveryStatus` (Sent, Pending, Delivered, Failure) and the SMPP v3.4 words
(section 5.2.28 message_state, appendix B receipts) that its reports have been seen to carry. A word that is not here has
no state: it is kept raw, counted and alarmed, never guessed.
"""

from collections.abc import Mapping

from dispatcher.domain.lattice import MessageState

_ON_ITS_WAY = (MessageState.ACCEPTED, None)

# Lower case -> (state, reason to show when the report gives none).
_TABLE: Mapping[str, tuple[MessageState, str | None]] = {
    # Mitto's own words.
    "sent": _ON_ITS_WAY,
    "pending": _ON_ITS_WAY,
    "delivered": (MessageState.DELIVERED, None),
    "failure": (MessageState.UNDELIVERED, "the network could not deliver the message"),
    # The same in other tenses.
    "queued": _ON_ITS_WAY,
    "accepted": _ON_ITS_WAY,
    "submitted": _ON_ITS_WAY,
    "buffered": _ON_ITS_WAY,
    "failed": (MessageState.UNDELIVERED, "the network could not deliver the message"),
    "undelivered": (MessageState.UNDELIVERED, "the network could not deliver the message"),
    "rejected": (MessageState.REJECTED, "the network refused the message"),
    # SMPP.
    "scheduled": _ON_ITS_WAY,
    "enroute": _ON_ITS_WAY,
    "acceptd": _ON_ITS_WAY,
    "delivrd": (MessageState.DELIVERED, None),
    "undeliv": (MessageState.UNDELIVERED, "the network could not deliver the message"),
    "undeliverable": (MessageState.UNDELIVERED, "the network could not deliver the message"),
    "deleted": (MessageState.UNDELIVERED, "the message was deleted in the network before delivery"),
    "expired": (MessageState.EXPIRED, "the phone was not reached while the message was valid"),
    "rejectd": (MessageState.REJECTED, "the network refused the message"),
}

# The same in the three cases that are written, so that the usual look-up makes no new text.
STATES: Mapping[str, tuple[MessageState, str | None]] = {
    spelling: meaning for word, meaning in _TABLE.items() for spelling in (word, word.upper(), word.capitalize())
}


def classify(word: str) -> tuple[MessageState | None, str | None]:
    """The state that a word means, in any case and with spaces around, and a reason for people; (None, None) when no table
    knows it. SMPP's UNKNOWN is such a word: "the state is not known" must not become a state."""
    known = STATES.get(word)
    if known is None:
        known = STATES.get(word.strip().lower())
    return known if known is not None else (None, None)
