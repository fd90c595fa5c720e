"""Importer: contact files become contacts, a slice of rows a transaction.

It works from rows: an import is claimed under a lease with a fence, and its place in the file commits with each slice, so
that a killed import goes on where it was and counts nothing twice. Reading a phone number is slow (tens of microseconds),
so it lets the loop turn after each millisecond or two. What it is not: the upload (`http/api/imports.py`).
"""

import asyncio
import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import TextIOWrapper
from typing import Any, ClassVar

import structlog

from dispatcher.actors.messages import ImportQueued, Wake
from dispatcher.actors.runtime import AsyncioActor
from dispatcher.actors.spool import Spool
from dispatcher.config.clock import Clock
from dispatcher.domain import contact_files
from dispatcher.domain.contact_files import ContactRow, Header
from dispatcher.domain.contacts import FieldError
from dispatcher.storage import contacts, imports
from dispatcher.storage.errors import DatabaseAway
from dispatcher.storage.pool import Database

log = structlog.get_logger(__name__)

SLICE_ROWS_MAX = 1_000
STEP_S = 0.0015
# Renewed with each slice, which takes a part of a second: so a killed import goes on soon. A slice that takes longer than
# this is not written twice: its fence would be old.
LEASE_S = 15.0
ORPHAN_AFTER_S = 3_600.0


class _Lost(Exception):
    """Rolls a slice back: the import is another importer's now."""


@dataclass(slots=True)
class _Slice:
    """Rows that were read and not yet stored. `repeated`: rows whose phone came before in the same slice."""

    rows: dict[int, ContactRow] = field(default_factory=dict)
    refused: list[imports.RefusedRow] = field(default_factory=list)
    repeated: int = 0
    at: int = 0
    ended: bool = False


class Importer(AsyncioActor):
    """Takes ImportQueued and Wake (look for imports), and works on one import at a time, the oldest first."""

    inbox_max: ClassVar[int] = 256

    def __init__(self, db: Database, spool: Spool, *, owner: str, clock: Clock, poll_s: float = 5.0) -> None:
        super().__init__()
        self._db = db
        self._spool = spool
        self._owner = owner
        self._clock = clock
        self._poll_s = poll_s
        self._identity = ""
        self._work: asyncio.Task[None] | None = None
        self._again = False

    async def on_start(self) -> None:
        """Go on with what a former life left, and forget files that no import needs."""
        self._identity = self._spool.identity()
        self.every(self._poll_s, Wake())
        self.tell_self(Wake())

    async def on_receive(self, message: Any) -> None:
        """Look for work, unless work is going on: then once more after it."""
        if not isinstance(message, ImportQueued | Wake):
            msg = f"Importer does not take {message!r}"
            raise TypeError(msg)
        if self._work is not None and not self._work.done():
            self._again = True
            return
        self._work = self.spawn(self._work_off(), name="importer:work")

    async def _work_off(self) -> None:
        """Every import that waits, one after the other."""
        try:
            while True:
                self._again = False
                async with self._db.acquire() as conn:
                    job = await imports.claim(conn, self._identity, self._owner, LEASE_S)
                if job is not None:
                    await self._import(job)
                elif not self._again:
                    break
            await self._forget_orphans()
        except DatabaseAway as error:
            # The place is in the row: the next poll goes on from there.
            log.warning("importer.database_away", error=str(error))

    async def _import(self, job: imports.Job) -> None:
        try:
            file = self._spool.path(job.spool_file).open(encoding="utf-8", errors="surrogateescape", newline="")
        except FileNotFoundError:
            await self._finish(job, "the file is gone: upload it again")
            return
        with file:
            header = contact_files.read_header(file.readline(contact_files.HEADER_CHARS_MAX + 2))
            if isinstance(header, contact_files.HeaderError):
                await self._finish(job, header.message)
                return
            try:
                await self._store_all(job, header, file)
            except _Lost:
                log.info("import.lost", import_id=job.import_id)
                return
        await self._finish(job, None)

    async def _store_all(self, job: imports.Job, header: Header, file: TextIOWrapper) -> None:
        reader = _records(csv.reader(file, delimiter=header.delimiter))
        await self._skip(reader, job.rows_done)
        at = job.rows_done
        while True:
            part = await self._read(reader, header, job, at)
            if part.at > at:
                await self._store(job, part)
            if part.ended:
                return
            at = part.at

    async def _skip(self, reader: Iterator[Any], rows: int) -> None:
        for place in range(rows):
            next(reader, None)
            if place % SLICE_ROWS_MAX == 0:
                await asyncio.sleep(0)

    async def _read(self, reader: Iterator[Any], header: Header, job: imports.Job, at: int) -> _Slice:
        """The next rows, at most SLICE_ROWS_MAX, in steps of STEP_S seconds of the loop's time."""
        part = _Slice(at=at)
        today = self._clock.utc_now().date()
        step_from_s = self._clock.monotonic_s()
        for _ in range(SLICE_ROWS_MAX):
            cells = next(reader, None)
            if cells is None:
                part.ended = True
                break
            part.at += 1
            if isinstance(cells, FieldError):
                part.refused.append(imports.RefusedRow(part.at + 1, cells))
            elif any(cells):
                row = contact_files.read_row(cells, header, job.country, today)
                self._sort_in(part, row)
            if self._clock.monotonic_s() - step_from_s > STEP_S:
                await asyncio.sleep(0)
                step_from_s = self._clock.monotonic_s()
        return part

    def _sort_in(self, part: _Slice, row: ContactRow | FieldError) -> None:
        if isinstance(row, FieldError):
            part.refused.append(imports.RefusedRow(part.at + 1, row))
            return
        earlier = part.rows.get(row.phone)
        part.repeated += earlier is not None
        part.rows[row.phone] = row if earlier is None else contact_files.merged(earlier, row)

    async def _store(self, job: imports.Job, part: _Slice) -> None:
        async with self._db.transaction() as conn:
            created = updated = 0
            if part.rows:
                created, updated = await contacts.upsert_many(conn, job.tenant_id, list(part.rows.values()))
            progress = imports.Progress(part.at, created, updated + part.repeated, part.refused)
            if not await imports.advance(conn, job, progress, LEASE_S):
                raise _Lost

    async def _finish(self, job: imports.Job, reason: str | None) -> None:
        async with self._db.acquire() as conn:
            ours = await imports.finish(conn, job, reason=reason)
        if ours:
            self._spool.discard(job.spool_file)
            log.info("import.finished", tenant_id=job.tenant_id, import_id=job.import_id, reason=reason)

    async def _forget_orphans(self) -> None:
        """Files of uploads that broke off before their row was there."""
        old = self._spool.old_files(ORPHAN_AFTER_S, self._clock.utc_now().timestamp())
        if not old:
            return
        async with self._db.acquire() as conn:
            needed = await imports.open_files(conn, self._identity)
        for name in old:
            if name not in needed:
                self._spool.discard(name)


def _records(reader: Iterator[list[str]]) -> Iterator[list[str] | FieldError]:
    """The records of a csv file; one that cannot be read is an error in its place, and reading goes on after it."""
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield FieldError("file", "malformed_row", f"the row cannot be read: {error}")
