"""How long to wait before something that failed is tried again."""

from __future__ import annotations

from typing import NamedTuple


class Backoff(NamedTuple):
    """Waits that double with every failure in a row, up to the longest one."""

    first: float
    """Seconds after the first failure."""
    longest: float
    """Seconds, at most."""

    def after(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row (>= 1)."""
        return min(self.longest, self.first * 2.0 ** min(failures - 1, 60))
