"""What the machine and its service manager say: folders, sockets, intervals."""

import os
from pathlib import Path

import pytest

from dispatcher.config import Settings, places


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """As started by hand, whatever starts the tests."""
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)


def test_the_setting_goes_before_systemds_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd.exec(5): STATE_DIRECTORY may name several folders; the first is ours."""
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/first:/var/lib/second")
    assert Path("/set") == places.state_dir(Settings(state_dir="/set"))
    assert Path("/var/lib/first") == places.state_dir(Settings())


def test_without_either_it_depends_on_who_runs_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Root has /var/lib, a user has a folder at home (XDG base directories)."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert Path("/var/lib/dispatcher") == places.state_dir(Settings())
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert tmp_path / "dispatcher" == places.state_dir(Settings())


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        (None, None, None),
        ("30000000", None, 30.0),
        ("30000000", str(os.getpid()), 30.0),
        ("30000000", "1", None),
        ("soon", None, None),
    ],
)
def test_the_watchdog_is_fed_only_when_this_process_is_watched(
    monkeypatch: pytest.MonkeyPatch, usec: str | None, pid: str | None, seconds: float | None
) -> None:
    """sd_watchdog_enabled(3): a child inherits the variables, and must not answer for its parent."""
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)):
        if value is not None:
            monkeypatch.setenv(name, value)
    assert seconds == places.watchdog_s()


def test_a_nodes_name_is_never_used_again() -> None:
    """A process that comes back with the same pid must not take itself for the owner of old leases."""
    assert places.node_name() != places.node_name()


def test_the_managers_socket_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    """sd_notify(3)."""
    assert None is places.notify_socket()
    monkeypatch.setenv("NOTIFY_SOCKET", "@x")
    assert "@x" == places.notify_socket()
