"""Fogline against Flower, pfl-research and NVFlare: the same job on the same machine in the same minutes.

    python -m benchmarks.peers [--quick] [--verify] [--peers flower pfl nvflare] [--models tiny mlp cnn]

Every side runs `benchmarks/peers/run_<side>.py` in an environment of its own, at its fastest fair setting (each script
says which). A ratio is that side's median seconds per steady round over Fogline's: above 1, Fogline is faster.
The sides take turns, and an interrupted run goes on where it stopped. All sides of a configuration do the same number
of rounds; each says how many it did and how far they took the model from its start, and a side that did other work
than the plain loop has no ratio and ends the benchmark with status 1. After nine minutes no further turn is begun.
"""

import argparse
import os
import time
from typing import Any

from benchmarks.common import (
    SCRATCH,
    commit,
    console,
    progress,
    read_json,
    report,
    write_json,
)
from benchmarks.peers.plan import MODELS, OURS, PINS, SILOS, Run, plan
from benchmarks.peers.ratios import refused, show, summarise
from benchmarks.peers.sides import Outcome, attempt, prepare

PARTIAL = SCRATCH / "peers-partial.json"
ENOUGH = 540.0  # seconds after which no further turn is begun


def measure(runs: list[Run], settings: dict[str, Any]) -> dict[str, Outcome]:
    """Outcomes by run, with those of an interrupted run of the same settings kept."""
    SCRATCH.mkdir(exist_ok=True)
    partial = read_json(PARTIAL) or {}
    outcomes: dict[str, Outcome] = partial["outcomes"] if partial.get("settings") == settings else {}
    began, begun = time.perf_counter(), None
    with progress() as bar:
        task = bar.add_task("", total=len(runs))
        for run in runs:
            bar.update(task, description=f"{run.model} · {run.configuration.name} · {run.side}")
            turn = (run.model, run.configuration.name, run.turn)
            late, begun = turn != begun and time.perf_counter() - began > ENOUGH, turn
            if late:
                bar.console.print("The time is up; what is left out stands in no table.")
                break
            if run.key not in outcomes:
                load = round(os.getloadavg()[0], 1)
                outcome = attempt(run.side, run.flags()) | {"load": load}
                if "error" in outcome:
                    bar.console.print(f"[red]{run.key}[/red] {outcome['error']}", markup=True)
                else:
                    outcome["seconds"] = [round(s, 6) for s in outcome["seconds"][run.warm :]]
                outcomes[run.key] = outcome
                write_json(PARTIAL, {"settings": settings, "outcomes": outcomes})
            bar.advance(task)
    return outcomes


def verify(peers: list[str]) -> dict[str, Outcome]:
    """Two rounds with every client sampled: all sides but Fogline, which shuffles, must agree to rounding."""
    job = Run("tiny", SILOS, "", 0, 0, 2)
    found = {side: attempt(side, job.flags()) for side in (*OURS, *peers)}
    expected = found["loop"]["moved"]
    for side, outcome in found.items():
        agrees = "error" not in outcome and abs(outcome["moved"] / expected - 1) < (0.05 if side == "fogline" else 1e-4)
        console.print(f"{'agrees' if agrees else '[red]differs[/red]'}: {side} {outcome}")
        outcome["agrees"] = agrees
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="headline configurations once, few rounds; not saved")
    parser.add_argument("--verify", action="store_true", help="only check that all sides do the same training")
    parser.add_argument("--peers", nargs="+", choices=list(PINS), default=list(PINS))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    options = parser.parse_args()
    prepare(options.peers)
    if options.verify:
        return report("peers-verify", verify(options.peers), keep=False)
    runs = plan(options.models, options.peers, options.quick)
    settings = {"quick": options.quick, "commit": commit(), "pins": PINS["flower"] + PINS["pfl"] + PINS["nvflare"]}
    settings["pins"] = list(settings["pins"])
    outcomes = measure(runs, settings)
    result = summarise(runs, outcomes)
    show(result)
    PARTIAL.unlink(missing_ok=True)
    other = [
        f"{model}, {name}, {line}"
        for model, found in result.items()
        for name, sides in found["detail"].items()
        for line in refused(sides)
    ]
    console.print(*(f"[red]refused:[/red] {line}" for line in other), sep="\n")
    complete = not options.quick and set(options.models) == set(MODELS) and set(options.peers) == set(PINS)
    report("peers", result, keep=complete and not other)
    raise SystemExit(1 if other else 0)


if __name__ == "__main__":
    main()
