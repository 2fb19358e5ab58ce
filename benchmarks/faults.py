"""Faults at any point, over many seeds: is an update lost, does one count twice, does a round hang?

    python -m benchmarks.faults [--quick] [--seeds 50000] [--first 0]
    python -m benchmarks.faults --seed 4711
    python -m benchmarks.faults --world differences --seeds 2000

Each seed is another tree with other modes, limits and faults (see `fogline.simulation.faults`). Two processes share
the seeds. `--quick` takes 1,000; the result is kept where there are 50,000 or more. With `--seed` that one is played
again and everything that happens is printed. `--world` takes another question to the same faults: `differences`,
whether children have their parent's idea of the model to the bit; `feedback`, whether what senders remember survives,
while devices change their fog.
"""

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial

from benchmarks.common import console, progress, report
from fogline.simulation.faults import DifferencesWorld, FeedbackWorld, InvariantError, World, draw_plan

CHUNK = 50
FULL = 50_000
"""Seeds of a full run; the result of fewer is not kept in its place."""
WORLDS: dict[str, type[World]] = {"nodes": World, "differences": DifferencesWorld, "feedback": FeedbackWorld}


def main() -> None:
    options = arguments()
    if options.seed is not None:
        sys.exit(replay(options.world, options.seed))
    count = 1000 if options.quick else options.seeds
    began = time.perf_counter()
    totals, failures = measure(options.world, options.first, count)
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
    report("faults", result, keep=count >= FULL and options.world == "nodes")
    sys.exit(bool(failures))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1,000 seeds")
    parser.add_argument("--seeds", type=int, default=FULL, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--world", choices=WORLDS, default="nodes", help="what is asked of the nodes")
    parser.add_argument("--seed", type=int, help="play this one and print what happens")
    return parser.parse_args()


def measure(world: str, first: int, count: int) -> tuple[Counter[str], list[tuple[int, str]]]:
    """Sums over the seeds, and what went wrong."""
    totals: Counter[str] = Counter()
    failures: list[tuple[int, str]] = []
    with multiprocessing.Pool(2) as pool, progress() as bar:
        task = bar.add_task("seeds", total=count)
        for figures, wrong, done in pool.imap_unordered(partial(chunk, world), chunks(first, count)):
            totals.update(figures)
            failures += wrong
            bar.advance(task, done)
    return totals, sorted(failures)


def chunks(first: int, count: int) -> Iterator[range]:
    end = first + count
    return (range(start, min(start + CHUNK, end)) for start in range(first, end, CHUNK))


def chunk(world: str, seeds: range) -> tuple[Counter[str], list[tuple[int, str]], int]:
    """What came of some seeds."""
    totals: Counter[str] = Counter()
    failures: list[tuple[int, str]] = []
    for seed in seeds:
        try:
            outcome = WORLDS[world](draw_plan(seed)).run()
        except InvariantError as violation:
            failures.append((seed, str(violation)))
            continue
        except Exception as error:  # noqa: BLE001 - a node that raises has failed as well, and the others go on
            failures.append((seed, f"{type(error).__name__}: {error}"))
            continue
        for name in ("rounds", "crashes", "lost_messages", "events"):
            totals[name] += getattr(outcome, name)
    return totals, failures, len(seeds)


def replay(world: str, seed: int) -> int:
    """Play a seed and print all events and effects; gives the exit status."""
    try:
        print(WORLDS[world](draw_plan(seed), tell=print).run())
    except InvariantError as violation:
        print(violation)
        return 1
    return 0


if __name__ == "__main__":
    main()
