"""Fogline against Flower, pfl-research and NVFlare: the same job on the same machine in the same minutes.

    python -m benchmarks.peers [--quick] [--verify] [--peers flower pfl nvflare] [--models tiny mlp cnn]

Every side runs `benchmarks/peer_<side>.py` in an environment of its own, at its fastest fair setting (each script
says which). A ratio is that side's median seconds per steady round over Fogline's: above 1, Fogline is faster.
The sides take turns, and an interrupted run goes on where it stopped. All sides of a configuration do the same number
of rounds; each says how many it did and how far they took the model from its start, and a side that did other work
than the plain loop has no ratio and ends the benchmark with status 1. After nine minutes no further turn is begun.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.common import (
    ROOT,
    SCRATCH,
    commit,
    console,
    median,
    progress,
    read_json,
    report,
    spread,
    write_json,
)

VENVS = SCRATCH / "venvs"
PARTIAL = SCRATCH / "peers-partial.json"
LIMIT = 300.0  # seconds for one run of one side
ENOUGH = 540.0  # seconds after which no further turn is begun
SAME_WORK, SAME_SAMPLED = 0.02, 0.1
"""How far the distance that a side moved the model may be from the plain loop's, as a share of it. With every client in
every round only rounding and the order of examples differ: 0.8 % at most between loops that keep the order and such
that shuffle. Sampled cohorts are others on every side: 6 % at most between loops of other seeds. Half the batches, or
half the learning rate, leave three tenths of the way undone, or more."""

COMMON = ("torch==2.13.0", "numpy==2.4.6")
PINS = {
    "flower": ("flwr[simulation]==1.41.0", "ray==2.55.1"),
    "pfl": ("pfl[pytorch]==0.6.0",),
    "nvflare": ("nvflare==2.9.0",),
}
OURS = ("fogline", "loop")  # run by this interpreter; loop is plain PyTorch, for orientation
MODELS = ("tiny", "mlp", "cnn")

Outcome = dict[str, Any]
"""What a side's script printed, or {"error": why}."""


@dataclass(frozen=True)
class Configuration:
    clients: int
    cohort: int
    sides: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.cohort} of {self.clients}"

    @property
    def tolerance(self) -> float:
        """How far a side's distance may be from the plain loop's."""
        return SAME_WORK if self.cohort == self.clients else SAME_SAMPLED


HEADLINE = Configuration(100, 20, ("fogline", "flower", "pfl", "loop"))
SILOS = Configuration(16, 16, ("fogline", "nvflare", "loop"))
EVERY = Configuration(100, 100, ("fogline", "pfl"))
POPULATION = Configuration(10_000, 100, ("fogline", "pfl"))
CONFIGURATIONS = (HEADLINE, SILOS, EVERY, POPULATION)


@dataclass(frozen=True)
class Run:
    """One start of one side."""

    model: str
    configuration: Configuration
    side: str
    turn: int
    warm: int
    timed: int

    @property
    def key(self) -> str:
        return f"{self.model}/{self.configuration.name}/{self.side}/{self.turn}"

    def flags(self) -> list[str]:
        c = self.configuration
        values = {"model": self.model, "clients": c.clients, "cohort": c.cohort, "rounds": self.warm + self.timed}
        return [part for name, value in values.items() for part in (f"--{name}", str(value))]


def plan(models: list[str], peers: list[str], quick: bool) -> list[Run]:
    """All runs, what is reported first; the sides of one configuration take turns."""
    configurations = CONFIGURATIONS[:2] if quick else CONFIGURATIONS
    return [
        Run(model, configuration, side, turn, *_rounds(model, configuration, quick))
        for turn in range(2)
        for configuration in configurations
        for model in models
        if set(peers) & set(configuration.sides) and turn < _turns(model, configuration, quick)
        for side in configuration.sides
        if side in OURS or side in peers
    ]


def _turns(model: str, configuration: Configuration, quick: bool) -> int:
    """The ratios that are reported are of several turns; the other configurations show how time grows."""
    return 2 if configuration in (HEADLINE, SILOS) and model != "cnn" and not quick else 1


def _rounds(model: str, configuration: Configuration, quick: bool) -> tuple[int, int]:
    """Warm-up rounds, which are dropped, and timed rounds: the same for all sides."""
    if configuration is SILOS:  # NVFlare's connections keep getting faster for some rounds.
        return 8, 4 if quick or model == "cnn" else 12
    if model == "cnn":
        return 1, 2 if quick or configuration.cohort > 20 else 4
    return 3, 6 if quick or configuration.cohort > 20 else 20


def interpreter(side: str) -> Path:
    return Path(sys.executable) if side in OURS else VENVS / side / "bin" / "python"


def prepare(peers: list[str]) -> None:
    """Create each peer's environment unless it is there with the same pins."""
    for peer in peers:
        wanted = "\n".join((*COMMON, *PINS[peer])) + "\n"
        stamp = VENVS / peer / "pins.txt"
        if stamp.exists() and stamp.read_text() == wanted:
            continue
        with console.status(f"installing {peer}: {', '.join(PINS[peer])}"):
            _install(peer, wanted)
        stamp.write_text(wanted)


