"""Faults at any point, over many seeds: is an update lost, does one count twice, does a round hang?

    python -m benchmarks.faults [--quick] [--seeds 50000] [--first 0]
    python -m benchmarks.faults --seed 4711

Each seed is another tree with other modes, limits and faults (see `fogline.simulation.faults`). Two processes share
the seeds. `--quick` takes 1,000. With `--seed` that one is played again and everything that happens is printed.
"""

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator

from benchmarks.common import console, progress, report
from fogline.simulation.faults import InvariantError, run

CHUNK = 50


def main() -> None:
    options = arguments()
    if options.seed is not None:
        sys.exit(replay(options.seed))
    count = 1000 if options.quick else options.seeds
    began = time.perf_counter()
    totals, failures = measure(options.first, count)
    for seed, text in failures:
        console.print(f"[red]seed {seed}[/]: {text}")
    result = {
        "seeds": count,
        "failures": len(failures),
        "rounds": totals["rounds"],
        "crashes": totals["crashes"],
        "lost_messages": totals["lost_messages"],
        "events": totals["events"],
        "first": options.first,
        "failed_seeds": [seed for seed, _ in failures[:20]],
        "seconds": round(time.perf_counter() - began, 1),
    }
    report("faults", result, keep=not options.quick)
    sys.exit(bool(failures))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1,000 seeds; the result is not kept")
    parser.add_argument("--seeds", type=int, default=50_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="play this one and print what happens")
    return parser.parse_args()


def measure(first: int, count: int) -> tuple[Counter[str], list[tuple[int, str]]]:
    """Sums over the seeds, and what went wrong."""
    totals: Counter[str] = Counter()
    failures: list[tuple[int, str]] = []
    with multiprocessing.Pool(2) as pool, progress() as bar:
        task = bar.add_task("seeds", total=count)
        for figures, wrong, done in pool.imap_unordered(chunk, chunks(first, count)):
            totals.update(figures)
            failures += wrong
            bar.advance(task, done)
    return totals, sorted(failures)


def chunks(first: int, count: int) -> Iterator[range]:
    end = first + count
    return (range(start, min(start + CHUNK, end)) for start in range(first, end, CHUNK))


def chunk(seeds: range) -> tuple[Counter[str], list[tuple[int, str]], int]:
    """What came of some seeds."""
    totals: Counter[str] = Counter()
    failures: list[tuple[int, str]] = []
    for seed in seeds:
        try:
            outcome = run(seed)
        except InvariantError as violation:
            failures.append((seed, str(violation)))
            continue
        except Exception as error:  # noqa: BLE001 - a node that raises has failed as well, and the others go on
            failures.append((seed, f"{type(error).__name__}: {error}"))
            continue
        for name in ("rounds", "crashes", "lost_messages", "events"):
            totals[name] += getattr(outcome, name)
    return totals, failures, len(seeds)


def replay(seed: int) -> int:
    """Play a seed and print all events and effects; gives the exit status."""
    try:
        print(run(seed, tell=print))
    except InvariantError as violation:
        print(violation)
        return 1
    return 0


if __name__ == "__main__":
    main()
