"""Methods that sum over all devices below a node do not take those that have just gone away for fewer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fogline.aggregation import Update
from fogline.aggregation.rules import make_rule
from fogline.algorithms import group as group_models
from fogline.algorithms import make
from fogline.compute.aggregator import GroupsOnFiles
from fogline.compute.files import write
from fogline.compute.groups import Groups
from fogline.nodes.effects import FoldInput, Move
from fogline.params import Params
from tests.compute.asking import ask, path
from tests.toy import SPEC


def moved(folder: Path, method: str, population: int) -> bytes:
    """The group after a round of two devices, of which so many are still connected."""
    folder.mkdir()
    runner = GroupsOnFiles(Groups(make(method), SPEC, make_rule("mean")), False)
    runner.begin(group_models.root(Params.zeros(SPEC)), path(folder, "m0/group"), path(folder, "m0"), "m0")
    names = ("delta", "control") if method == "scaffold" else ("delta",)
    floats = {name: np.arange(1, SPEC.trainable + 1, dtype=np.float32) for name in names}
    vectors = floats | {"buffers": np.ones(SPEC.floats - SPEC.trainable, np.float32)}
    for name in ("u0", "u1"):
        write(path(folder, name), Update(vectors, dict.fromkeys(vectors, 1.0), np.zeros(SPEC.integers, np.int64)))
    members = (FoldInput("u0", 0, "a"), FoldInput("u1", 0, "b"))
    move = Move("m0", "m1", members, inside=False, round=0, final=True, devices=2)
    assert not ask(runner, move, folder, population=population).refused
    return Path(path(folder, "m1/group")).read_bytes()


@pytest.mark.parametrize("method", ["scaffold", "feddyn", "ef21"])
def test_who_reported_is_counted_though_it_is_away(method: str, tmp_path: Path) -> None:
    both, one, nobody, four = (moved(tmp_path / str(there), method, there) for there in (2, 1, 0, 4))
    assert both == one == nobody
    assert both != four
