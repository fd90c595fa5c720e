"""Contact files: taken in by streaming to the spool, then worked off by the Importer.

The upload is durable (the file is on disk, its row in the database) before 202 is answered.
"""

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from typing import Any, Final

from aiohttp import BodyPartReader, web

from dispatcher.actors.messages import ImportQueued
from dispatcher.actors.spool import SpoolWriter
from dispatcher.domain import contact_files
from dispatcher.domain.ids import Kind, encode
from dispatcher.http import answers, queries
from dispatcher.http.bodies import too_slow
from dispatcher.http.problems import Problem, field_error, not_found
from dispatcher.http.routing import Call, Route
from dispatcher.http.services import HttpServices
from dispatcher.storage import imports

ERRORS_SHOWN_MAX: Final = 100

_WHAT: Final = "import"
_NAME_CHARS_MAX: Final = 200
_CSV_SLICE: Final = 1_000
# A zip (xlsx), an old xls, a gzip: files that people take for csv.
_NOT_CSV: Final = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"\x1f\x8b")


async def create_import(call: Call) -> web.Response:
    """202 with the import's id; poll `GET contacts/imports/{id}`. 422 for a first line that names no columns."""
    request, services = call.request, call.services
    if request.content_type != "multipart/form-data":
        raise Problem(415, "unsupported_media_type", "send multipart/form-data with a part named file")
    spool = services.spool
    writer = spool.create()
    try:
        part = await _receive(request, writer, services)
        await writer.close()
        _check_header(writer.head)
        async with services.db.acquire() as conn:
            import_id = await imports.queue(
                conn,
                call.tenant.tenant_id,
                spool=spool.identity(),
                spool_file=writer.file_name,
                file_name=(part.filename or "")[:_NAME_CHARS_MAX],
            )
            found = await imports.get(conn, call.tenant.tenant_id, import_id)
    except BaseException:
        # When the row was committed and only its answer was lost, the importer finds no file and says so.
        writer.discard()
        raise
    services.importer.tell(ImportQueued())
    if found is None:
        raise not_found(_WHAT)
    return answers.answer(shown(found, []), 202)


async def _file_part(request: web.Request) -> BodyPartReader:
    try:
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            if isinstance(part, BodyPartReader) and part.name == "file":
                return part
            if isinstance(part, BodyPartReader):
                await part.release()
    except ValueError as error:
        raise Problem(400, "malformed_multipart", "the body is not multipart/form-data") from error
    raise field_error("file", "required", "the form has no part named file")


async def _receive(request: web.Request, writer: SpoolWriter, services: HttpServices) -> BodyPartReader:
    """Write the part named file; it may take longer than other bodies as long as it goes on at a fair rate."""
    patience = services.patience
    try:
        async with asyncio.timeout(patience.body_s) as limit:
            first_s = limit.when() or 0.0
            part = await _file_part(request)
            async for size in _write(part, writer, services.settings.http.max_import_bytes):
                limit.reschedule(first_s + size / patience.upload_bytes_per_s_min)
            return part
    except TimeoutError as error:
        raise too_slow(request) from error


async def _write(part: BodyPartReader, writer: SpoolWriter, bytes_max: int) -> AsyncIterator[int]:
    """Write the file, and tell its size so far after each chunk."""
    while chunk := await part.read_chunk(256 * 1024):
        writer.write(chunk)
        if writer.size > bytes_max:
            raise Problem(413, "too_large", f"a file has at most {bytes_max} bytes")
        if writer.size == len(chunk) and chunk.startswith(_NOT_CSV):
            raise Problem(415, "unsupported_file", "this is no csv file: save the sheet as csv (UTF-8)")
        yield writer.size


def _check_header(head: bytes) -> None:
    line = head.split(b"\n", 1)[0].decode("utf-8", "replace")
    header = contact_files.read_header(line)
    if isinstance(header, contact_files.HeaderError):
        raise field_error("file", header.code, header.message)


def shown(item: imports.Import, errors: list[imports.RefusedRow]) -> dict[str, Any]:
    """An import as the API shows it."""
    return {
        "id": encode(Kind.IMPORT, item.import_id),
        "status": item.status,
        "file_name": item.file_name,
        "processed": item.processed,
        "created": item.created,
        "updated": item.updated,
        "refused": item.refused,
        "reason": item.reason,
        "errors": [_error(row) for row in errors],
        "created_at": item.created_at,
        "started_at": item.started_at,
        "finished_at": item.finished_at,
    }


def _error(row: imports.RefusedRow) -> dict[str, Any]:
    error = row.error
    return {"row": row.row_number, "field": error.field, "code": error.code, "message": error.message}


async def get_import(call: Call) -> web.Response:
    """How far an import is, with its first refused rows."""
    import_id = queries.path_id(call.request, Kind.IMPORT, _WHAT)
    async with call.services.db.acquire() as conn:
        found = await imports.get(conn, call.tenant.tenant_id, import_id)
        if found is None:
            raise not_found(_WHAT)
        errors = await imports.refused_rows(conn, call.tenant.tenant_id, import_id, limit=ERRORS_SHOWN_MAX)
    return answers.answer(shown(found, errors))


async def get_errors(call: Call) -> web.StreamResponse:
    """Every refused row as csv, streamed: row, field, code, message."""
    import_id = queries.path_id(call.request, Kind.IMPORT, _WHAT)
    db, tenant_id = call.services.db, call.tenant.tenant_id
    async with db.acquire() as conn:
        if await imports.get(conn, tenant_id, import_id) is None:
            raise not_found(_WHAT)
    headers = {
        **answers.SECURITY_HEADERS,
        "Content-Type": "text/csv; charset=utf-8",
        "Content-Disposition": f'attachment; filename="errors-{import_id}.csv"',
    }
    response = web.StreamResponse(headers=headers)
    await response.prepare(call.request)
    await response.write(_csv([("row", "field", "code", "message")]))
    after = 0
    while True:
        # No connection is held while the client reads.
        async with db.acquire() as conn:
            rows = await imports.refused_rows(conn, tenant_id, import_id, after=after, limit=_CSV_SLICE)
        await response.write(_csv([(r.row_number, r.error.field, r.error.code, r.error.message) for r in rows]))
        if len(rows) < _CSV_SLICE:
            break
        after = rows[-1].row_number
    await response.write_eof()
    return response


def _csv(rows: list[tuple[object, ...]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)  # RFC 4180
    return text.getvalue().encode()


ROUTES = (
    Route("POST", "/api/v1/contacts/imports", create_import, "contacts:write"),
    Route("GET", "/api/v1/contacts/imports/{id}", get_import, "contacts:read"),
    Route("GET", "/api/v1/contacts/imports/{id}/errors.csv", get_errors, "contacts:read"),
)
