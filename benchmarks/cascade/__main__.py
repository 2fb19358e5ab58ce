"""What a cascade gains: accuracy against the share of samples that leave the device, and against bytes.

``FOGLINE_DATA=… python -m benchmarks.cascade`` trains three models on Fashion-MNIST (a device's of some kilobytes, a
fog's and a cloud's), fits thresholds on 9,000 training images that were kept back, and reports on the test images.

- ``gap_closed_at_30``: of the difference between the device's accuracy and the cloud's, the share that is won when the
  30 % of the test images go up of which the device is least sure. ``fitted``: the same with the threshold that was
  fitted on the other images to a budget of 30 %, and the share that it really sends.
- ``curves``: the same for other shares, for device with fog, device with cloud and fog with cloud. ``random``: as many
  rows go up, by chance. ``oracle``: as many, of those that the device has wrong and the other right.
- ``bytes``: of a row as it is asked and answered on the wire.
- ``chain``: three tiers, thresholds fitted together to a target (99 % of the cloud's accuracy on the images that were
  kept back, which are easier than the test images for all three) and to budgets.
- ``live``: the first budgets once more with the real messages, all 9,680 images in batches of 32, and the bytes that
  went over each link.
- ``exits``: the cloud's model with an exit behind its first block, on one node. Thresholds are fitted on the images
  that were kept back, so that both exits together are as right as the last one alone, or 99 % of it. Accuracy and the
  share that leaves early are of the test images; microseconds are of one image at a time in ONNX Runtime: ``staged``
  runs no further than the exit that answers, ``whole`` runs all of the model and then chooses, ``bare`` only runs it.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.cascade.exits import measured
from benchmarks.cascade.models import (
    Images,
    Labels,
    cloud_model,
    device_model,
    fog_model,
    images,
    kilobytes,
    logits,
    trained,
)
from benchmarks.common import RESULTS, console, report
from fogline.inference.card import Card, Cascade, Scores, Tensor
from fogline.inference.cascade import CascadePolicyError, fit, fit_chain
from fogline.inference.confidence import confidence
from fogline.registry.release import NodeKind
from fogline.serving.cascade.answering import answer
from fogline.serving.cascade.breaker import Breaker
from fogline.serving.cascade.offloader import Offloader, OffloadResult
from fogline.serving.cascade.wire import OffloadAnswer, OffloadedRows, packed, values

Array = npt.NDArray[Any]
Model = torch.nn.Module
TIERS: tuple[NodeKind, ...] = ("device", "fog", "cloud")
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7)
SCORES = Scores("logits")
BATCH = 32


class Judged(NamedTuple):
    """What a model makes of some images."""

    sure: Array
    right: Array

    @classmethod
    def of(cls, outputs: Array, labels: Labels) -> Judged:
        return cls(confidence(SCORES, {"logits": outputs}), outputs.argmax(1) == labels)

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())


def pair(small: Judged, large: Judged, share: float) -> dict[str, float]:
    """Accuracy when this share goes up: of the least sure, by chance, and by an oracle."""
    count, rows = round(share * len(small.sure)), len(small.sure)
    up = np.argsort(small.sure, kind="stable")[:count]
    gain = large.right.astype(int) - small.right
    base, gap = small.accuracy, large.accuracy - small.accuracy
    accuracy = base + gain[up].sum() / rows
    return {
        "offloaded": round(count / rows, 4),
        "accuracy": round(accuracy, 4),
        "gap_closed": round((accuracy - base) / gap, 4),
        "random": round(base + share * gap, 4),
        "oracle": round(base + min(count, int((gain > 0).sum())) / rows, 4),
    }


def fitted(known: tuple[Judged, Judged], new: tuple[Judged, Judged], share: float) -> dict[str, float]:
    """A threshold fitted to a budget on images that are known, on new ones."""
    cascade = fit(known[0].sure, known[0].right, known[1].right, to="above", budget=share)
    up = new[0].sure < cascade.threshold
    accuracy = float(np.where(up, new[1].right, new[0].right).mean())
    gap = new[1].accuracy - new[0].accuracy
    return {
        "threshold": round(cascade.threshold, 4),
        "offloaded": round(float(up.mean()), 4),
        "accuracy": round(accuracy, 4),
        "gap_closed": round((accuracy - new[0].accuracy) / gap, 4),
    }


def chain(known: list[Judged], new: list[Judged], bytes_up: float, **wanted: Any) -> dict[str, Any]:
    """Both thresholds of three tiers, fitted on images that are known, on new ones."""
    (a, b, c), (x, y, z) = known, new
    try:
        low, high = fit_chain(
            (a.sure, b.sure), (a.right, b.right, c.right), to=("fog", "cloud"), costs=(1.0, 4.0), **wanted
        )
    except CascadePolicyError as error:
        return {"wanted": wanted, "refused": str(error)}
    up = x.sure < low.threshold
    on = up & (y.sure < high.threshold)
    return {
        "wanted": wanted,
        "thresholds": [low.threshold, high.threshold],
        "accuracy": round(float(np.where(on, z.right, np.where(up, y.right, x.right)).mean()), 4),
        "to_fog": round(float(up.mean()), 4),
        "to_cloud": round(float(on.mean()), 4),
        "bytes_per_sample": round(float(up.mean() + on.mean()) * bytes_up, 1),
    }


class Link:
    """Carries asks to a tier in this process, and counts bytes."""

    def __init__(self, infer: Any) -> None:
        self.up = self.down = 0
        self._infer = infer

    async def send(self, ask: bytes, seconds: float) -> bytes:
        reply = await answer(ask, self._infer)
        self.up += len(ask)
        self.down += len(reply)
        return reply


def card(model: str, cascade: Cascade | None) -> Card:
    return Card(
        model=model,
        version=1,
        created=0.0,
        inputs=(Tensor("image", "UINT8", (-1, 1, 28, 28)),),
        outputs=(Tensor("logits", "FP32", (-1, 10)),),
        scores=SCORES,
        cascade=cascade,
    )


async def live(models: Mapping[NodeKind, Model], test: Images, thresholds: list[float]) -> dict[str, Any]:
    """The test images through three tiers, by real messages."""

    async def cloud(name: str, inputs: Mapping[str, Array], left: float, hops: int) -> OffloadResult:
        return OffloadResult({"logits": logits(models["cloud"], inputs["image"])}, "cloud", name, 1)

    async def fog(name: str, inputs: Mapping[str, Array], left: float, hops: int) -> OffloadResult:
        return await own(models["fog"], up, inputs, left, hops, "fog")

    async def own(
        model: Model, offloader: Offloader, inputs: Mapping[str, Array], left: float, hops: int, tier: NodeKind
    ) -> OffloadResult:
        outputs = {"logits": logits(model, inputs["image"])}
        unsure = offloader.unsure(outputs)
        if unsure is None:
            return OffloadResult(outputs, tier, tier, 1)
        return await offloader.improve(inputs, outputs, unsure, left, hops)

    to_cloud, to_fog = Link(cloud), Link(fog)
    up = Offloader(card("fog", Cascade("cloud", thresholds[1])), to_cloud.send, Breaker(), True, 60, "fog")
    first = Offloader(card("device", Cascade("fog", thresholds[0])), to_fog.send, Breaker(), True, 60)
    right = offloaded = 0
    for start in range(0, len(test.y), BATCH):
        rows = slice(start, start + BATCH)
        found = await own(models["device"], first, {"image": test.x[rows]}, 60, 0, "device")
        if found.why:
            raise RuntimeError(f"A row was not offloaded: {found.why}")
        right += int((found.outputs["logits"].argmax(1) == test.y[rows]).sum())
        offloaded += found.offloaded
    count = len(test.y)
    return {
        "accuracy": round(right / count, 4),
        "to_fog": round(offloaded / count, 4),
        "bytes_up_device_fog": to_fog.up,
        "bytes_up_fog_cloud": to_cloud.up,
        "bytes_down": to_fog.down + to_cloud.down,
        "all_to_cloud_bytes_up": count * 28 * 28,
    }


def wire_bytes(test: Images) -> dict[str, int]:
    """Of one row, asked and answered alone."""
    ask = packed(OffloadedRows("cloud", "0" * 16, values({"image": test.x[:1]}), 300))
    reply = packed(OffloadAnswer(values({"logits": np.zeros((1, 10), np.float32)}), "cloud", "cloud", 1))
    return {"ask": len(ask), "answer": len(reply)}


def plot(new: dict[NodeKind, Judged]) -> str | None:
    """Accuracy against share, as a picture beside the results; None without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    shares = np.linspace(0, 1, 101)
    for small, large, colour in (("device", "cloud", "C0"), ("device", "fog", "C1"), ("fog", "cloud", "C2")):
        points = [pair(new[small], new[large], share) for share in shares]
        axes.plot(shares, [p["accuracy"] for p in points], colour, label=f"{small}, then {large}")
        if (small, large) == ("device", "cloud"):
            axes.plot(shares, [p["random"] for p in points], colour, ls=":", label="the same, sent by chance")
            axes.plot(shares, [p["oracle"] for p in points], colour, ls="--", lw=1, label="the same, sent by an oracle")
    axes.axvline(0.3, color="0.8", lw=1, zorder=0)
    axes.set(xlabel="share of samples sent up", ylabel="accuracy on the test images", xlim=(0, 1))
    axes.set_title("Fashion-MNIST: who is asked when the device is unsure", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    RESULTS.mkdir(parents=True, exist_ok=True)
    figure.savefig(RESULTS / "cascade.png", dpi=120)
    return "benchmarks/results/cascade.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a fifth of the images; the result is not saved")
    quick = parser.parse_args().quick
    began = time.process_time()
    torch.manual_seed(0)
    training, known, test = images()
    if quick:
        training = Images(training.x[::5], training.y[::5])
    plans: dict[NodeKind, tuple[Model, int, float]] = {
        "device": (device_model(), 6, 1e-2),
        "fog": (fog_model(), 3, 2e-2),
        "cloud": (cloud_model(), 4, 6e-3),
    }
    models: dict[NodeKind, Model] = {}
    for tier, (model, epochs, rate) in plans.items():
        console.print(f"{tier}: {kilobytes(model)} kB")
        models[tier] = trained(model, training, epochs, rate)
    fitting = {tier: Judged.of(logits(model, known.x), known.y) for tier, model in models.items()}
    new = {tier: Judged.of(logits(model, test.x), test.y) for tier, model in models.items()}

    size = wire_bytes(test)
    pairs: list[tuple[NodeKind, NodeKind]] = [("device", "cloud"), ("device", "fog"), ("fog", "cloud")]
    goal = 0.99 * fitting["cloud"].accuracy
    three = [[judged[tier] for tier in TIERS] for judged in (fitting, new)]
    goals: list[dict[str, Any]] = [
        {"target_accuracy": round(goal, 4)},
        {"budgets": (0.3, 0.1)},
        {"budgets": (0.3, 0.05)},
        {"budgets": (0.2, 0.05)},
    ]
    chains = [chain(three[0], three[1], size["ask"], **wanted) for wanted in goals]
    result: dict[str, Any] = {
        "gap_closed_at_30": pair(new["device"], new["cloud"], 0.3)["gap_closed"],
        "fitted": fitted((fitting["device"], fitting["cloud"]), (new["device"], new["cloud"]), 0.3),
        "accuracy": {tier: round(judged.accuracy, 4) for tier, judged in new.items()},
        "kilobytes": {tier: kilobytes(model) for tier, model in models.items()},
        "bytes": size,
        "curves": {f"{a}-{b}": [pair(new[a], new[b], share) for share in SHARES] for a, b in pairs},
        "chain": chains,
        "live": asyncio.run(live(models, test, chains[1]["thresholds"])),
        "exits": measured(training, known, test, 1 if quick else 4),
        "test_images": len(test.y),
        "fitting_images": len(known.y),
        "cpu_seconds": round(time.process_time() - began, 1),
        "plot": None if quick else plot(new),
    }
    report("cascade", result, keep=not quick)


if __name__ == "__main__":
    main()
