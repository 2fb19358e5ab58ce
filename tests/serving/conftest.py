"""What the tests of serving share."""

from tests.network.conftest import forked_workers

__all__ = ["forked_workers"]
