"""What systemd is told: sd_notify(3) over the socket in NOTIFY_SOCKET. Without one, nothing happens.

The protocol is a datagram of `KEY=value` lines; an address that begins with @ is in the abstract namespace.
"""

import socket


class Notifier:
    """Tells the service manager READY, STATUS, WATCHDOG, STOPPING. A manager that is away is no reason to fail.

    Each method answers whether the message was taken, and never waits: one that finds the manager's queue full is lost.
    A `status` is one line; its line ends become spaces, because each line is a field of its own.
    """

    def __init__(self, address: str | None) -> None:
        self._address = None if not address else ("\0" + address[1:] if address.startswith("@") else address)

    def ready(self, status: str) -> bool:
        """The tree is up and the database migrated."""
        return self._send(f"READY=1\nSTATUS={_line(status)}")

    def status(self, status: str) -> bool:
        """One line on what the daemon is doing."""
        return self._send(f"STATUS={_line(status)}")

    def watchdog(self) -> bool:
        """A probe went through supervisor, actors and database."""
        return self._send("WATCHDOG=1")

    def stopping(self, status: str) -> bool:
        """The drain has begun."""
        return self._send(f"STOPPING=1\nSTATUS={_line(status)}")

    def _send(self, text: str) -> bool:
        if self._address is None:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as opened:
                opened.setblocking(False)
                opened.sendto(text.encode(), self._address)
        except OSError:
            return False
        return True


def _line(status: str) -> str:
    return " ".join(status.split())
