"""The simulator's Mitto: what happens to a request to send and to a look-up. (`admin` has the `/_sim` addresses.)

For a low-level aiohttp server (no routing, no middleware), since a request of 5,000 messages must cost a few milliseconds.
"""

import asyncio
import random
import re
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote

import aiohttp
import msgspec
from aiohttp import web

from dispatcher.providers.simulator import admin
from dispatcher.providers.simulator.faults import BEHAVE, Faults
from dispatcher.providers.simulator.poster import Poster, Target
from dispatcher.providers.simulator.profile import Fault, Profile
from dispatcher.providers.simulator.replies import Entries, as_json, cut, failure, read, vanish
from dispatcher.providers.simulator.reports import SENT, Planner, Writer, draw_span, span_max, word
from dispatcher.providers.simulator.store import Store

_PATH = "/api/v1.1/Messages/"
_EARLY_WAIT_S = 5.0


class _Sms(msgspec.Struct, gc=False):
    text: str
    sender: str


class _Message(msgspec.Struct, gc=False):
    destination: str
    sms: _Sms


class _Bulk(msgspec.Struct, gc=False):
    messages: list[_Message]


_single = msgspec.json.Decoder(_Message)
_bulk = msgspec.json.Decoder(_Bulk)


def _single_of(body: bytes) -> Sequence[_Message]:
    return [_single.decode(body)]


def _bulk_of(body: bytes) -> Sequence[_Message]:
    return _bulk.decode(body).messages


# The account is said in each message and is the same in all; the first one tells it.
_account_in = re.compile(rb'"trafficAccountId"\s*:\s*"([ -!#-\[\]-~]*)"').search
_HEAD_BYTES = 16_384


def _account(head: bytes) -> str:
    match = _account_in(head)
    return match[1].decode() if match else ""


