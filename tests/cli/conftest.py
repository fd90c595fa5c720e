"""Commands in this process, and what they change of it put back."""

import logging
from collections.abc import Callable, Iterator

import pytest
import structlog
from click.testing import CliRunner, Result

from dispatcher.cli import cli

Invoke = Callable[..., Result]


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """A command sets the process's logs up; the next test has them as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def invoke() -> Invoke:
    """`invoke("audit", "--json", DISPATCHER_...="...")`: run a command with these settings and no others."""

    def run(*arguments: str, **settings: str) -> Result:
        return CliRunner().invoke(cli, list(arguments), env=settings, prog_name="dispatcher")

    return run
