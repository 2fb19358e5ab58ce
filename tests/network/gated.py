"""A task whose loading and trainings wait at gates, sockets of a test's, until the test lets them go on."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from fogline.training.local import ClientJob, LocalResult
from tests.toy import ToyEngine, ToyTask, toy_data

HERE = Path(__file__).parent


def wait_at(gate: str) -> None:
    """Until the test hangs up."""
    if (HERE / gate).exists():
        with socket.socket(socket.AF_UNIX) as line:
            line.connect((HERE / gate).read_text())
            line.recv(1)


class Gated(ToyTask):
    def engines(self) -> dict[str, type[ToyEngine]]:
        return {"loop": GatedEngine}


class GatedEngine(ToyEngine):
    def train(self, jobs: Sequence[ClientJob]) -> list[LocalResult]:
        wait_at("training")
        print("trained", os.getpid(), flush=True)
        print("half a line", end="", file=sys.stderr)
        return super().train(jobs)


def task() -> ToyTask:
    wait_at("loading")
    return Gated(toy_data(2))
