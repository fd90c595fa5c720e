"""The fixtures of whole daemons."""

from tests.e2e.fixtures import calm, may_hold, new_site, shared, shared_site, simulator

__all__ = ["calm", "may_hold", "new_site", "shared", "shared_site", "simulator"]
