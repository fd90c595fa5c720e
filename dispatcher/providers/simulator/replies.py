"""How the simulator answers: JSON, errors, the entries of a send with their faults, and the ways of not answering."""

import asyncio
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

import msgspec
from aiohttp import web

from dispatcher.providers.simulator.profile import Fault

_BODY_BYTES_MAX = 64 << 20
_LOST_CHECK_S = 0.05
# Closing sends a RST at once, and drops what was not sent.
_NO_LINGER = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Entries:
    """What a send is answered: `ids` of the taken, in order; `rejected`: place -> error; `number` names the bulk."""

    ids: Sequence[str]
    rejected: Mapping[int, str]
    account: str
    number: int
    single: bool

    def body(self, fault: Fault, *, flat: bool) -> bytes:
        """The JSON, as `fault` falsifies it."""
        account = msgspec.json.encode(self.account).decode()
        if not self.rejected and fault.kind in ("none", "take_then_cut"):
            # One join for all of them.
            between = f'","trafficAccountId":{account}}},{{"messageId":"'
            entries = f'{{"messageId":"{between.join(self.ids)}","trafficAccountId":{account}}}' if self.ids else ""
        else:
            entries = ",".join(self._entries(fault, account))
        if self.single:
            return (entries if flat else f'{{"messages":[{entries}]}}').encode()
        return f'{{"bulkId":"bulk-{self.number}","messages":[{entries}]}}'.encode()

    def _entries(self, fault: Fault, account: str) -> list[str]:
        ids = iter(self.ids)
        first = self.ids[0] if self.ids else ""
        entries: list[str] = []
        for place in range(len(self.ids) + len(self.rejected)):
            if place in self.rejected:
                entries.append(f'{{"error":{msgspec.json.encode(self.rejected[place]).decode()}}}')
                continue
            given = next(ids)
            if place in fault.entries:
                if fault.kind == "omit":
                    continue
                given = {"duplicate_ids": first, "empty_ids": ""}.get(fault.kind, given)
            entries.append(f'{{"messageId":"{given}","trafficAccountId":{account}}}')
        if fault.kind == "extra":
            entries.append(f'{{"messageId":"extra-{self.number}","trafficAccountId":{account}}}')
        return entries


def as_json(value: Any) -> web.Response:
    """200 with a value."""
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


def failure(status: int, message: str, retry_after: str | None = None) -> web.Response:
    """An error as Mitto words it."""
    headers = {"Retry-After": retry_after} if retry_after is not None else None
    body = msgspec.json.encode({"message": message})
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


async def read(request: web.BaseRequest) -> bytes:
    """The whole body, at most 64 MB. ValueError above."""
    parts: list[bytes] = []
    size = 0
    async for part in request.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > _BODY_BYTES_MAX:
            msg = "the body is larger than 64 MB"
            raise ValueError(msg)
    return b"".join(parts)


def cut(request: web.BaseRequest, response: web.StreamResponse | None = None) -> web.StreamResponse:
    """Reset the connection; a `response` that was begun stays as it is (then it is closed instead, so what was written
    arrives)."""
    transport = request.transport
    if transport is not None and response is None:
        transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, _NO_LINGER)
        transport.abort()
    elif transport is not None:
        transport.close()
    return response if response is not None else web.Response(status=500)


async def vanish(request: web.BaseRequest, fault: Fault) -> web.StreamResponse:
    """Do not answer: reset at once, or say nothing until `hang_ms` are over or the client has gone."""
    if fault.kind in ("timeout", "take_then_timeout"):
        until = asyncio.get_running_loop().time() + fault.hang_ms / 1000
        while asyncio.get_running_loop().time() < until:
            if request.transport is None or request.transport.is_closing():
                break
            await asyncio.sleep(_LOST_CHECK_S)
    return cut(request)
