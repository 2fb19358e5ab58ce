"""Robust rules: how accurate a model gets in spite of malicious devices, and how fast they are beside ByzFL's.

    python -m benchmarks.byzantine [--quick] [--steps N] [--only NAME] [--similarity S ...]
    python -m benchmarks.byzantine --table
    python -m benchmarks.byzantine --rules [--quick] [--python PATH]

Alone: ByzFL's grid on MNIST (Gonzalez et al., 2025), flat and in two tiers: ten honest devices and f
malicious ones, 800 steps on batches of 25, momentum 0.9, a step of 0.1; clipping, nearest-neighbour mixing and a rule;
``worst`` is the least accuracy over sign flip, and IPM and ALIE whose strength is searched for in every step. In two
tiers: twenty devices below five fogs, of which three devices are malicious, each below another fog, or one fog.
``--quick``: similarity 1 and 0.33, f = 3, the trimmed mean, 200 steps; not kept. What was measured is not measured
again (``.benchmarks/byzantine``).

With ``--table``: a small model on scikit-learn's digits, each rule against each attack (``table.py``).

With ``--rules``: twenty updates of 2 million float32 lie in files (in the page cache), as they do on a node: each rule
takes them, looks at every number, and combines them. ByzFL combines the same numbers, which it has in memory as one
matrix, in a process and an environment of its own (``--python``: its interpreter; without, one is made below
``.benchmarks`` that shares what is installed here). It gets them as a PyTorch tensor and as a NumPy array, and the
faster of the two counts. The sides take turns. Seconds are the processor's, of all threads, so that a busy machine does
not decide.

- ``rules``: of each, seconds of both sides (medians), their ratio, and the largest difference of their results.
- ``byzfl_over_ours``: the median of the ratios; ``least_byzfl_over_ours``: the smallest.
- ``ours_alone``: seconds of rules that ByzFL does not have.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.byzantine.pairs import ALONE, PAIRS, Rules
from benchmarks.common import SCRATCH, console, median, report
from fogline.aggregation import Update
from fogline.aggregation.gathering import as_it_is
from fogline.aggregation.rules import make_rule
from fogline.params import map_arrays, save_arrays

PIN = "byzfl==0.0.11"
UPDATES = 20
HERE = Path(__file__).parent


class Peer:
    """ByzFL in its process: one line asks for a rule, one line answers.

    Args:
        python: the interpreter of its environment.
        table: file of the updates, (updates, numbers).
        result: file that its results are written to.
    """

    def __init__(self, python: Path, table: Path, result: Path) -> None:
        self._result = result
        command = [str(python), str(HERE / "run_byzfl.py"), str(table), str(result)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, calls: Sequence[Any], kind: str) -> float:
        """Seconds of those rules, one after the other. ``kind``: torch or numpy."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"calls": calls, "kind": kind}) + "\n")
        self._process.stdin.flush()
        return float(json.loads(self._process.stdout.readline())["seconds"])

    @property
    def result(self) -> npt.NDArray[np.float32]:
        """What came of it last."""
        return np.load(self._result)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def environment() -> Path:
    """The interpreter of ByzFL's environment, made if it is not there."""
    folder = SCRATCH / "venvs" / "byzfl"
    python = folder / "bin" / "python"
    if not python.exists():
        with console.status(f"installing {PIN}"):
            venv.create(folder, with_pip=True, symlinks=True)
            found = subprocess.run(
                [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            Path(found.stdout.strip(), "shared.pth").write_text("\n".join([*sys.path, sysconfig.get_path("purelib")]))
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--no-deps", PIN], check=True)
    return python


def ours(rules: Rules, paths: list[Path]) -> tuple[float, npt.NDArray[np.float32]]:
    """Seconds of a rule on updates that lie in files, and what comes of it."""
    begun = process_time()
    fold = make_rule(rules).fold(as_it_is)
    for path in paths:
        fold.add(Update.from_arrays(map_arrays(path)))
    made = fold.finish().mean("delta")
    return process_time() - begun, made


def compare(peer: Peer, rules: Rules, calls: Sequence[Any], paths: list[Path], turns: int) -> dict[str, float]:
    """Both sides by turns."""
    own: list[float] = []
    theirs: dict[str, list[float]] = {"torch": [], "numpy": []}
    difference = 0.0
    for _ in range(turns):
        seconds, made = ours(rules, paths)
        spent = {kind: peer.run(calls, kind) for kind in theirs}
        difference = max(difference, float(np.abs(made - peer.result).max()))  # The last one is NumPy's.
        own.append(seconds)
        for kind, times in theirs.items():
            times.append(spent[kind])
    best = min(median(times) for times in theirs.values())
    return {
        "seconds": median(own), "byzfl_seconds": best, "byzfl_over_ours": best / median(own), "difference": difference
    }  # fmt: skip


def time_rules(quick: bool, python: Path) -> dict[str, Any]:
    """All pairs, and what we have alone."""
    size, turns = (200_000, 1) if quick else (2_000_000, 3)
    rng = np.random.default_rng(0)
    table = (rng.normal(size=size) + rng.normal(size=(UPDATES, size))).astype(np.float32)
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i}" for i in range(UPDATES)]
        for path, row in zip(paths, table, strict=True):
            save_arrays(path, Update({"delta": row}, {"delta": 1.0}).to_arrays())
        np.save(Path(folder) / "table.npy", table)
        peer = Peer(python, Path(folder) / "table.npy", Path(folder) / "result.npy")
        pairs: dict[str, dict[str, float]] = {}
        for name, (rules, calls) in PAIRS.items():
            pairs[name] = compare(peer, rules, calls, paths, turns)
            console.print(f"{name}: {pairs[name]}")
        peer.close()
        alone = {name: median(ours(rules, paths)[0] for _ in range(turns)) for name, rules in ALONE.items()}
    ratios = [pair["byzfl_over_ours"] for pair in pairs.values()]
    return {
        "updates": UPDATES,
        "parameters": size,
        "rules": pairs,
        "byzfl_over_ours": median(ratios),
        "least_byzfl_over_ours": min(ratios),
        "largest_difference": max(pair["difference"] for pair in pairs.values()),
        "ours_alone": alone,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rules", action="store_true", help="time the rules")
    parser.add_argument("--table", action="store_true", help="every rule against every attack, on a small model")
    parser.add_argument("--quick", action="store_true", help="fewer cells, or less to time; the result is not saved")
    parser.add_argument("--steps", type=int, help="of each run of the grid, in place of the paper's")
    parser.add_argument("--only", default="", help="how the names of the grid's settings begin that are run")
    parser.add_argument("--similarity", type=float, nargs="+", help="of the grid, in place of 1, 0.66, 0.33 and 0")
    parser.add_argument("--python", type=Path, help="interpreter of an environment that has ByzFL")
    given = parser.parse_args()
    if given.table:
        from benchmarks.byzantine.table import table

        report("byzantine_table", table())
        return
    if not given.rules:
        from benchmarks.byzantine.grid import grid  # Timing rules needs no model.

        whole = not (given.quick or given.steps or given.only or given.similarity)
        report("byzantine", grid(given.quick, given.steps, given.only, given.similarity), keep=whole)
        return
    report("byzantine_rules", time_rules(given.quick, given.python or environment()), keep=not given.quick)


if __name__ == "__main__":
    main()
