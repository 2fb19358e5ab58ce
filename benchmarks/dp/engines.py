"""DP-SGD on a device: processor time of a step, beside Opacus.

Both sides train MLP and LeNet on the same examples: Poisson batches, clipped gradients, noise, plain SGD, one thread.
Opacus runs in an environment of its own, in every way that it has to take examples' gradients, and the fastest counts.
Its loader is left out, which would take longer than its steps. First both make steps of all examples without noise,
and must come to the same weights.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import venv
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.common import SCRATCH, console, median
from fogline.data import from_arrays
from fogline.training import ClientJob, LocalMethod, LocalTraining
from fogline.training.example_privacy import ExamplePrivacy
from fogline.training.torch import TorchTask, models

PINS = ("opacus==1.6.0", "opt_einsum==3.4.0")
MODES = ("hooks", "functorch", "ew", "ghost")
DEVICES, EXAMPLES, BATCH, CLIP, RATE = 10, 600, 32, 1.0, 0.05
"""Of MNIST's training set a hundredth for each device, as in McMahan et al. (2017); ten devices fill a stack."""
NOISE = 1.0
SAME = 1e-3
"""How far the two may come apart without noise, as a share of the way."""
MODELS = {"mlp": models.mlp, "lenet": models.lenet}


def environment() -> Path:
    """The interpreter of Opacus's environment, made if it is not there; PyTorch is this environment's."""
    folder = SCRATCH / "venvs" / "opacus"
    python, stamp = folder / "bin" / "python", folder / "pins.txt"
    if stamp.exists() and stamp.read_text() == "\n".join(PINS):
        return python
    with console.status(f"installing {', '.join(PINS)}"):
        venv.create(folder, with_pip=True, symlinks=True, clear=True)
        place = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        found = subprocess.run(place, capture_output=True, text=True, check=True).stdout.strip()
        Path(found, "shared.pth").write_text("\n".join([*sys.path, sysconfig.get_path("purelib")]))
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--no-deps", *PINS], check=True)
    stamp.write_text("\n".join(PINS))
    return python


class Peer:
    """Opacus, in a process of its own."""

    def __init__(self, python: Path, data: Path, result: Path) -> None:
        script = Path(__file__).with_name("run_opacus.py")
        self._process = subprocess.Popen(
            [str(python), str(script), str(data), str(result)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._result = result

    def train(self, **asked: Any) -> float:
        """Seconds of the steps."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return float(json.loads(self._process.stdout.readline())["seconds"])

    @property
    def end(self) -> npt.NDArray[np.float32]:
        """Where it came to last."""
        return np.load(self._result)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


class Ours:
    """One model on our engines."""

    def __init__(self, task: TorchTask) -> None:
        self.task, self.first = task, task.initial(0)

    def train(self, engine: str, local: LocalTraining, devices: int, turn: int) -> tuple[float, npt.NDArray[Any]]:
        """Seconds of a step of one device, and where the first came to. A step more, before, warms up."""
        built, first = self.task.build(engine, LocalMethod(), local), self.first
        assert local.steps is not None
        jobs = [ClientJob(i, first.vector, first.counters, local.steps, RATE, 1000 * turn + i) for i in range(devices)]
        with self.task.one_thread():
            built.train([replace(job, steps=1) for job in jobs])
            begun = process_time()
            done = built.train(jobs)
            seconds = process_time() - begun
        return seconds / local.steps / devices, done[0].end


def compared(name: str, ours: Ours, peer: Peer, steps: int, turns: int) -> dict[str, Any]:
    """Both sides by turns: seconds of a step of one device."""
    apart = _apart(name, ours, peer)
    if not apart < SAME:
        raise SystemExit(f"{name}: without noise, Opacus and we come {apart:.2g} of the way apart.")
    local = LocalTraining(
        learning_rate=RATE, batch_size=BATCH, steps=steps, privacy=ExamplePrivacy(clip=CLIP, noise=NOISE)
    )
    asked = {"model": name, "batch_size": BATCH, "noise": NOISE, "clip": CLIP, "rate": RATE}
    own: dict[str, list[float]] = {"flat": [], "stacked": []}
    theirs: dict[str, list[float]] = {mode: [] for mode in MODES}
    for mode in MODES:
        peer.train(**asked, mode=mode, steps=3)
    for turn in range(turns):
        for mode, times in theirs.items():
            times.append(peer.train(**asked, mode=mode, steps=steps) / steps)
        for engine, times in own.items():
            times.append(ours.train(engine, local, DEVICES if engine == "stacked" else 1, turn)[0])
    medians = {side: median(times) for side, times in {**own, **theirs}.items()}
    best, their_best = min(medians[engine] for engine in own), min(medians[mode] for mode in theirs)
    return {"seconds": medians, "apart": apart, "opacus_over_ours": their_best / best}


def _apart(name: str, ours: Ours, peer: Peer) -> float:
    """How far the two come apart in steps of all examples without noise, as a share of the way."""
    local = LocalTraining(learning_rate=RATE, batch_size=None, steps=3, privacy=ExamplePrivacy(clip=CLIP, noise=0.0))
    end = ours.train("flat", local, 1, 0)[1]
    peer.train(model=name, mode="hooks", batch_size=EXAMPLES, noise=0.0, clip=CLIP, rate=RATE, steps=3)
    return float(np.linalg.norm(end - peer.end) / np.linalg.norm(end - ours.first.vector))


def engines(quick: bool) -> dict[str, Any]:
    """Opacus's time over ours, for both models."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(DEVICES * EXAMPLES, 1, 28, 28)).astype(np.float32)
    y = rng.integers(0, 10, len(x))
    data = from_arrays("random", x, y, np.split(np.arange(len(x)), DEVICES), classes=10)
    sides = {name: Ours(TorchTask(make, data, name=name)) for name, make in MODELS.items()}
    with TemporaryDirectory() as folder:
        given, result = Path(folder) / "data.npz", Path(folder) / "end.npy"
        starts = {name: side.first.vector for name, side in sides.items()}
        np.savez(given, x=x[:EXAMPLES], y=y[:EXAMPLES], **starts)
        peer = Peer(environment(), given, result)
        steps, turns = (20, 3) if quick else (60, 5)
        found = {name: compared(name, side, peer, steps, turns) for name, side in sides.items()}
        peer.close()
    for name, one in found.items():
        console.print(f"{name}: {one}")
    least = min(one["opacus_over_ours"] for one in found.values())
    return {"batch_size": BATCH, "models": found, "dpsgd_over_opacus": least}
