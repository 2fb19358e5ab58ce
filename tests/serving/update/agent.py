"""An agent process that is killed at a gate: a program with the arguments FOLDER SCENARIO GATE."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from fogline.retries import Backoff
from fogline.serving.update import turn
from tests.serving.update.updating import WORSE, Edge, Parent

PREPARED = {"first": 0, "update": 1, "worse": 1, "rollback": 2, "shadow": 1}
"""Versions that are installed before a scenario begins."""
GOAL = {"first": 1, "update": 2, "worse": 1, "rollback": 1, "shadow": 1}
"""Version that is served in the end."""


def release(parent: Parent, scenario: str) -> None:
    """What the scenario is about."""
    number = PREPARED[scenario] + 1
    match scenario:
        case "rollback":
            parent.release(number, 1)
        case "shadow":
            parent.release(number, 2, base=1, mode="shadow")
        case _:
            parent.release(number, number, base=number - 1 or None)


def over(edge: Edge, scenario: str) -> bool:
    """Whether it is."""
    number = PREPARED[scenario] + 1
    if edge.state.release is None or edge.state.release.number != number or not edge.idle:
        return False
    match scenario:
        case "worse":
            return edge.state.refuses(number)
        case "shadow":
            return edge.state.shadow is not None
        case _:
            return edge.committed == GOAL[scenario]


def burden(edge: Edge, scenario: str) -> None:
    """How versions fare in it."""
    if scenario == "worse":
        edge.vitals[2] = WORSE["failing"]


async def prepare(folder: Path, scenario: str) -> None:
    """Install what is there before."""
    folder.mkdir()
    async with Edge(folder, Parent()) as edge:
        for version in range(1, PREPARED[scenario] + 1):
            await edge.serve(version, version, base=version - 1 or None)


async def agent(folder: Path, scenario: str, at: int) -> None:
    """Run the scenario and die at a gate; print how many there are."""
    count = 0

    def gate(_: str) -> None:
        nonlocal count
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)

    parent = Parent()
    release(parent, scenario)
    edge = Edge(folder, parent, gate)
    burden(edge, scenario)
    edge.start()
    edge.fresh()
    await edge.until(lambda edge: over(edge, scenario))
    print(count)
    sys.stdout.flush()
    os._exit(0)


def main() -> None:
    turn.UPDATE_AGAIN = Backoff(0.02, 300.0)
    asyncio.run(agent(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
