"""PostgreSQL without an installation: the server's binaries, run and watched by the daemon as its own child.

Meant for trying things, for one shop on one machine, and for tests; a server of its own, given by DISPATCHER_DATABASE_URL,
is the way for anything bigger. Why it is built like this: docs/adr/0003-embedded-postgresql.md.
"""

from dispatcher.storage.embedded.attach import running, server_of
from dispatcher.storage.embedded.problems import EmbeddedError, StateDirInUse
from dispatcher.storage.embedded.server import Dsn, EmbeddedPostgres, Restarts

__all__ = ["Dsn", "EmbeddedError", "EmbeddedPostgres", "Restarts", "StateDirInUse", "running", "server_of"]
