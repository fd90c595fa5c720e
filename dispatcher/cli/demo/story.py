"""The demo, told in order: a store, its contacts, one campaign, every report, and what three sources say of it.

What it is not: a benchmark. The provider is the simulator, which rejects a few messages, fails and expires some, and sends
its reports late and more than once.
"""

import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from dispatcher.cli import new_store
from dispatcher.cli.common import opened, print_rows
from dispatcher.cli.demo import comparison
from dispatcher.cli.demo.api import Api, client
from dispatcher.cli.demo.comparison import Receipts, Received
from dispatcher.cli.demo.people import ContactFile, contact_file
from dispatcher.cli.demo.stage import Plan, Stage, stage
from dispatcher.config.clock import SystemClock
from dispatcher.domain.contacts import FieldError
from dispatcher.domain.ids import Kind, decode
from dispatcher.storage import admin, audit, embedded
from dispatcher.storage.pool import Database

OPT_OUTS_MAX = 5
TEXT = "{{first_name|Φίλε}}, καλωσόρισες! -20% σε όλα μέχρι την Κυριακή."
LINK = "https://shop.example.com/autumn"
PROFILE: Mapping[str, Any] = {
    "latency_ms": [5, 20],
    "rejects": 0.002,
    "reports": {
        "failed": 0.02,
        "expired": 0.005,
        "late": 0.05,
        "late_ms": [500, 1500],
        "delay_ms": [20, 200],
        "sent_first": True,
        "repeat": 2,
        "batch": 20,
    },
}
_IMPORT_S_PER_1000 = 2.0
_SEND_S_PER_1000 = 2.0
_PATIENCE_S = 120.0
_POLL_S = 0.1
_SAY_EVERY_S = 2.0
_SEGMENTS_MAX = 4


@dataclass(frozen=True, slots=True)
class Demo:
    """`contacts` to import (1..1,000,000), the seed of everything drawn, the provider's rate (messages a second), and whether
    the state directory and logs stay behind."""

    contacts: int
    seed: int
    rate_per_s: int
    keep: bool


