"""Whether an answer from a recipient (MO) asks to be left alone.

What it is for: the inbound webhook. What it is not: who asked whom, or the suppression itself.

The words are the keywords that carriers and the CTIA Messaging Principles name, and the Greek ones. The whole answer must
be the word (spaces, case, accents and punctuation around it mean nothing): "stop by on Monday?" is a question.
"""

import unicodedata

_WORDS = ("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "ΣΤΟΠ", "ΔΙΑΓΡΑΦΗ")
TEXT_CHARS_MAX = 40


def fold(text: str) -> str:
    """Letters and digits only, without case and accents: two texts that read alike fold alike."""
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    return "".join(c for c in unicodedata.normalize("NFKD", decomposed) if c.isalnum())


_FOLDED = frozenset(fold(word) for word in _WORDS)


def is_stop(text: str) -> bool:
    """Whether the whole text is one of the opt-out words. Longer texts than TEXT_CHARS_MAX are not."""
    trimmed = text.strip()
    return len(trimmed) <= TEXT_CHARS_MAX and fold(trimmed) in _FOLDED
