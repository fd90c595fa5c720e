"""`make bench`: every path measured on one machine in one run, a table, and bench/results/*.json.

    python -m bench [--only paths,actors,limiter] [--small]

Absolute rates belong to the machine and the moment (`load_1min` over the cores means that somebody else measured too); the
counts for each message, and the ratios to what aiohttp and COPY can do alone in the same run, belong to the product.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import uvloop

from bench import bare, campaign, direct, webhooks
from bench.rig import running

_RESULTS = Path(__file__).parent / "results"


async def _paths(*, small: bool) -> dict[str, Any]:
    count = 20_000 if small else 100_000
    results: dict[str, Any] = {}
    async with running() as rig:
        await rig.contacts(count)
        results["bare"] = {"aiohttp": await bare.aiohttp_posts(rig, count), "copy": await bare.copy_rows(rig, count)}
    results["campaign"] = await campaign.main(
        count=count, history=200_000 if small else 10_000_000, memory=0 if small else 1_000_000
    )
    results["webhooks"] = await webhooks.main(count=count)
    results["direct"] = await direct.main()
    return results


def _table(results: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(what, measured, at least), as the product's bench promises them."""
    c, w, d, b = results["campaign"], results["webhooks"], results["direct"], results["bare"]
    send, both = c["send"], c["send_with_reports"]
    with_history, both_history = c["send_with_history"], c["send_with_reports_and_history"]
    bare_posts = b["aiohttp"]["requests_per_s"]
    rows = [
        ("send path, messages/s", f"{send['messages_per_s']:,}", "40,000"),
        ("  of bare COPY's rows/s", f"{send['messages_per_s'] / b['copy']['rows_per_s']:.2f}", ""),
        ("  CPU us a message (daemon + PostgreSQL)", f"{send['cpu_us_per_message']}", "at most 60"),
        ("  WAL bytes a message", f"{send['wal_bytes_per_message']}", "at most 900"),
        ("  statements a message", f"{send['statements_per_message']}", "at most 0.05"),
        ("send path with a report each, messages/s", f"{both['messages_per_s']:,}", "8,000"),
        ("reports, one a request, durable/s", f"{w['single']['durable_events_per_s']:,}", "10,000"),
        ("  of bare aiohttp's requests/s", f"{w['single']['durable_events_per_s'] / bare_posts:.2f}", ""),
        ("  applied after the last was durable, s", f"{w['single']['applied_after_durable_s']}", "at most 1"),
        ("reports in arrays of 500, applied/s", f"{w['arrays_of_500']['applied_events_per_s']:,}", "50,000"),
        ("one direct message, p50 ms", f"{d['one']['p50_ms']}", "under 4"),
        ("direct messages by 32 callers, messages/s", f"{d['thirty_two']['messages_per_s']:,}", "2,000"),
        (
            f"send path with {with_history['history_messages']:,} messages of history, of the empty rate",
            f"{with_history['messages_per_s'] / send['messages_per_s']:.2f}",
            "0.70",
        ),
        ("  with reports", f"{both_history['messages_per_s'] / both['messages_per_s']:.2f}", "0.70"),
    ]
    if "million" in c:
        rows.append(("RSS of the daemon, 1,000,000 recipients, MB", f"{c['million']['rss_peak_mb']}", "under 250"))
    return rows


def main() -> int:
    """Run what is asked for, print the table, write the results."""
    parser = argparse.ArgumentParser(description="The benchmarks.")
    parser.add_argument("--only", default="paths,actors,limiter", help="which, with commas: paths, actors, limiter")
    parser.add_argument(
        "--small", action="store_true", help="fewer messages and little history: minutes become seconds"
    )
    options = parser.parse_args()
    wanted = set(options.only.split(","))
    if "paths" in wanted:
        load = os.getloadavg()[0]
        results = uvloop.run(_paths(small=options.small))
        rows = _table(results)
        width = max(len(what) for what, _, _ in rows)
        for what, measured, at_least in rows:
            sys.stdout.write(f"{what:<{width}}  {measured:>10}  {at_least}\n")
        report = {
            "what": "the daemon's paths; PostgreSQL with fsync and synchronous_commit on, the simulator on the same machine",
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            "packages": {name: version(name) for name in ("aiohttp", "asyncpg", "pykka", "uvloop")},
            "cores": os.cpu_count(),
            "load_1min_before": round(load, 2),
            "small": options.small,
            "table": [
                {"what": what.strip(), "measured": measured, "at_least": least} for what, measured, least in rows
            ],
            "results": results,
        }
        name = "paths-small.json" if options.small else "paths.json"
        (_RESULTS / name).write_text(json.dumps(report, indent=2) + "\n")
    for script in ("actors", "limiter"):
        if script in wanted:
            subprocess.run([sys.executable, str(Path(__file__).parent / f"{script}.py")], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
