"""Systemd's notifications: what a service manager's socket receives, and that nothing hangs on it."""

import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from dispatcher.observability.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The address as NOTIFY_SOCKET has it, and the service manager's end."""
    address = f"{tmp_path}/s" if request.param == "path" else f"@dispatcher-test-{uuid4().hex}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind("\0" + address[1:] if address.startswith("@") else address)
        bound.settimeout(5)
        yield address, bound


def test_the_manager_is_told_the_life_of_the_process(manager: tuple[str, socket.socket]) -> None:
    """sd_notify(3): one datagram a message, one line a field."""
    address, bound = manager
    notifier = Notifier(address)
    taken = [
        notifier.ready("serving\napi"),
        notifier.status("sending"),
        notifier.watchdog(),
        notifier.stopping("draining"),
    ]
    assert [True] * 4 == taken
    assert ["READY=1\nSTATUS=serving api", "STATUS=sending", "WATCHDOG=1", "STOPPING=1\nSTATUS=draining"] == [
        bound.recv(4096).decode() for _ in taken
    ]


@pytest.mark.parametrize("address", [None, ""])
def test_without_a_manager_nothing_happens(address: str | None) -> None:
    """Started by hand."""
    assert not Notifier(address).ready("serving")


def test_a_manager_that_is_away_is_no_reason_to_fail(tmp_path: Path) -> None:
    """The message is lost, and the caller is told so."""
    assert not Notifier(f"{tmp_path}/nobody").watchdog()


def test_a_full_queue_does_not_hold_the_loop(tmp_path: Path) -> None:
    """The kernel keeps a few datagrams; what comes after is lost at once."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(f"{tmp_path}/s")
        notifier = Notifier(f"{tmp_path}/s")
        taken = [notifier.watchdog() for _ in range(2000)]
    assert (True, False) == (taken[0], taken[-1])
