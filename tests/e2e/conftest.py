"""The fixtures of whole daemons."""

import pytest

# Before they are imported: a statement of theirs that fails shows its values.
pytest.register_assert_rewrite("tests.e2e.rig", "tests.e2e.store")

from tests.e2e.fixtures import calm, may_hold, new_site, shared, shared_site, simulator  # noqa: E402 - see above

__all__ = ["calm", "may_hold", "new_site", "shared", "shared_site", "simulator"]