def _install(peer: str, wanted: str) -> None:
    venv.create(VENVS / peer, with_pip=True, symlinks=True, clear=True)
    constraints = VENVS / peer / "constraints.txt"
    constraints.write_text("\n".join(COMMON) + "\n")
    # PyTorch goes first and alone, as in the Makefile: that way it is the CPU build.
    for requirements in (COMMON, PINS[peer]):
        command = [str(interpreter(peer)), "-m", "pip", "install", "--quiet", "-c", str(constraints), *requirements]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"could not install {peer}:\n{done.stderr[-2000:]}")


def attempt(side: str, flags: list[str]) -> Outcome:
    """Run a side, once more if it fails: on a loaded machine a peer was seen to fail once and then not again."""
    outcome = start(side, flags)
    return outcome if "error" not in outcome else {**start(side, flags), "first_try": outcome["error"]}


def start(side: str, flags: list[str]) -> Outcome:
    """Run a side's script and read the JSON line at the end of its output."""
    script = ROOT / "benchmarks" / f"peer_{side}.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FLWR_HOME": str(SCRATCH / "flower-home")}
    environment.pop("PYTHONPATH", None)
    process = subprocess.Popen(
        [str(interpreter(side)), str(script), *flags],
        cwd=SCRATCH,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return {"error": f"longer than {LIMIT:.0f} s"}
    finally:
        _end(process)
    lines = [line for line in output.splitlines() if line.startswith('{"seconds"')]
    if process.returncode or not lines:
        return {"error": errors.strip().replace(str(ROOT), ".")[-500:] or f"exit status {process.returncode}"}
    return _checked(json.loads(lines[-1]))


def _end(process: subprocess.Popen[str]) -> None:
    """Leave no process of a run behind: only the group that we started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        process.wait()


def _checked(outcome: Outcome) -> Outcome:
    """A side that did not learn is an error, however fast it was."""
    if not outcome["loss_after"] < outcome["loss_before"]:
        return {"error": f"did not learn: loss {outcome['loss_before']:.3f} to {outcome['loss_after']:.3f}"}
    return outcome


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


def summarise(runs: list[Run], outcomes: dict[str, Outcome]) -> dict[str, Any]:
    """The result: per model, headline ratios, and everything measured under "detail"."""
    result: dict[str, Any] = {}
    for run in runs:
        model = result.setdefault(run.model, {"flower": None, "pfl": None, "nvflare": None, "detail": {}})
        sides = model["detail"].setdefault(run.configuration.name, {})
        side = sides.setdefault(run.side, {"seconds_each": [], "loads": []})
        if run.key not in outcomes:
            continue
        outcome = dict(outcomes[run.key])
        side["seconds_each"] += outcome.pop("seconds", [])
        side["loads"].append(outcome.pop("load"))  # of the machine over the minute before the run
        outcome.pop("updates", None)
        side |= outcome | {"tolerance": run.configuration.tolerance}
    for model in result.values():
        _add_ratios(model)
    return result


def _add_ratios(model: dict[str, Any]) -> None:
    for sides in model["detail"].values():
        refuse_other_work(sides)
        ours = median(sides["fogline"]["seconds_each"]) if sides["fogline"]["seconds_each"] else None
        for side in sides.values():
            if side["seconds_each"]:
                side["seconds"] = spread(side["seconds_each"])
                side["ratio"] = round(side["seconds"]["median"] / ours, 3) if ours and not refused(sides) else None
    for peer in PINS:
        sides = model["detail"].get((SILOS if peer == "nvflare" else HEADLINE).name, {})
        model[peer] = sides.get(peer, {}).get("ratio")
    population = model["detail"].get(POPULATION.name, {}).get("fogline", {})
    model["population"] = population.get("seconds", {}).get("median")


def show(result: dict[str, Any]) -> None:
    table = Table(
        "model", "cohort", "side", "s/round", "÷ Fogline", "rounds", "moved", title="Median seconds per steady round"
    )
    for model, found in result.items():
        for name, sides in found["detail"].items():
            for side, values in sides.items():
                seconds, ratio = values.get("seconds"), values.get("ratio")
                cells = (f"{seconds['median']:.4f}", f"{ratio:.2f}" if ratio else "–") if seconds else ("failed", "–")
                moved = f"{values['moved']:.4f}" if "moved" in values else "–"
                table.add_row(model, name, side, *cells, str(values.get("rounds", "–")), moved)
    console.print(table)


def refuse_other_work(sides: dict[str, Any]) -> None:
    """Mark a side that did another number of rounds than the plain loop (or the first peer), or moved elsewhere."""
    done = {name: side for name, side in sides.items() if "moved" in side}
    wanted = done.get("loop") or next((side for name, side in done.items() if name != "fogline"), None)
    for side in done.values() if wanted else ():
        apart = abs(side["moved"] / wanted["moved"] - 1)
        if side["rounds"] != wanted["rounds"] or not apart <= side["tolerance"]:
            side["refused"] = (
                f"{side['rounds']} rounds moved the model by {side['moved']:.4f}, where {wanted['rounds']} of the "
                f"plain loop move it by {wanted['moved']:.4f}: that is other work"
            )


def refused(sides: dict[str, Any]) -> list[str]:
    """What is to be said of sides that did other work."""
    return [f"{name}: {side['refused']}" for name, side in sides.items() if "refused" in side]


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