class Simulator:
    """Everything the process is, without the socket. `dlr_url`: where reports go; None: there are none.
    ValueError for an address that is none."""

    def __init__(self, profile: Profile, dlr_url: str | None, dlr_secret: str, seed: int) -> None:
        self._begin(profile, dlr_url, dlr_secret, seed)

    def _begin(self, profile: Profile, dlr_url: str | None, dlr_secret: str, seed: int) -> None:
        target = Target(dlr_url, dlr_secret) if dlr_url else None
        self.profile, self.dlr_url, self.dlr_secret, self.seed = profile, dlr_url, dlr_secret, seed
        self._rng = random.Random(seed)
        self.faults = Faults(profile, self._rng)
        self.store = Store(self._rng)
        self.poster = Poster(target, profile.reports, Writer(profile.reports, self.store)) if target else None
        self.planner = Planner(self._rng, self.poster.post if self.poster is not None else None)

    def reset(self, profile: Profile, dlr_url: str | None, dlr_secret: str, seed: int) -> None:
        """Forget everything taken and every report, and begin again from the seed, as a new process would.
        ValueError for an address that is none."""
        self.close()
        self._begin(profile, dlr_url, dlr_secret, seed)

    def change(self, profile: Profile) -> None:
        """Behave so from the next request on. Reports that are drawn already stay."""
        self.profile = profile
        self.faults = Faults(profile, self._rng)
        if self.poster is not None:
            self.poster.change(profile.reports, Writer(profile.reports, self.store))

    def close(self) -> None:
        """End the reports."""
        self.planner.clear()
        if self.poster is not None:
            self.poster.close()

    # ------------------------------------------------------------------ requests

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Any request."""
        path = request.path
        if request.method == "POST" and path == _PATH + "sendmessagesbulk":
            return await self._send(request, _bulk_of)
        if request.method == "POST" and path == _PATH + "send":
            return await self._send(request, _single_of)
        if request.method == "GET" and path.startswith(_PATH):
            return await self._look_up(request, unquote(request.raw_path[len(_PATH) :].split("?")[0]))
        return await admin.handle(self, request)

    async def _send(
        self, request: web.BaseRequest, decode: Callable[[bytes], Sequence[_Message]]
    ) -> web.StreamResponse:
        store, profile = self.store, self.profile
        store.requests += 1
        number = store.requests
        fault = self.faults.next("send")
        if fault is not BEHAVE:
            store.faults[fault.kind] += 1
        if fault.kind == "reset_before_body":
            return cut(request)
        asked = await self._asked(request, fault, decode)
        if isinstance(asked, web.StreamResponse):
            return asked
        messages, account = asked
        if fault.kind in ("reset_after_body", "timeout"):
            return await vanish(request, fault)
        rejected = self._rejects(fault, len(messages))
        ids = self._take(messages, rejected, number)
        if profile.reports.early and self.poster is not None:
            await self.poster.drained(_EARLY_WAIT_S)
        if profile.latency_ms:
            await asyncio.sleep(draw_span(profile.latency_ms, self._rng) / 1000)
        if fault.kind in ("take_then_reset", "take_then_timeout"):
            return await vanish(request, fault)
        return await self._answer(request, fault, Entries(ids, rejected, account, number, decode is _single_of))

    async def _asked(
        self, request: web.BaseRequest, fault: Fault, decode: Callable[[bytes], Sequence[_Message]]
    ) -> tuple[Sequence[_Message], str] | web.StreamResponse:
        """The messages of a request and its account, or the answer to one of which nothing is taken."""
        try:
            body = await read(request)
        except ValueError as error:
            return self._count(failure(413, str(error)))
        except (OSError, aiohttp.ClientError):
            self.store.statuses["broken"] += 1
            return cut(request)
        refusal = self._refusal(request, fault)
        if refusal is not None:
            return self._count(refusal)
        try:
            messages = decode(body)
        except ValueError as error:
            return self._count(failure(400, str(error)))
        refusal = self._over_limit(len(messages))
        return self._count(refusal) if refusal is not None else (messages, _account(body[:_HEAD_BYTES]))

    def _refusal(self, request: web.BaseRequest, fault: Fault) -> web.Response | None:
        """What is answered whatever the body says."""
        if self.profile.api_key is not None and request.headers.get("X-Mitto-API-Key") != self.profile.api_key:
            return failure(401, "Access denied due to invalid subscription key")
        if fault.kind == "status":
            return failure(fault.status, fault.message, fault.retry_after)
        return None

    def _over_limit(self, count: int) -> web.Response | None:
        profile = self.profile
        if profile.batch_max is not None and count > profile.batch_max:
            return failure(413, f"more than {profile.batch_max} messages")
        in_window = self.store.in_window() if profile.rate_per_s is not None else 0
        if profile.rate_per_s is not None and in_window and in_window + count > profile.rate_per_s:
            return failure(429, "Rate limit is exceeded", "1")
        return None

    def _rejects(self, fault: Fault, count: int) -> dict[int, str]:
        """The places that are answered with an error."""
        profile = self.profile
        places = {i: fault.message for i in fault.entries if i < count} if fault.kind == "errors" else {}
        if profile.rejects:
            draw = self._rng.random
            places |= {i: profile.reject_reason for i in range(count) if draw() < profile.rejects}
        return places

    def _take(self, messages: Sequence[_Message], rejected: dict[int, str], number: int) -> list[str]:
        """Take all but the rejected; the ids of those taken."""
        store = self.store
        taken = [m for i, m in enumerate(messages) if i not in rejected] if rejected else messages
        smses = [message.sms for message in taken]
        store.rejected += len(rejected)
        if not taken:
            return []
        first = store.take(
            [message.destination for message in taken], [s.text for s in smses], [s.sender for s in smses], number
        )
        ids = store.ids(first, len(taken))
        self.planner.plan(self.profile, store, first, len(taken))
        return ids

    async def _answer(self, request: web.BaseRequest, fault: Fault, entries: Entries) -> web.StreamResponse:
        if fault.kind == "take_then_status":
            return self._count(failure(fault.status, fault.message, fault.retry_after))
        if fault.kind == "garbage":
            return self._count(web.Response(body=b"<html>It works!</html>", content_type="text/html"))
        body = entries.body(fault, flat=self.profile.flat_single)
        if fault.kind == "take_then_cut":
            self.store.statuses["200"] += 1
            response = web.StreamResponse(
                headers={"Content-Type": "application/json", "Content-Length": str(len(body))}
            )
            await response.prepare(request)
            await response.write(body[: len(body) // 2])
            return cut(request, response)
        return self._count(web.Response(body=body, content_type="application/json"))

    def _count(self, response: web.Response) -> web.Response:
        self.store.statuses[str(response.status)] += 1
        return response

    async def _look_up(self, request: web.BaseRequest, message_id: str) -> web.StreamResponse:
        fault = self.faults.next("lookup")
        if fault is not BEHAVE:
            self.store.faults[f"lookup {fault.kind}"] += 1
        refusal = self._refusal(request, fault)
        if refusal is not None:
            return refusal
        if fault.kind in ("reset_after_body", "timeout"):
            return await vanish(request, fault)
        if fault.kind == "garbage":
            return web.Response(body=b"<html>It works!</html>", content_type="text/html")
        index = self.store.find(message_id)
        return failure(404, "Message not found") if index is None else as_json(self._shown(index))

    def _shown(self, index: int) -> dict[str, Any]:
        """A message as the API shows it: its final word as soon as every report of it is due."""
        message, reports = self.store.message(index), self.profile.reports
        passed_s = time.time() - message.at
        due_s = max(span_max(reports.delay_ms), span_max(reports.late_ms) if reports.late else 0.0) / 1000
        kind = self.store.finals[index] if passed_s >= due_s else SENT
        return {
            "messageId": message.id,
            "text": message.text,
            "sender": message.sender,
            "destination": message.destination,
            "createdAt": message.at,
            "updatedAt": message.at,
            "deliveryStatus": word(reports, kind),
            "messageParts": 1,
        }
