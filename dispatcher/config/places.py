"""What the machine and its service manager say, beyond the settings: folders, sockets, intervals. Read here only."""

import os
import secrets
import socket
from pathlib import Path

from dispatcher.config.settings import Settings


def state_dir(settings: Settings) -> Path:
    """Where the daemon keeps files: the setting; systemd's StateDirectory; /var/lib/dispatcher for root; else the user's."""
    if settings.state_dir is not None:
        return Path(settings.state_dir)
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/dispatcher")
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "dispatcher"


def notify_socket() -> str | None:
    """The service manager's socket (sd_notify(3))."""
    return os.environ.get("NOTIFY_SOCKET")


def watchdog_s() -> float | None:
    """How often the service manager wants a sign of life, in seconds; None when it does not watch this process."""
    usec = os.environ.get("WATCHDOG_USEC")
    if usec is None or not usec.isdigit() or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(usec) / 1_000_000


def node_name() -> str:
    """A name of this process that no other has, now or later: owner of leases."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
