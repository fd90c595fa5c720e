"""The `dispatcher` command: one group, its commands in one module a subject.

What it is for: an operator at a terminal, a unit file, and scripts (`--json`). What it is not: a second way to do what the
API does for stores.
"""

import click

from dispatcher.cli import configuration, records, running, stores
from dispatcher.cli.common import Group

__all__ = ["cli", "main"]


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="dispatcher")
def cli() -> None:
    """Send SMS campaigns: planned once, sent once, charged exactly."""


for command in (*running.COMMANDS, *records.COMMANDS, *stores.COMMANDS, *configuration.COMMANDS):
    cli.add_command(command)


def main() -> None:
    """The console script: run the command and end the process with its exit status."""
    cli(prog_name="dispatcher")