async def run_demo(demo: Demo) -> int:
    """The exit status: 0 if everything agrees, else 1. Ends, and removes, all that it started; also when cancelled."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with _work_dir(keep=demo.keep) as work_dir:
        plan = Plan(
            state_dir=work_dir / "state",
            profile=PROFILE,
            work_dir=work_dir,
            seed=demo.seed,
            rate_per_s=demo.rate_per_s,
            logs=work_dir,
        )
        click.echo("Starting PostgreSQL, the daemon and the provider's simulator ...")
        async with stage(plan) as place:
            dsn = embedded.running(plan.state_dir)
            if dsn is None:
                raise place.daemon.failed("is ready without its PostgreSQL")
            async with opened(dsn) as db:
                return await _tell(demo, place, db)


@contextmanager
def _work_dir(*, keep: bool) -> Iterator[Path]:
    # PostgreSQL's user has to walk through it (not read it) when we are root.
    folder = Path(tempfile.mkdtemp(prefix="dispatcher-demo-", dir="/tmp"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        if keep:
            click.echo(f"Kept: {folder}")
        else:
            shutil.rmtree(folder)


async def _tell(demo: Demo, place: Stage, db: Database) -> int:
    clock = SystemClock()
    file = contact_file(demo.contacts, demo.seed)
    store = await _store(db, credit_count=demo.contacts * _SEGMENTS_MAX + 1000)
    async with client(place.base_url, store.api_key) as api, client(place.simulator_url) as provider:
        await _import(api, file, clock)
        opted_out = await _opt_out(api, file)
        expected = [phone for phone in file.phones if phone not in opted_out]
        campaign = await _send(api)
        started_s = clock.monotonic_s()
        campaign = await _wait_for_reports(api, provider, place, campaign["id"], len(expected), clock)
        reported_s = clock.monotonic_s() - started_s
        wallet = await api.get("/api/v1/wallet")
        received = await _received(provider, expected)
    async with db.acquire() as conn:
        totals = await admin.campaign_totals(conn, store.tenant_id, decode(Kind.CAMPAIGN, campaign["id"]) or 0)
        checks = await audit.audit(conn)
    rows = comparison.compare(campaign, wallet["held"], received, totals, len(expected))
    took_s = (_time(campaign["finished_at"]) - _time(campaign["started_at"])).total_seconds()
    told = comparison.verdict(rows, accepted_per_s=received.messages / max(took_s, 0.001), reported_s=reported_s)
    click.echo("")
    click.echo("\n".join(told.lines))
    click.echo("\nThe auditor:")
    print_rows([("ok" if check.ok else "DIFFERS", check.name, check.detail) for check in checks])
    ok = told.ok and audit.is_ok(checks)
    click.echo("\nEverything agrees." if ok else "\nNot everything agrees: see above.")
    return 0 if ok else 1


async def _store(db: Database, credit_count: int) -> new_store.NewStore:
    fields = new_store.check_fields(
        name="Demo store",
        email="owner@demo.example.com",
        country="GR",
        timezone="Europe/Athens",
        credit_count=credit_count,
    )
    if not isinstance(fields, new_store.StoreFields):
        raise click.ClickException(f"the demo's store was refused: {fields}")
    made = await new_store.create_store(db, fields)
    if isinstance(made, FieldError):
        raise click.ClickException(f"the demo's store was refused: {made.message}")
    click.echo(f"A store with {fields.credits:,} credits.")
    return made


async def _import(api: Api, file: ContactFile, clock: SystemClock) -> None:
    started_s = clock.monotonic_s()
    queued = await api.upload("/api/v1/contacts/imports", "contacts.csv", file.content)
    patience_s = _PATIENCE_S + len(file.phones) / 1000 * _IMPORT_S_PER_1000
    async with asyncio.timeout(patience_s):
        while True:
            found = await api.get(f"/api/v1/contacts/imports/{queued['id']}")
            if found["status"] in ("completed", "failed"):
                break
            await asyncio.sleep(_POLL_S)
    took_s = clock.monotonic_s() - started_s
    click.echo(f"Imported {found['created']:,} contacts in {took_s:.1f} s; {found['refused']} rows refused:")
    reasons = [f"row {error['row']}: {error['field']}: {error['message']}" for error in found["errors"][:20]]
    click.echo("\n".join(f"  {reason}" for reason in reasons))
    if found["status"] != "completed" or found["created"] != len(file.phones) or found["refused"] != file.refused:
        raise click.ClickException(f"the file has {len(file.phones)} good rows and {file.refused} to refuse: {found}")


async def _opt_out(api: Api, file: ContactFile) -> set[int]:
    """A few contacts opt out before the campaign: none of them may get it."""
    phones = set(file.phones[1 : OPT_OUTS_MAX + 1])
    for phone in phones:
        await api.post("/api/v1/suppressions", {"phone": f"+{phone}"})
    click.echo(f"{len(phones)} of them opted out.")
    return phones


async def _send(api: Api) -> Any:
    draft = {"name": "Autumn", "text": TEXT, "audience": "all", "link_url": LINK}
    campaign = await api.post("/api/v1/campaigns", draft)
    return await api.post(f"/api/v1/campaigns/{campaign['id']}/send")


async def _wait_for_reports(
    api: Api, provider: Api, place: Stage, campaign_id: str, size: int, clock: SystemClock
) -> dict[str, Any]:
    """The campaign, once it is completed and no report is outstanding at the provider or here."""
    progress = _Progress(size, clock)
    patience_s = _PATIENCE_S + size / 1000 * _SEND_S_PER_1000
    try:
        async with asyncio.timeout(patience_s):
            while True:
                place.daemon.check_alive()
                place.simulator.check_alive()
                campaign: dict[str, Any] = await api.get(f"/api/v1/campaigns/{campaign_id}")
                progress.show(campaign["counts"])
                if await _is_over(campaign, provider):
                    progress.end(campaign["counts"])
                    return campaign
                await asyncio.sleep(_POLL_S)
    except TimeoutError as error:
        stats = await provider.get("/_sim/stats")
        told = f"the campaign was not over within {patience_s:.0f} s: {campaign['status']} {campaign['counts']}"
        raise click.ClickException(f"{told}; the provider says {stats}") from error


async def _is_over(campaign: Mapping[str, Any], provider: Api) -> bool:
    if campaign["status"] not in ("planning", "sending", "completed"):
        raise click.ClickException(f"the campaign is {campaign['status']}: {campaign['status_reason']}")
    if campaign["status"] != "completed" or campaign["counts"]["accepted"]:
        return False
    stats = await provider.get("/_sim/stats")
    return bool(stats["reports"]["pending"] == 0)


class _Progress:
    """One line that changes on a terminal; a line now and then elsewhere."""

    def __init__(self, size: int, clock: SystemClock) -> None:
        self._size = size
        self._clock = clock
        self._terminal = sys.stdout.isatty()
        self._said_s = float("-inf")
        self._said = ""

    def show(self, counts: Mapping[str, int]) -> None:
        """Say how far it is, when it is time to."""
        now_s = self._clock.monotonic_s()
        if self._terminal or now_s - self._said_s >= _SAY_EVERY_S:
            self._said_s = now_s
            self._say(counts, newline=not self._terminal)

    def end(self, counts: Mapping[str, int]) -> None:
        """Say how it ended."""
        self._say(counts, newline=True)

    def _say(self, counts: Mapping[str, int], *, newline: bool) -> None:
        ended = counts["delivered"] + counts["undelivered"] + counts["expired"]
        sent = ended + counts["accepted"]
        text = f"  accepted {sent:,} of {self._size:,}, reports in {ended:,}, rejected {counts['rejected']:,}"
        if text == self._said and not (self._terminal and newline):
            return
        self._said = text
        click.echo(f"\r{text:<78}" if self._terminal else text, nl=newline)


async def _received(provider: Api, expected: list[int]) -> Received:
    receipts = Receipts(expected)
    async for line in provider.lines("/_sim/received", format="ndjson"):
        message = msgspec.json.decode(line)
        receipts.add(message["destination"], message["text"])
    stats = await provider.get("/_sim/stats")
    return receipts.total(stats["rejected"])


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
