"""The folder of the server's unix socket: private to its user, and short enough for the system's limit.

The folder is the lock on the door: only its owner (and root) may enter it, so that the server need not ask who comes.
"""

import hashlib
import os
import stat
import sys
from pathlib import Path

from dispatcher.storage.embedded.account import Account
from dispatcher.storage.embedded.problems import EmbeddedError

PORT = 5432
# sockaddr_un has 108 bytes on Linux and 104 on BSD and macOS, one of them the closing zero.
_PATH_BYTES_MAX = 107 if sys.platform == "linux" else 103
_SOCKET_BYTES = len(f"/.s.PGSQL.{PORT}")


def place(state_dir: Path, account: Account) -> Path:
    """Where the socket's folder is: in the state directory, or under a short name derived from it.

    Not in /run/user/UID: it goes away when its user logs out, and the daemon may stay.
    """
    inside = state_dir / "run"
    if len(os.fsencode(inside)) + _SOCKET_BYTES <= _PATH_BYTES_MAX:
        return inside
    digest = hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:12]
    if os.geteuid() == 0 and Path("/run").is_dir():
        return Path(f"/run/dispatcher-{digest}")
    return Path(f"/tmp/dispatcher-{account.uid}-{digest}")  # noqa: S108 - checked by `prepare`: ours, private, no link


def prepare(folder: Path, account: Account) -> None:
    """Make the folder, for `account` alone. Raises EmbeddedError when somebody else has put something there."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise EmbeddedError(
            f"cannot make {folder}: {error.strerror}", "Choose a shorter DISPATCHER_STATE_DIR"
        ) from error
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid not in {account.uid, os.geteuid()}:
        raise EmbeddedError(
            f"{folder}, where the database's socket belongs, was made by somebody else (uid {about.st_uid})",
            "Remove it, or choose a shorter DISPATCHER_STATE_DIR",
        )
    if account.switch and about.st_uid != account.uid:
        os.chown(folder, account.uid, account.gid, follow_symlinks=False)
    if stat.S_IMODE(about.st_mode) != 0o700:
        folder.chmod(0o700)


def remove(folder: Path) -> None:
    """Remove the folder of a server that has ended; what is left in it stays for its successor."""
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
