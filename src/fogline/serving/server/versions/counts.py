"""What a version did since it was loaded: plain numbers that only grow."""

from __future__ import annotations

import time

from fogline.registry.release import BUCKETS

_FIRST = round(BUCKETS[0] * 1e9)


class Counts:
    """Of one version. Times are in nanoseconds."""

    __slots__ = (
        "batches",
        "compared",
        "dropped",
        "failed",
        "failed_ns",
        "infer_ns",
        "last",
        "latency",
        "offloaded",
        "requests",
        "requests_ns",
        "rows",
    )

    def __init__(self) -> None:
        self.requests = self.requests_ns = self.failed = self.failed_ns = 0
        self.rows = self.batches = self.infer_ns = self.offloaded = 0
        self.compared = self.dropped = 0
        """Answers that a shadow was compared on, and those that it had no time for."""
        self.latency = [0] * (len(BUCKETS) + 1)
        """Requests by the time from when they were there until they were answered, or could not be."""
        self.last = 0.0
        """Unix time of the last answer."""

    def answered(self, rows: int, ns: int, offloaded: int = 0) -> None:
        """A request of so many examples was answered."""
        self.requests += 1
        self.requests_ns += ns
        self.rows += rows
        self.offloaded += offloaded
        self._took(ns)
        self.last = time.time()

    def ran(self, ns: int) -> None:
        """Count one run of the model, and its nanoseconds."""
        self.batches += 1
        self.infer_ns += ns

    def missed(self, ns: int) -> None:
        """A request could not be answered."""
        self.failed += 1
        self.failed_ns += ns
        self._took(ns)

    def _took(self, ns: int) -> None:
        # The buckets double, so the place is a logarithm.
        self.latency[min(((ns - 1) // _FIRST).bit_length(), len(BUCKETS))] += 1
