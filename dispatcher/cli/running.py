"""`dispatcher run`, `simulate` and `demo`: what starts processes and stays."""

import sys
from pathlib import Path

import click
import uvloop

from dispatcher import daemon
from dispatcher.cli.common import config_option, load_settings
from dispatcher.cli.common import run as run_work
from dispatcher.cli.demo import Demo, run_demo, run_with_simulator
from dispatcher.config import Settings, load, logs, require_for_run
from dispatcher.house import ROLES
from dispatcher.providers.simulator import __main__ as simulator

_CONTACTS_MAX = 1_000_000


@click.command("run")
@config_option
@click.option(
    "--roles", help=f"What this process does, with commas between: {', '.join(sorted(ROLES))} (default: all)."
)
@click.option(
    "--with-simulator",
    is_flag=True,
    help="For development: beside it a provider simulator, a random secret, and a store whose login is printed.",
)
def run_command(config_file: Path | None, roles: str | None, *, with_simulator: bool) -> None:
    """Serve until SIGTERM, which drains: no batch is claimed any more, what is in flight is recorded. SIGHUP reloads
    limits and the log level. Exit 78: a setting is wrong."""
    wanted = _roles(roles)
    loaded = load_settings(config_file)
    if with_simulator:
        sys.exit(run_work(run_with_simulator(loaded.settings, config_file, wanted)))
    require_for_run(loaded.settings)
    logs.set_up(loaded.settings.log_level, loaded.settings.log_format)

    def reload() -> Settings:
        return load(file=config_file).settings

    sys.exit(uvloop.run(daemon.run(loaded.settings, roles=wanted, reload=reload)))


def _roles(text: str | None) -> frozenset[str]:
    if text is None:
        return frozenset(ROLES)
    wanted = frozenset(part.strip() for part in text.split(",") if part.strip())
    unknown = sorted(wanted - frozenset(ROLES))
    if unknown or not wanted:
        what = f"there is no role {unknown[0]!r}" if unknown else "no role is named"
        raise click.BadParameter(f"{what}; the roles are {', '.join(sorted(ROLES))}", param_hint="--roles")
    return wanted


@click.command("simulate")
@click.option(
    "--port", type=click.IntRange(0, 65535), required=True, help="Port to listen on; 0: any free one, printed."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--dlr-url", help="Where delivery reports are posted (http://...); without it there are none.")
@click.option("--dlr-secret", default="", help="The webhook secret that signs them.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed draws the same faults and reports.")
@click.option("--profile", type=click.Path(), help="A .toml or .json file with its behaviour (docs/simulator.md).")
@click.option("--config", "_config_file", type=click.Path(), help="Accepted as by every command; it has no use here.")
def simulate_command(
    port: int, host: str, dlr_url: str | None, dlr_secret: str, seed: int, profile: str | None, _config_file: str | None
) -> None:
    """Run a provider simulator that speaks Mitto's API, until a signal ends it."""
    # With "=": a secret that begins with a dash is a secret too.
    argv = [f"--port={port}", f"--host={host}", f"--dlr-secret={dlr_secret}", f"--seed={seed}"]
    argv += [f"--dlr-url={dlr_url}"] if dlr_url else []
    argv += [f"--profile={profile}"] if profile else []
    sys.exit(simulator.main(argv))


@click.command("demo")
@click.option("--contacts", type=click.IntRange(1, _CONTACTS_MAX), default=10_000, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the contacts and of the provider's mishaps.")
@click.option(
    "--rate",
    type=click.IntRange(1, 1_000_000),
    default=100_000,
    show_default=True,
    help="Messages a second that the provider is asked to take.",
)
@click.option("--keep", is_flag=True, help="Leave the state directory and the logs behind.")
@config_option
def demo_command(contacts: int, seed: int, rate: int, config_file: Path | None, *, keep: bool) -> None:
    """Send one campaign to generated contacts through everything, and compare what three sources say of it.

    Starts PostgreSQL, the daemon and a provider simulator in a temporary directory, and leaves nothing running. Exit 0
    only if all agree. Settings of this machine play no part; --config is only checked.
    """
    if config_file is not None:
        load_settings(config_file)
    logs.set_up("warning", "console")
    sys.exit(run_work(run_demo(Demo(contacts, seed, rate, keep))))


COMMANDS = (run_command, demo_command, simulate_command)
