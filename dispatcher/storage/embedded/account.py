"""Which operating system user PostgreSQL runs as, and whether that user reaches what it needs.

PostgreSQL refuses to run as root. A daemon that is root hands the server to an existing, unprivileged user; no user is
made, and no permission of a folder that is not ours is touched.
"""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from dispatcher.storage.embedded.problems import EmbeddedError

_PREFERRED = ("postgres", "nobody")
_PROBE_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Account:
    """A user to run as; `switch` when that is not who we are."""

    uid: int
    gid: int
    name: str
    switch: bool

    @classmethod
    def ourselves(cls) -> "Account":
        """The user that this process runs as."""
        return cls(os.geteuid(), os.getegid(), _name(os.geteuid()), switch=False)

    @property
    def popen(self) -> dict[str, object]:
        """Arguments of subprocess.Popen that switch to this user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switch else {}


def choose(data: Path) -> Account:
    """The owner of an existing `data`, else ourselves, else (as root) `postgres` or `nobody`. Raises EmbeddedError."""
    owner = data.stat() if data.exists() else None
    if os.geteuid() != 0:
        if owner is not None and owner.st_uid != os.geteuid():
            raise EmbeddedError(
                f"{data} belongs to {_name(owner.st_uid)}, this process runs as {_name(os.geteuid())}",
                "Start it as root or as that user, or choose another DISPATCHER_STATE_DIR",
            )
        return Account.ourselves()
    if owner is not None and owner.st_uid != 0:
        return Account(owner.st_uid, owner.st_gid, _name(owner.st_uid), switch=True)
    for name in _PREFERRED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, name, switch=True)
    raise EmbeddedError(
        "PostgreSQL refuses to run as root, and there is neither a user postgres nor a user nobody",
        "Start dispatcher as an unprivileged user, or set DISPATCHER_DATABASE_URL",
    )


def require_reach(account: Account, folder: Path) -> None:
    """Raise EmbeddedError, naming the first folder on the way, when the account cannot enter `folder`."""
    if not account.switch:
        return
    way = [str(part) for part in [*reversed(folder.parents), folder]]
    script = 'for d in "$@"; do cd -- "$d" 2>/dev/null || { printf %s "$d"; exit 1; }; done'
    probe = subprocess.run(  # noqa: S603 - a fixed script; the folders are its arguments
        ["/bin/sh", "-c", script, "sh", *way],
        cwd="/",
        capture_output=True,
        timeout=_PROBE_TIMEOUT_S,
        check=False,
        **account.popen,  # type: ignore[call-overload]
    )
    if probe.returncode != 0:
        closed = probe.stdout.decode(errors="replace")
        raise EmbeddedError(
            f"started by root, PostgreSQL runs as user {account.name}, who may not enter {closed}",
            f"Choose a DISPATCHER_STATE_DIR outside of it (such as /var/lib/dispatcher), allow it (chmod o+x {closed}), "
            "or start dispatcher as an unprivileged user",
        )


def require_entry(account: Account) -> None:
    """Raise EmbeddedError when the account has no entry among the system's users: initdb looks its name up.

    A server whose cluster is there already needs none. Containers that are started with a number for a user are an example.
    """
    try:
        pwd.getpwuid(account.uid)
    except KeyError as error:
        raise EmbeddedError(
            f"PostgreSQL's initdb needs the name of its user, and user id {account.uid} has no entry in /etc/passwd",
            "Add the user to /etc/passwd, or give DISPATCHER_DATABASE_URL",
        ) from error


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
