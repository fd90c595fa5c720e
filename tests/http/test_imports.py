"""Contact files: taken in whole, worked off in slices, continued where they were, and counted once."""

import asyncio
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dispatcher.actors.importer import SLICE_ROWS_MAX, Importer
from dispatcher.actors.runtime import AsyncioActor
from dispatcher.actors.spool import Spool
from dispatcher.config.clock import SystemClock
from dispatcher.domain import contact_files
from dispatcher.domain.contact_files import HeaderError
from dispatcher.storage import imports
from dispatcher.storage.pool import Database
from tests.http.stand import Answer, Stand, new_tenant, stand, start

# How long a killed import may lie before another importer goes on with it.
RESUMES_WITHIN_S = 15

GOOD = """first_name,last_name,phone,email,gender,birthday,tags
Μαρία,Παπαδοπούλου,6900000001,maria@example.com,F,15/01/1990,vip|new
John,"O""Neil, Jr.",+306900000002,,male,1985-12-31,
"""


async def upload(api: Stand, content: str | bytes, name: str = "contacts.csv") -> Answer:
    """Post a file."""
    form = aiohttp.FormData()
    form.add_field("note", "a part that is none of ours")
    data = content.encode() if isinstance(content, str) else content
    form.add_field("file", BytesIO(data), filename=name, content_type="text/csv")
    return await api.call("POST", "contacts/imports", data=form)


async def finished(api: Stand, import_id: str) -> dict[str, Any]:
    """The import when it has ended."""
    async with asyncio.timeout(20):
        while True:
            found = (await api.call("GET", f"contacts/imports/{import_id}")).json
            if found["status"] in ("completed", "failed"):
                return dict(found)
            await asyncio.sleep(0.01)


async def imported(api: Stand, content: str | bytes) -> dict[str, Any]:
    """Post a file and wait for its end."""
    answer = await upload(api, content)
    assert 202 == answer.status, answer.json
    assert "pending" == answer.json["status"]
    return await finished(api, answer.json["id"])


def counts(found: dict[str, Any]) -> tuple[str, int, int, int, int]:
    """What became of the rows."""
    return found["status"], found["processed"], found["created"], found["updated"], found["refused"]


async def test_a_file_becomes_contacts(api: Stand) -> None:
    """Quoted cells, Greek names, both ways of writing a date; a birthday is the day that was written."""
    assert ("completed", 2, 2, 0, 0) == counts(await imported(api, GOOD))
    items = (await api.call("GET", "contacts")).json["items"]
    assert [
        ("+306900000001", "Μαρία", "female", "1990-01-15", ["vip", "new"]),
        ("+306900000002", "John", "male", "1985-12-31", []),
    ] == [tuple(item[n] for n in ("phone", "first_name", "gender", "birthday", "tags")) for item in items]
    assert 'O"Neil, Jr.' == items[1]["last_name"]
    assert [] == list(api.services.spool.path("x").parent.glob("*.csv"))


@pytest.mark.parametrize(
    "encode",
    [
        lambda s: s.encode("utf-8-sig"),
        lambda s: s.replace(",", ";").encode(),
        lambda s: s.replace("\n", "\r\n").encode(),
    ],
)
async def test_a_spreadsheets_own_ways_are_understood(api: Stand, encode: Any) -> None:
    """A byte order mark, semicolons, Windows line ends."""
    text = "First Name,Phone,Tags\nMaria,6900000001,a|b\n\nNick,6900000002,c\n"
    assert ("completed", 2, 2, 0, 0) == counts(await imported(api, encode(text)))


async def test_a_contact_that_is_there_is_updated_and_blank_cells_keep(api: Stand) -> None:
    """Within a file as between files; the opt-out is untouched by an import."""
    await imported(api, GOOD)
    await api.call("POST", "suppressions", json={"phone": "6900000001"})
    text = "phone,first_name,email\n6900000001,,new@example.com\n6900000001,Mary,\n6900000003,Nick,\n"
    assert ("completed", 3, 1, 2, 0) == counts(await imported(api, text))
    first = (await api.call("GET", "contacts?phone=6900000001")).json["items"][0]
    assert ("Mary", "new@example.com", "female", ["vip", "new"], True) == tuple(
        first[n] for n in ("first_name", "email", "gender", "tags", "opted_out")
    )


async def test_refused_rows_are_told_with_their_reasons(api: Stand) -> None:
    """Row numbers count from the header as 1; the others go in; the whole list is a csv file."""
    rows = [
        b"6900000001,a@example.com,", b"2101234567,,", b",x,", b"6900000002,nonsense,", b"6900000003,,31/02/1990",
        b"6900000004,\xff\xfe,",
    ]  # fmt: skip
    found = await imported(api, b"phone,email,birthday\n" + b"\n".join(rows))
    assert ("completed", 6, 1, 0, 5) == counts(found)
    expected = [
        (3, "phone", "not_mobile"),
        (4, "phone", "required"),
        (5, "email", "invalid_email"),
        (6, "birthday", "invalid_date"),
        (7, "file", "not_utf8"),
    ]
    assert expected == [(e["row"], e["field"], e["code"]) for e in found["errors"]]
    answer = await api.call("GET", f"contacts/imports/{found['id']}/errors.csv")
    lines = answer.body.decode().splitlines()
    assert ("row,field,code,message", 6) == (lines[0], len(lines))
    assert lines[1].startswith("3,phone,not_mobile,")
    assert "attachment" in answer.headers["Content-Disposition"]


