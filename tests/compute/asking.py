"""Effects carried out on files that are named as their keys are."""

from __future__ import annotations

from pathlib import Path

from fogline.compute.aggregator import GroupsOnFiles
from fogline.compute.effects import AggregatorEffect, CarriedOut, CarryOut, makes, members_of, needed


def ask(
    runner: GroupsOnFiles, effect: AggregatorEffect, folder: Path, earlier: int = 0, population: int = 0
) -> CarriedOut:
    """Carry it out in a folder."""
    updates = [member.update for member in members_of(effect)]
    reads = {key: path(folder, key) for key in (*needed(effect), *updates)}
    writes = {key: path(folder, key) for key in makes(effect)}
    return runner.carry_out(CarryOut(effect, reads, writes, earlier, population))


def path(folder: Path, key: str) -> str:
    """The file of a key."""
    return str(folder / key.replace("/", "-"))
