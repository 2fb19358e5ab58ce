"""A cloud with people of every role."""

from __future__ import annotations

from tests.network.conftest import forked_workers, runner

__all__ = ["forked_workers", "runner"]
