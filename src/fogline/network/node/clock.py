"""Time as a job knows it."""

from __future__ import annotations

import time


class JobClock:
    """Seconds that a node has worked at a job. It goes on where the journal ends, never stands back, and does not
    notice when somebody sets the machine's clock.

    Args:
        at: seconds when the node last wrote something.
    """

    def __init__(self, at: float = 0.0) -> None:
        self._offset = at - time.monotonic()

    def now(self) -> float:
        """Seconds of the job's time, now."""
        return time.monotonic() + self._offset
