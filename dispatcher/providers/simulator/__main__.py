"""The simulator's process: `python -m dispatcher.providers.simulator --port P`, or `dispatcher simulate`.

Prints one JSON line, `{"listening": "http://127.0.0.1:PORT"}`, once it takes requests; ends on SIGINT and SIGTERM.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop
from aiohttp import web

from dispatcher.providers.simulator import profile as profiles
from dispatcher.providers.simulator.profile import Profile
from dispatcher.providers.simulator.server import Simulator

_EX_CONFIG = 78
_READ_BYTES = 1 << 18
_SHUTDOWN_S = 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run until a signal ends it. The exit status: 0, or 78 for a profile or an address that is none."""
    options = _options().parse_args(argv)
    try:
        profile = load(options.profile) if options.profile is not None else Profile()
        simulator = Simulator(profile, options.dlr_url, options.dlr_secret, options.seed)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"simulate: {error}\n")
        return _EX_CONFIG
    logging.getLogger("aiohttp.access").disabled = True
    # What it keeps is never freed before the end: looking through it again and again would be most of its work.
    gc.set_threshold(100_000, 50, 1000)
    uvloop.run(_serve(simulator, options.host, options.port))
    return 0


def load(path: Path) -> Profile:
    """A profile from a .toml or .json file. ValueError says what is wrong with it, OSError that it cannot be read."""
    return profiles.parse(path.read_bytes(), toml=path.suffix == ".toml")


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dispatcher simulate", description="A provider simulator that speaks Mitto's API."
    )
    parser.add_argument("--port", type=int, required=True, help="port to listen on; 0: any free one, printed")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--dlr-url", help="where delivery reports are posted (http://...); none: there are none")
    parser.add_argument("--dlr-secret", default="", help="the webhook secret that signs them")
    parser.add_argument("--seed", type=int, default=1, help="the same seed draws the same faults and reports")
    parser.add_argument("--profile", type=Path, help="a .toml or .json file with the profile (docs/simulator.md)")
    return parser


async def _serve(simulator: Simulator, host: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    http = web.Server(simulator.handle, read_bufsize=_READ_BYTES, access_log=None)
    server = await loop.create_server(http, host, port, backlog=1024)
    bound = server.sockets[0].getsockname()[1]
    sys.stdout.write(json.dumps({"listening": f"http://{host}:{bound}"}) + "\n")
    sys.stdout.flush()
    await ended.wait()
    server.close()
    simulator.close()
    with contextlib.suppress(TimeoutError):
        # A request that hangs on purpose must not keep the process.
        async with asyncio.timeout(_SHUTDOWN_S):
            await http.shutdown(_SHUTDOWN_S / 2)


if __name__ == "__main__":
    sys.exit(main())
