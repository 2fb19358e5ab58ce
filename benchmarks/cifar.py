"""The CIFAR-10 benchmark of pfl-research, on one GPU if there is one.

    python -m benchmarks.cifar [--rounds 1500]

1,000 users of 50 images each (IID), 50 of them a round, 1,500 rounds of one local epoch, batches of 10, SGD at 0.1,
plain averaging, judged every 10 rounds; their CNN. arXiv 2404.06430 reports about 10 minutes on one A100 and about
70 % accuracy. All clients of a round train together in the stacked engine. Without a GPU only a few rounds
are run (`--rounds`, 5 by default): those time this machine's processor, say nothing about the published figure, and
are kept apart, in results/cifar-cpu.json. Our copy of CIFAR-10 went through JPEG, which can cost some accuracy.
"""

import argparse
import time
from typing import Any

import torch

import fogline
from benchmarks.common import console, report
from fogline.training.torch.models import pfl_cnn

ROUNDS = 1500
FEW_ROUNDS = 5
COHORT = 50
PUBLISHED = {"seconds": 600, "device": "NVIDIA A100-40GB", "note": "about 10 minutes, arXiv 2404.06430"}


def main() -> None:
    gpu = torch.cuda.is_available()
    rounds = arguments().rounds or (ROUNDS if gpu else FEW_ROUNDS)
    if not gpu:
        console.print(f"[yellow]no GPU: {rounds} rounds on the processor, not comparable with what is published[/]")
    began = time.perf_counter()
    result = train(rounds, gpu)
    report("cifar" if gpu else "cifar-cpu", figures(result, time.perf_counter() - began, gpu))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help=f"{ROUNDS} on a GPU, {FEW_ROUNDS} without one")
    return parser.parse_args()


def train(rounds: int, gpu: bool) -> fogline.Result:
    data = fogline.load("cifar10_jpeg", partition="iid", clients=1000, seed=0)
    task = fogline.Task(pfl_cnn, data, name="pfl-cnn", device="cuda" if gpu else "cpu")
    on_gpu: dict[str, Any] = {"engine": "stacked", "chunk": COHORT, "processes": 0}
    return fogline.simulate(
        task,
        tree=fogline.Tree(cloud=fogline.Tier(cohort=COHORT)),
        rounds=rounds,
        local={"learning_rate": 0.1, "batch_size": 10, "epochs": 1},
        evaluation={"every": 10},
        name="cifar",
        **(on_gpu if gpu else {}),
    )


def figures(result: fogline.Result, seconds: float, gpu: bool) -> dict[str, Any]:
    complete = gpu and result.job.rounds == ROUNDS
    walls = [row["wall"] for row in result.history]
    return {
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "comparable": complete,
        "note": "the published job" if complete else "a few rounds or no GPU: not comparable with what is published",
        "rounds": result.job.rounds,
        "seconds": round(seconds, 1),
        "seconds_per_round": round((walls[-1] - walls[0]) / max(1, len(walls) - 1), 3),
        "accuracy": round(result.metrics["accuracy"], 4),
        "engine": result.job.engine,
        "chunk": result.job.chunk,
        "published": PUBLISHED,
        "times_faster": round(PUBLISHED["seconds"] / seconds, 2) if complete else None,
    }


if __name__ == "__main__":
    main()