async def test_a_file_that_cannot_be_one_is_refused_at_once(api: Stand) -> None:
    """Nothing of it stays on the disk."""
    for content, status, code in (
        (b"", 422, "empty_file"),
        (b"name,email\n", 422, "no_phone_column"),
        (b"phone,phone\n", 422, "repeated_column"),
        (b"PK\x03\x04rest", 415, "unsupported_file"),
        (b"phone\n" + b"6900000001\n" * 120_000, 413, "too_large"),
    ):
        answer = await upload(api, content)
        got = answer.json["errors"][0]["code"] if status == 422 else answer.json["code"]
        assert (status, code) == (answer.status, got)
    assert [] == list(api.services.spool.path("x").parent.glob("*.csv"))


async def test_a_form_without_a_file_is_refused(api: Stand) -> None:
    """415 for what is no form, 422 for a form without the part."""
    assert 415 == (await api.call("POST", "contacts/imports", json={})).status
    with aiohttp.MultipartWriter("form-data") as form:
        form.append("x").set_content_disposition("form-data", name="other")
        assert 422 == (await api.call("POST", "contacts/imports", data=form)).status
    assert 404 == (await api.call("GET", "contacts/imports/imp_999")).status
    assert 404 == (await api.call("GET", "contacts/imports/imp_999/errors.csv")).status


async def test_a_killed_import_goes_on_where_it_was_and_counts_nothing_twice(db: Database, tmp_path: Path) -> None:
    """The importer dies between two slices; another may go on within seconds, and its counts are those of the whole file."""
    rows = SLICE_ROWS_MAX * 3 + 10
    text = "phone\n" + "".join(f"69{n:08d}\n" for n in range(rows))
    async with stand(db, tmp_path, importer=False) as api:
        queued = (await upload(api, text)).json
        running: list[AsyncioActor] = []
        first = _Dying(db, Spool(tmp_path), owner="first", clock=SystemClock(), slices=2)
        start(first, "importer", running)
        await asyncio.wait_for(first.died.wait(), 20)
        halfway = (await api.call("GET", f"contacts/imports/{queued['id']}")).json
        assert ("running", SLICE_ROWS_MAX * 2) == (halfway["status"], halfway["created"])
        async with db.acquire() as conn:
            assert None is await imports.claim(conn, Spool(tmp_path).identity(), "second", 60)
            left_s = await conn.fetchval(
                "SELECT extract(epoch FROM lease_until - clock_timestamp()) FROM contact_import"
            )
            assert 0 < left_s <= RESUMES_WITHIN_S
            await conn.execute("UPDATE contact_import SET lease_until = now() - interval '1 second'")
            assert None is await imports.claim(conn, "another spool", "second", 60)
        start(Importer(db, Spool(tmp_path), owner="second", clock=SystemClock()), "importer", running)
        assert ("completed", rows, rows, 0, 0) == counts(await finished(api, queued["id"]))
        for actor in running:
            await actor.actor_ref.stop(block=False)


class _Dying(Importer):
    """Stops in the middle of a file, after some slices, and leaves everything as it is."""

    def __init__(self, *args: Any, slices: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.died = asyncio.Event()
        self._slices = slices

    async def _store(self, job: Any, part: Any) -> None:
        if self._slices == 0:
            self.died.set()
            await asyncio.Event().wait()
        self._slices -= 1
        await super()._store(job, part)


async def test_an_import_whose_file_is_gone_fails_and_says_so(db: Database, tmp_path: Path) -> None:
    """A disk that was wiped is no endless loop."""
    async with stand(db, tmp_path, importer=False) as api:
        queued = (await upload(api, GOOD)).json
        for path in (tmp_path / "imports").glob("*.csv"):
            path.unlink()
        running: list[AsyncioActor] = []
        start(Importer(db, Spool(tmp_path), owner="x", clock=SystemClock()), "importer", running)
        found = await finished(api, queued["id"])
        assert ("failed", "the file is gone: upload it again") == (found["status"], found["reason"])
        await running[0].actor_ref.stop(block=False)


async def test_an_importer_that_lost_its_lease_writes_nothing(db: Database, tmp_path: Path) -> None:
    """The fence of the newer claim refuses its slice."""
    tenant_id = await new_tenant(db)
    async with db.acquire() as conn:
        await imports.queue(conn, tenant_id, spool="s", spool_file="f", file_name="n")
        old = await imports.claim(conn, "s", "one", 60)
        new = await imports.claim(conn, "s", "one", 60)
        assert old is not None
        assert new is not None
        progress = imports.Progress(1, 1, 0, [])
        assert not await imports.advance(conn, old, progress, 60)
        assert not await imports.finish(conn, old)
        assert await imports.advance(conn, new, progress, 60)
        assert await imports.finish(conn, new)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("\ufeffPhone;Mobile", "repeated_column"),
        ("x" * 5000, "header_too_long"),
        ("\n", "empty_file"),
        ("telephone", None),
        ('"First Name","phone"', None),
    ],
)
def test_a_header_is_read_as_people_write_it(line: str, expected: str | None) -> None:
    """Any case, quotes, spaces for underscores; what is wrong has a code."""
    found = contact_files.read_header(line)
    assert expected == (found.code if isinstance(found, HeaderError) else None)


def test_a_spool_keeps_its_identity_and_its_files_to_itself(tmp_path: Path) -> None:
    """Two processes with one directory agree; a name with a path in it is refused."""
    assert Spool(tmp_path).identity() == Spool(tmp_path).identity()
    assert Spool(tmp_path).identity() != Spool(tmp_path / "other").identity()
    with pytest.raises(ValueError, match="no name"):
        Spool(tmp_path).path("../etc/passwd")
    spool = Spool(tmp_path)
    spool.create().discard()
    writer = spool.create()
    writer.write(b"x")
    assert [writer.file_name] == spool.old_files(10.0, SystemClock().utc_now().timestamp() + 60)
    assert [] == spool.old_files(10.0, SystemClock().utc_now().timestamp())
    writer.discard()
