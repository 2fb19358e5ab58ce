"""A short run of the fuzzing of everything that decodes bytes from outside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.fuzz.feeding import run
from fogline.aggregation import Update
from fogline.algorithms import group as groups
from fogline.algorithms import make
from fogline.network.worker.files import read_group, write
from fogline.network.worker.groups import Groups
from fogline.network.worker.requests import Member, Move
from tests.toy import SPEC, ToyTask


@pytest.mark.filterwarnings("ignore")
def test_what_decodes_refuses_in_its_own_words(tmp_path: Path) -> None:
    result = run(6000, [], 1, tmp_path)
    assert {name: target["findings"] for name, target in result["targets"].items() if target["findings"]} == {}


@pytest.mark.parametrize("size", [1, 11, 13])
@pytest.mark.parametrize("liars", [1, 3])
def test_updates_that_do_not_fit_are_refused_and_the_group_lives(size: int, liars: int, tmp_path: Path) -> None:
    work = Groups(make("fedavg"), SPEC, exact=False)
    start = groups.root(ToyTask().initial(0))
    work.put(start, str(tmp_path / "base"), str(tmp_path / "sent"))
    members = []
    for i in range(3):
        n = size if i < liars else SPEC.trainable
        vectors = {"delta": np.ones(n, np.float32), groups.BUFFERS: np.ones(4, np.float32)}
        update = Update(vectors, dict.fromkeys(vectors, 1.0), np.ones(1, np.int64))
        write(str(tmp_path / str(i)), update)
        members.append(Member(str(tmp_path / str(i)), f"client-{i}", 0))
    request = Move(str(tmp_path / "base"), tuple(members), False, 3, 0, str(tmp_path / "g"), str(tmp_path / "m"))
    assert {child for child, _ in work.move(request).refused} == {f"client-{i}" for i in range(liars)}
    moved = read_group(str(tmp_path / "g"))
    assert np.array_equal(moved.vector, start.vector) == (liars == 3)
