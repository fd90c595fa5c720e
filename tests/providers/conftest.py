"""What the tests of providers share: a Mitto account that talks to whatever address a test gives."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from dispatcher.providers.base import Provider, ProviderSettings
from dispatcher.providers.factory import create
from tests.providers.sim import RunningSimulator, SharedSimulator, shared_simulator

OpenMitto = Callable[..., Awaitable[Provider]]


@pytest.fixture
async def mitto() -> AsyncIterator[OpenMitto]:
    """`await mitto(base_url, **settings)`: an opened account; closed after the test."""
    opened: list[Provider] = []

    async def make(base_url: str, **settings: Any) -> Provider:
        defaults: dict[str, Any] = {
            "timeout_s": 5.0,
            "connect_timeout_s": 2.0,
            "traffic_account_id": "account",
            "webhook_secret": "s3cret",
        }
        provider = create(ProviderSettings("mitto", "mitto", base_url, "the-key", **(defaults | settings)))
        await provider.open()
        opened.append(provider)
        return provider

    yield make
    for provider in opened:
        await provider.close()


@pytest.fixture(scope="session")
def simulator_process() -> Iterator[SharedSimulator]:
    """One simulator for all tests that can share it."""
    with shared_simulator() as shared:
        yield shared


@pytest.fixture
async def sim(simulator_process: SharedSimulator) -> AsyncIterator[RunningSimulator]:
    """It, with nothing taken yet, no fault and no reports."""
    async with simulator_process.fresh() as simulator:
        yield simulator
