"""The stand, as a fixture."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dispatcher.storage.pool import Database
from tests.http.stand import Stand, stand


@pytest.fixture
async def api(db: Database, tmp_path: Path) -> AsyncIterator[Stand]:
    """The running HTTP interface of one tenant."""
    async with stand(db, tmp_path) as running:
        yield running
