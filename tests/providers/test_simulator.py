"""The simulator does what its profile says, so that a test that relies on a fault proves something."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from dispatcher.domain.lattice import MessageState, Report
from dispatcher.providers.base import ParsedReports, Provider, Taken
from dispatcher.providers.simulator import profile as profiles
from dispatcher.providers.simulator.profile import Profile
from tests.providers.conftest import OpenMitto
from tests.providers.sim import RunningSimulator, running_simulator

SECRET = "s3cret"
_DEADLINE_S = 20.0


@dataclass
class Webhook:
    """A webhook that keeps what is posted to it, and answers `answers` in turn, then 200."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        status = self.answers.pop(0) if self.answers else 200
        if status == 200:
            self.bodies.append(body)
            self.headers.append(dict(request.headers))
        self.came.set()
        return web.Response(status=status)

    def reports(self, provider: Provider) -> list[Report]:
        """All of them, in the order they came; each body must be proved by its signature."""
        reports: list[Report] = []
        for headers, body in zip(self.headers, self.bodies, strict=True):
            assert provider.verify(headers, body)
            parsed = provider.parse_reports(body)
            assert isinstance(parsed, ParsedReports)
            assert parsed.bad == 0
            reports += parsed.reports
        return reports


@pytest.fixture
async def webhook() -> AsyncIterator[Webhook]:
    """One that listens."""
    hook = Webhook()
    runner = web.ServerRunner(web.Server(hook.handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    hook.url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhooks/mitto/dlr"
    yield hook
    await runner.cleanup()


async def _send(provider: Provider, count: int) -> list[str]:
    taken = await provider.submit(
        "Store", list(range(306900000000, 306900000000 + count)), [f"text {i}" for i in range(count)]
    )
    assert isinstance(taken, Taken)
    return [str(id_) for id_ in taken.ids if id_ is not None]


async def test_each_message_has_one_signed_report_by_default(
    sim: RunningSimulator, webhook: Webhook, mitto: OpenMitto
) -> None:
    """And the adapter that reads them finds every id delivered."""
    await sim.reset(profile={}, dlr_url=webhook.url, dlr_secret=SECRET)
    provider = await mitto(sim.base_url)
    ids = await _send(provider, 100)
    stats = await sim.reports_done()
    reports = webhook.reports(provider)
    assert Counter(report.provider_id for report in reports) == Counter(ids)
    assert {report.state for report in reports} == {MessageState.DELIVERED}
    assert (stats["reports"]["sent"], stats["reports"]["failed"], stats["taken"]) == (100, 0, 100)


async def test_shares_of_every_end_are_as_asked_and_the_same_for_a_seed(
    sim: RunningSimulator, webhook: Webhook, mitto: OpenMitto
) -> None:
    """Failed, expired, unknown words and lost reports are drawn from the seed."""
    shares = {"failed": 0.2, "expired": 0.1, "unknown": 0.1, "lost": 0.25, "delay_ms": [0, 20], "batch": 50}
    runs: list[dict[str, Any]] = []
    for _ in range(2):
        webhook.bodies.clear()
        webhook.headers.clear()
        await sim.reset(profile={"reports": shares, "rejects": 0.1}, dlr_url=webhook.url, dlr_secret=SECRET, seed=7)
        provider = await mitto(sim.base_url)
        ids = await _send(provider, 1000)
        stats = await sim.reports_done()
        words = {report.provider_id: report.word for report in webhook.reports(provider)}
        runs.append(
            {"words": [words.get(id_) for id_ in ids], "lost": stats["reports"]["lost"], "rejected": stats["rejected"]}
        )
    assert runs[0] == runs[1]
    counts = Counter(runs[0]["words"])
    assert counts.total() == 1000 - runs[0]["rejected"]
    assert counts[None] == runs[0]["lost"]
    assert all(counts[word] > 20 for word in ("Delivered", "Failure", "EXPIRED", "TELEPORTED"))


async def test_reports_are_repeated_and_come_out_of_order_when_asked(
    sim: RunningSimulator, webhook: Webhook, mitto: OpenMitto
) -> None:
    """Each three times, and the "Sent" only after the final word."""
    profile = {"reports": {"sent_first": True, "out_of_order": True, "repeat": 3, "connections": 1}}
    await sim.reset(profile=profile, dlr_url=webhook.url, dlr_secret=SECRET)
    provider = await mitto(sim.base_url)
    (id_,) = await _send(provider, 1)
    await sim.reports_done()
    assert [(r.provider_id, r.word) for r in webhook.reports(provider)] == [(id_, "Delivered")] * 3 + [
        (id_, "Sent")
    ] * 3


async def test_sent_comes_before_the_final_word_otherwise(
    sim: RunningSimulator, webhook: Webhook, mitto: OpenMitto
) -> None:
    """And its time is not later."""
    await sim.reset(profile={"reports": {"sent_first": True}}, dlr_url=webhook.url, dlr_secret=SECRET)
    provider = await mitto(sim.base_url)
    await _send(provider, 1)
    await sim.reports_done()
    sent, final = webhook.reports(provider)
    assert (sent.word, final.word) == ("Sent", "Delivered")
    assert sent.at_epoch_s is not None
    assert final.at_epoch_s is not None
    assert sent.at_epoch_s <= final.at_epoch_s


async def test_early_reports_are_there_before_the_request_is_answered(
    sim: RunningSimulator, webhook: Webhook, mitto: OpenMitto
) -> None:
    """D29: the daemon hears of an id that it does not know yet."""
    await sim.reset(profile={"reports": {"early": True}}, dlr_url=webhook.url, dlr_secret=SECRET)
    provider = await mitto(sim.base_url)
    ids = await _send(provider, 3)
    already = len(webhook.bodies)
    assert already == 3
    assert {report.provider_id for report in webhook.reports(provider)} == set(ids)


async def test_reports_come_in_arrays_when_asked(sim: RunningSimulator, webhook: Webhook, mitto: OpenMitto) -> None:
    """Up to `batch` in one body."""
    profile = {"reports": {"batch": 40, "connections": 2, "spelling": "smpp"}}
    await sim.reset(profile=profile, dlr_url=webhook.url, dlr_secret=SECRET)
    provider = await mitto(sim.base_url)
    await _send(provider, 100)
    await sim.reports_done()
    assert sorted(len(json.loads(body)) for body in webhook.bodies) == [20, 40, 40]
    assert {report.state for report in webhook.reports(provider)} == {MessageState.DELIVERED}


async def test_a_report_that_is_not_acknowledged_is_repeated(
    sim: RunningSimulator, webhook: Webhook, mitto: OpenMitto
) -> None:
    """5xx and 429 are tried again with backoff; another 4xx is given up, as providers do."""
    webhook.answers = [503, 429, 500, 200, 400]
    profile = {"reports": {"connections": 1, "backoff_ms": 5}}
    await sim.reset(profile=profile, dlr_url=webhook.url, dlr_secret=SECRET)
    provider = await mitto(sim.base_url)
    ids = await _send(provider, 3)
    stats = (await sim.reports_done())["reports"]
    assert [report.provider_id for report in webhook.reports(provider)] == [ids[0], ids[2]]
    assert (stats["sent"], stats["failed"], stats["retried"]) == (2, 1, 3)
    assert stats["statuses"] == {"503": 1, "429": 1, "500": 1, "400": 1}


async def test_reports_wait_for_a_webhook_that_is_not_there_yet(
    sim: RunningSimulator, mitto: OpenMitto, unused_tcp_port: int
) -> None:
    """A daemon that restarts loses none of them."""
    hook = Webhook()
    url = f"http://127.0.0.1:{unused_tcp_port}/dlr"
    await sim.reset(profile={"reports": {"backoff_ms": 20, "delay_ms": 0}}, dlr_url=url, dlr_secret=SECRET)
    provider = await mitto(sim.base_url)
    ids = await _send(provider, 20)
    async with asyncio.timeout(_DEADLINE_S):
        while not (await sim.stats())["reports"]["retried"]:
            await asyncio.sleep(0.01)
    runner = web.ServerRunner(web.Server(hook.handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    stats = await sim.reports_done()
    await runner.cleanup()
    assert {report.provider_id for report in hook.reports(provider)} == set(ids)
    assert stats["reports"]["failed"] == 0


@pytest.mark.parametrize(
    ("auth", "accepted"), [("signature", True), ("token", True), ("none", False), ("wrong", False)]
)
async def test_reports_prove_themselves_or_not_as_asked(
    sim: RunningSimulator, webhook: Webhook, mitto: OpenMitto, auth: str, accepted: bool
) -> None:
    """Also the ways that the daemon must refuse."""
    await sim.reset(profile={"reports": {"auth": auth}}, dlr_url=webhook.url, dlr_secret=SECRET)
    provider = await mitto(sim.base_url)
    await _send(provider, 1)
    await sim.reports_done()
    assert provider.verify(webhook.headers[0], webhook.bodies[0]) is accepted


async def test_messages_above_the_rate_are_refused_and_the_most_in_a_second_is_known(
    sim: RunningSimulator, mitto: OpenMitto
) -> None:
    """429 with Retry-After 1, and nothing of the request is taken."""
    await sim.reset(profile={"rate_per_s": 10}, dlr_url=None, dlr_secret="")
    provider = await mitto(sim.base_url)
    answers = [await provider.submit("Store", [306900000000 + i] * 4, ["x"] * 4) for i in range(3)]
    stats = await sim.stats()
    assert [type(answer).__name__ for answer in answers] == ["Taken", "Taken", "NotTaken"]
    assert (stats["taken"], stats["per_second_max"], stats["statuses"]) == (8, 8, {"200": 2, "429": 1})
    assert stats["duplicates"] == 6


async def test_what_was_taken_is_read_in_pages_and_lines_and_can_be_forgotten(
    sim: RunningSimulator, mitto: OpenMitto
) -> None:
    """In the order it was taken, whichever way."""
    async with aiohttp.ClientSession() as session:
        provider = await mitto(sim.base_url)
        ids = await _send(provider, 7) + await _send(provider, 5)
        everything = await sim.received()
        assert [message["id"] for message in everything] == ids
        assert await sim.received(offset=5, limit=4) == everything[5:9]
        assert await sim.received(offset=50) == []
        async with session.get(f"{sim.base_url}/_sim/received?format=ndjson&offset=1") as answer:
            lines = (await answer.text()).splitlines()
        assert [json.loads(line) for line in lines] == everything[1:]
        await sim.reset()
        assert await sim.received() == []
        assert (await sim.stats())["requests"] == 0


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ('{"latency": 5}', "latency"),
        ('{"reports": {"lsot": 0.1}}', r"\$\.reports"),
        ('{"script": [{"kind": "explode"}]}', r"\$\.script"),
        ('{"rejects": 1.5}', "rejects"),
        ('{"latency_ms": -1}', "latency_ms"),
        ('{"latency_ms": [9, 3]}', "latency_ms"),
        ('{"rate_per_s": 0}', "rate_per_s"),
        ('{"reports": {"failed": 0.7, "expired": 0.7}}', "failed"),
        ('{"faults": [{"kind": "garbage", "share": 0.6}, {"kind": "omit", "share": 0.6}]}', "share"),
        ("not json", "malformed"),
    ],
)
def test_a_profile_that_says_nothing_sensible_is_refused_with_its_place(document: str, where: str) -> None:
    """A misspelt fault would never happen, and its test would prove nothing."""
    with pytest.raises(ValueError, match=where):
        profiles.parse(document.encode())


def test_a_profile_is_the_same_in_toml_and_json() -> None:
    """Both are accepted by the command."""
    toml = b'latency_ms = [1, 5]\n[[script]]\nkind = "status"\nstatus = 429\nretry_after = "1"\ntimes = 2\n[reports]\nlost = 0.1\n'
    same = b'{"latency_ms":[1,5],"script":[{"kind":"status","status":429,"retry_after":"1","times":2}],"reports":{"lost":0.1}}'
    assert profiles.parse(toml, toml=True) == profiles.parse(same)
    assert profiles.parse(b"", toml=True) == Profile()


def test_the_command_ends_78_for_a_profile_that_is_none(tmp_path: Path) -> None:
    """One line that names what is wrong, as for any fatal configuration error."""
    path = tmp_path / "wrong.toml"
    path.write_text("latencyms = 3\n")
    arguments = [sys.executable, "-m", "dispatcher.providers.simulator", "--port", "0", "--profile", str(path)]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=_DEADLINE_S, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (78, "", 1)
    assert "latencyms" in ended.stderr


async def test_it_ends_at_once_when_told_even_while_it_hangs_on_purpose(mitto: OpenMitto) -> None:
    """A request that is never answered does not keep the process."""
    async with running_simulator({"script": [{"kind": "timeout"}]}) as sim:
        provider = await mitto(sim.base_url)
        call = asyncio.create_task(provider.submit("Store", [306900000000], ["x"]))
        async with asyncio.timeout(_DEADLINE_S):
            while (await sim.stats())["faults"] != {"timeout": 1}:
                await asyncio.sleep(0.01)
    assert type(await call).__name__ == "Unknown"
