"""What went wrong with the database, told apart: away (wait and try again), disk full, a rule broken by the data, a bug.

Only this module knows SQLSTATE codes and the words of asyncpg. It opens no connection and retries nothing but what
`retry_away` is given.
Codes: PostgreSQL documentation, appendix A.
"""

import asyncio
import errno
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg
import structlog
import tenacity

T = TypeVar("T")

log = structlog.get_logger(__name__)

# Classes are not enough: 57014 (query_canceled) is of class 57 too, and is about one statement, not about the server.
_AWAY_SQLSTATES = frozenset(
    {
        "53300",  # too_many_connections
        "57P01",  # admin_shutdown
        "57P02",  # crash_shutdown
        "57P03",  # cannot_connect_now: starting up, shutting down, recovering
        "57P05",  # idle_session_timeout
        "25P03",  # idle_in_transaction_session_timeout: the server closed the connection
        "08000",  # connection_exception
        "08001",  # sqlclient_unable_to_establish_sqlconnection
        "08003",  # connection_does_not_exist
        "08004",  # sqlserver_rejected_establishment_of_sqlconnection
        "08006",  # connection_failure
    }
)
# InterfaceError is also asyncpg's answer to wrong use, so only these of its words mean a closed connection or pool.
_CLOSED_WORDS = ("connection is closed", "pool is closing", "pool is closed", "connection was closed")
_RELEASED_WORDS = "released back to the pool"
_OUT_OF_STEP_WORDS = "another operation"
_TRANSIENT_SQLSTATES = frozenset(
    {
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "55P03",  # lock_not_available
        "57014",  # query_canceled: the statement timeout
    }
)
_DISK_FULL_SQLSTATE = "53100"
_UNIQUE_SQLSTATE = "23505"


class DatabaseAway(Exception):
    """The database cannot be reached, or the connection was lost; `__cause__` has what was seen.

    `commit_uncertain`: the connection was lost between sending COMMIT and its answer, so the transaction may have been
    committed. Otherwise it certainly was not.
    """

    def __init__(self, reason: str, *, commit_uncertain: bool = False) -> None:
        super().__init__(reason)
        self.commit_uncertain = commit_uncertain


def sqlstate(error: BaseException) -> str | None:
    """Answer the five characters of the server's error, or None when the error did not come from the server."""
    return getattr(error, "sqlstate", None) if isinstance(error, asyncpg.PostgresError) else None


def is_away(error: BaseException) -> bool:
    """Say whether `error`, seen while connecting or talking to the database, means that the database is away.

    True for a refused, reset or never made connection (a missing socket file too), a server that starts or stops, no free
    connection (server's or pool's), a closed connection or pool. False for what one statement did wrong.
    """
    if isinstance(error, DatabaseAway):
        return True
    if isinstance(error, asyncpg.PostgresError):
        return sqlstate(error) in _AWAY_SQLSTATES or isinstance(error, asyncpg.PostgresConnectionError)
    if isinstance(error, asyncpg.InterfaceError):
        return any(words in str(error) for words in _CLOSED_WORDS)
    # A refused permission or certificate does not heal by waiting. (TimeoutError is an OSError.)
    if isinstance(error, PermissionError | ssl.SSLCertVerificationError):
        return False
    return isinstance(error, OSError) and error.errno != errno.ENOSPC


def is_away_in_use(error: BaseException, connection: object) -> bool:
    """The same for an error inside a block that holds `connection`, where an OSError may also be somebody else's.

    A lost connection leaves the pool by itself, so asyncpg calls it "released back to the pool" to whoever still holds it.
    """
    if isinstance(error, OSError) and not isinstance(error, TimeoutError):
        return is_away(error) and is_lost(connection)
    if is_broken(error):
        return True
    return is_away(error) or (isinstance(error, asyncpg.InterfaceError) and _RELEASED_WORDS in str(error))


def is_broken(error: BaseException) -> bool:
    """Say whether the connection is out of step with its server: a server that dies says so to connections at rest, too, and
    asyncpg then finds itself in the middle of an operation that nobody began. Such a connection is of no use any more."""
    return isinstance(error, asyncpg.InternalClientError) and _OUT_OF_STEP_WORDS in str(error)


def is_lost(connection: object) -> bool:
    """Say whether a connection that its pool lent is closed."""
    try:
        return bool(connection.is_closed())  # type: ignore[attr-defined]
    except asyncpg.InterfaceError:
        return True


def is_disk_full(error: BaseException) -> bool:
    """Say whether the server (or this machine) has no room left on its disk."""
    return sqlstate(error) == _DISK_FULL_SQLSTATE or (isinstance(error, OSError) and error.errno == errno.ENOSPC)


def is_transient(error: BaseException) -> bool:
    """Say whether the same work may well succeed a moment later: the database is away or short of something, a statement took
    too long, or two transactions were in each other's way. The transaction was rolled back, or its commit is uncertain."""
    code = sqlstate(error)
    if code is not None and (code in _TRANSIENT_SQLSTATES or code.startswith("53")):
        return True
    return is_away(error) or is_disk_full(error)


def is_unique_violation(error: BaseException, constraint: str | None = None) -> bool:
    """Say whether a row with that key exists already; of `constraint` only, when it is named."""
    if sqlstate(error) != _UNIQUE_SQLSTATE:
        return False
    return constraint is None or getattr(error, "constraint_name", None) == constraint


async def retry_away(
    call: Callable[[], Awaitable[T]],
    *,
    idempotent: bool = False,
    wait_max_s: float = 5.0,
    give_up_s: float | None = None,
    on_away: Callable[[DatabaseAway], None] | None = None,
) -> T:
    """Call until the database answers, waiting between tries with growing, jittered pauses (0.05 s up to `wait_max_s`).

    Without `give_up_s` it waits as long as the database stays away: the caller bounds it by cancelling. A call that is not
    `idempotent` is not repeated after a lost COMMIT: that DatabaseAway is raised, as is the last one after `give_up_s`.
    `on_away` is told of each failed try. Any other exception of `call` is raised at once.
    """

    def repeatable(error: BaseException) -> bool:
        return isinstance(error, DatabaseAway) and (idempotent or not error.commit_uncertain)

    def note(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if state.attempt_number == 1 or state.attempt_number % 10 == 0:
            log.warning("database.away", reason=str(error), tries=state.attempt_number)
        if on_away is not None and isinstance(error, DatabaseAway):
            on_away(error)

    async def once() -> T:
        return await call()

    retrying = tenacity.AsyncRetrying(
        sleep=asyncio.sleep,
        retry=tenacity.retry_if_exception(repeatable),
        wait=tenacity.wait_exponential_jitter(multiplier=0.05, max=wait_max_s, jitter=0.05),
        stop=tenacity.stop_never if give_up_s is None else tenacity.stop_after_delay(give_up_s),
        before_sleep=note,
        reraise=True,
    )
    return await retrying(once)
