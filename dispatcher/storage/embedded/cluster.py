"""The files of a cluster: made by initdb, configured by us. Nothing here runs the server.

`postgresql.conf` is ours and written at each start; an operator's own settings go in by ALTER SYSTEM, which wins over it.
"""

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

from dispatcher.storage.embedded.account import Account, require_entry
from dispatcher.storage.embedded.binaries import Binaries
from dispatcher.storage.embedded.child import start
from dispatcher.storage.embedded.problems import EmbeddedError, from_log

USER = "dispatcher"
DATABASE = "dispatcher"

_INITDB_TIMEOUT_S = 120.0
_BUILTIN_LOCALE_MAJOR = 17
_MIB = 1024 * 1024
_SHARED_BUFFERS_MAX_MIB = 512
_SHARED_BUFFERS_MIN_MIB = 32
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def major_of(data: Path) -> int | None:
    """The PostgreSQL major version that made `data`, or None when there is no cluster yet. Raises EmbeddedError."""
    version = data / "PG_VERSION"
    try:
        return int(version.read_text().strip())
    except FileNotFoundError:
        if data.exists() and any(data.iterdir()):
            raise EmbeddedError(
                f"{data} is no PostgreSQL cluster, and not empty", "Move it away, or set another DISPATCHER_STATE_DIR"
            ) from None
        return None
    except (OSError, ValueError) as error:
        raise EmbeddedError(f"cannot read {version}: {error}", "Restore it from a backup") from error


async def create(data: Path, binaries: Binaries, account: Account, log: Path, *, durable: bool) -> None:
    """Make an empty cluster at `data`: beside it first, so that one which was interrupted never counts.

    Raises EmbeddedError, for a full disk or a user without a name among others.
    """
    require_entry(account)
    fresh = await asyncio.to_thread(_empty_folder_beside, data, account)
    argv = [binaries.initdb, f"--pgdata={fresh}", f"--username={USER}", "--encoding=UTF8", "--data-checksums"]
    argv += ["--auth-local=trust", "--auth-host=reject", *_locale(binaries.major)]
    argv += [] if durable else ["--no-sync"]
    # SIGTERM lets initdb remove what it made.
    initdb = start(argv, account=account, log=log, death_signal=signal.SIGTERM)
    try:
        async with asyncio.timeout(_INITDB_TIMEOUT_S):
            status = await initdb.wait()
    except TimeoutError:
        raise EmbeddedError(f"initdb did not end within {_INITDB_TIMEOUT_S:g} s", f"See {log}") from None
    finally:
        if initdb.alive:
            initdb.send(signal.SIGKILL)
            initdb.process.wait()
    if status != 0:
        raise from_log(f"initdb failed ({status})", log, initdb.log_offset)
    fresh.rename(data)
    _sync_folder(data.parent)


def configure(data: Path, account: Account, settings: Mapping[str, str]) -> None:
    """Write `postgresql.conf` (default settings overlaid by `settings`) and `pg_hba.conf`."""
    own_root = account.switch and data.stat().st_uid != account.uid
    if own_root:
        _chown_tree(data, account)
    quoted = {name: value.replace("'", "''") for name, value in {**_defaults(), **settings}.items()}
    conf = "# Written by dispatcher at each start. For settings of your own use ALTER SYSTEM.\n"
    conf += "".join(f"{name} = '{value}'\n" for name, value in quoted.items())
    # Only who can enter the socket's folder comes this far: its owner, and root.
    hba = "local all all trust\nlocal replication all trust\n"
    for name, text in (("postgresql.conf", conf), ("pg_hba.conf", hba)):
        _write(data / name, text, account)


def _defaults() -> dict[str, str]:
    memory = _memory_bytes()
    buffers = min(_SHARED_BUFFERS_MAX_MIB, max(_SHARED_BUFFERS_MIN_MIB, memory // 8 // _MIB))
    return {
        "max_connections": "100",
        "shared_buffers": f"{buffers}MB",
        "effective_cache_size": f"{max(64, memory // 2 // _MIB)}MB",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        # pglz: the wheel's server has no lz4.
        "wal_compression": "on",
        "max_wal_size": "4GB",
        "random_page_cost": "1.1",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %u@%d ",
        # The detail of an error quotes keys, and ours contain phone numbers.
        "log_error_verbosity": "terse",
        "log_checkpoints": "off",
    }


def _locale(major: int) -> list[str]:
    """Order by code point and change the case of every script, alike on every machine.

    The server's own C.UTF-8 (since 17) does not depend on the system's library, whose upgrade could break indexes.
    """
    if major >= _BUILTIN_LOCALE_MAJOR:
        return ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    return ["--locale=C.UTF-8"]


def _memory_bytes() -> int:
    """The machine's memory, or the container's limit if that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = _CGROUP_LIMIT.read_text().strip()
    except OSError:
        return machine
    return min(machine, int(limit)) if limit.isdigit() else machine


def _empty_folder_beside(data: Path, account: Account) -> Path:
    """Make an empty `data.new` for the account; a former one is what an interrupted start left."""
    folder = data.with_name(f"{data.name}.new")
    try:
        if folder.exists():
            shutil.rmtree(folder)
        if data.exists():
            data.rmdir()
        folder.mkdir(mode=0o700)
        if account.switch:
            os.chown(folder, account.uid, account.gid)
    except OSError as error:
        raise EmbeddedError(
            f"cannot make {folder}: {error.strerror}", "Make the state directory writable, with 60 MB free"
        ) from error
    return folder


def _sync_folder(folder: Path) -> None:
    """Make a renaming in it last: a loss of power must not bring back the name under which a cluster does not count."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _chown_tree(data: Path, account: Account) -> None:
    """Give a cluster that root copied here to the account. Links are not followed: what they lead to is not ours."""
    for folder, folders, files in os.walk(data):
        for name in [*folders, *files]:
            os.chown(Path(folder) / name, account.uid, account.gid, follow_symlinks=False)
    os.chown(data, account.uid, account.gid, follow_symlinks=False)


def _write(path: Path, text: str, account: Account) -> None:
    """Replace the file as a whole, so that a full disk or a crash leaves the former one."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        fresh.write_text(text)
        fresh.chmod(0o600)
        if account.switch:
            os.chown(fresh, account.uid, account.gid)
        fresh.replace(path)
    except OSError as error:
        raise EmbeddedError(
            f"cannot write {path}: {error.strerror}", "Make room on the disk, then start again"
        ) from error
