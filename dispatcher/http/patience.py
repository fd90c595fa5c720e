"""How long a client may take: the deadlines, as values. Who keeps them: `connections.py` and `bodies.py`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client may take, in seconds.

    `header_s`: from a request's first byte (the first request's: from the connection) to the end of its headers.
    `body_s`: from the start of reading a body to its end; an upload may take longer as long as it brings
    `upload_bytes_per_s_min` on average beyond that. `linger_s`: for the rest of a body that nobody wants, after the answer.
    `idle_s`: between an answer and the next request's headers.
    """

    header_s: float = 10.0
    body_s: float = 30.0
    upload_bytes_per_s_min: int = 50_000
    linger_s: float = 10.0
    idle_s: float = 75.0


PATIENCE = Patience()
