"""What every process measures of itself, under the names that Prometheus gives to it."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

from fogline.monitoring.metrics.exposition import Family, Measured, MetricSample

CPU = Family("process_cpu_seconds_total", "counter", "Processor time")
START = Family("process_start_time_seconds", "gauge", "Unix time at which it began")
MEMORY = Family("process_resident_memory_bytes", "gauge", "Memory")
FAMILIES = (CPU, START, MEMORY)
STARTED = time.time()


def measured() -> Measured:
    """These metrics now."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    yield CPU, [MetricSample(used.ru_utime + used.ru_stime)]
    yield START, [MetricSample(STARTED)]
    yield MEMORY, [MetricSample(_memory(used.ru_maxrss))]


def _memory(peak: int) -> int:
    """Bytes of memory now; the most there were, in KiB, where the system does not say."""
    here = Path("/proc/self/statm")
    return int(here.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if here.exists() else peak * 1024
