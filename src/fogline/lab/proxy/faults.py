"""The faults that a proxy adds to the bytes of one direction, and how it times them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

SLICE_SECONDS = 0.02
"""A slow link's bytes are passed on in slices of about so long."""


@dataclass(slots=True)
class Way:
    """One direction of a proxy: what it does to bytes, and how many it passed on."""

    delay: float = 0.0
    """Seconds added to every byte."""
    rate: float | None = None
    """Bytes per second over all connections; None is unlimited."""
    passed: int = 0
    """Bytes passed on so far."""
    corrupt_at: int | None = None
    """Count of ``passed`` at which one bit is flipped."""
    flips: int = 0
    """Bits still to be flipped from there on, one a byte."""
    truncate_at: int | None = None
    """Count of ``passed`` at which the connection is closed in order."""
    _free_at: float = field(default=0.0, repr=False)

    def take(self, waiting: bytes) -> bytes:
        """As much of what waits as may go on at once, with its faults; it counts as passed on."""
        most = len(waiting)
        if self.rate is not None:
            most = min(most, max(1, int(self.rate * SLICE_SECONDS)))
        if self.truncate_at is not None:
            most = min(most, max(0, self.truncate_at - self.passed))
        piece = self._corrupt(waiting[:most])
        self.passed += len(piece)
        return piece

    async def wait_for(self, size: int) -> None:
        """Until so many bytes have gone over the link."""
        if self.rate is None:
            return
        now = asyncio.get_running_loop().time()
        self._free_at = max(now - SLICE_SECONDS, self._free_at) + size / self.rate
        await asyncio.sleep(self._free_at - now)  # A little behind is made up for: timers are late.

    def truncated(self) -> bool:
        """Whether this is where the stream ends; true once."""
        if self.truncate_at is None or self.passed < self.truncate_at:
            return False
        self.truncate_at = None
        return True

    def _corrupt(self, piece: bytes) -> bytes:
        if self.corrupt_at is None or self.corrupt_at >= self.passed + len(piece):
            return piece
        first = max(0, self.corrupt_at - self.passed)
        changed = bytearray(piece)
        count = min(self.flips, len(piece) - first)
        for i in range(first, first + count):
            changed[i] ^= 1 << (i % 8)
        self.flips -= count
        if self.flips == 0:
            self.corrupt_at = None
        return bytes(changed)
