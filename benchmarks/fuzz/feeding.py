"""Feeds targets, and watches what each input costs."""

from __future__ import annotations

import gc
import random
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.fuzz.mutation import mutated
from benchmarks.fuzz.target import Target
from benchmarks.fuzz.targets import targets

SECONDS = 2.0
"""One input may take at most that much of the processor: a wall clock would blame it for what others do."""
GROWTH = 256 << 20
"""Bytes by which the peak of the process may grow over a target's inputs."""


class Hung(Exception):  # noqa: N818
    """An input took too long."""


def _alarm(_: int, __: Any) -> None:
    raise Hung


def fuzz(name: str, target: Target, count: int, seed: int) -> dict[str, Any]:
    """Feed one target; figures and findings."""
    rng = random.Random(f"{seed}/{name}")
    for example in target.examples:
        target.decode(example)  # Else the fuzzing would only ever see refusals.
    accepted, slowest, findings = 0, 0.0, []
    gc.collect()
    before, start = _peak(), time.perf_counter()
    for number in range(count):
        data = mutated(rng, target, target.examples)
        began = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            target.decode(data)
            accepted += 1
        except target.refuses:
            pass
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            findings.append(
                {"input": number, "error": f"{type(error).__name__}: {error}"[:300], "data": data[:400].hex()}
            )
            if len(findings) >= 20:
                break
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        slowest = max(slowest, time.process_time() - began)
    growth = _peak() - before
    if growth > GROWTH:
        findings.append({"input": -1, "error": f"the process grew by {growth >> 20} MiB"})
    return {
        "inputs": count,
        "accepted": accepted,
        "slowest_s": round(slowest, 4),
        "growth_mib": growth >> 20,
        "seconds": round(time.perf_counter() - start, 1),
        "findings": findings,
    }


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(inputs: int, only: list[str], seed: int, folder: Path) -> dict[str, Any]:
    """All targets, or some."""
    signal.signal(signal.SIGPROF, _alarm)
    chosen = {name: target for name, target in targets(folder).items() if not only or name in only}
    whole = sum(target.share for target in chosen.values())
    results: dict[str, Any] = {}
    for name, target in chosen.items():
        results[name] = fuzz(name, target, max(1, round(inputs * target.share / whole)), seed)
        print(name, results[name], file=sys.stderr, flush=True)
    return {
        "inputs": sum(result["inputs"] for result in results.values()),
        "findings": sum(len(result["findings"]) for result in results.values()),
        "slowest_s": max(result["slowest_s"] for result in results.values()),
        "targets": results,
    }
