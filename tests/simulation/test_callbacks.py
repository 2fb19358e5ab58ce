"""What a function that is told of every round sees, and how it ends a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fogline
from fogline.algorithms import make
from fogline.params import Params
from tests.toy import ToyTask


def simulate(**settings: Any) -> fogline.Result:
    settings = {"rounds": 5, "processes": 0, "progress": False} | settings
    return fogline.simulate(ToyTask(), **settings)


def test_it_sees_row_model_and_state_of_every_round() -> None:
    seen: list[tuple[dict[str, float], Params, Mapping[str, Any]]] = []
    result = simulate(algorithm=make("fedavgm"), on_round=lambda *told: seen.append(told))
    assert [row for row, _, _ in seen] == result.history
    assert np.array_equal(seen[-1][1].vector, result.params.vector)
    velocities = [state["velocity"] for _, _, state in seen]
    assert len({velocity.tobytes() for velocity in velocities}) == 5
    assert not np.array_equal(seen[0][1].vector, seen[1][1].vector)
    for _, model, state in seen:
        for array in (model.vector, model.counters, state["velocity"]):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 7
    with pytest.raises(TypeError):
        seen[0][2]["mine"] = 1  # type: ignore[index]


def test_it_ends_the_run_which_then_is_a_whole_one(tmp_path: Path) -> None:
    def stop(row: Any, model: Any, state: Any) -> Any:
        return fogline.STOP if row["round"] == 3 else None

    result = simulate(on_round=stop, folder=tmp_path / "run")
    assert len(result.history) == 3
    assert fogline.load_run(tmp_path / "run").history == result.history
    assert np.array_equal(result.params.vector, simulate(rounds=3).params.vector)


def test_what_it_raises_ends_the_run_with_its_line() -> None:
    def wrong(row: Any, model: Any, state: Any) -> None:
        if row["round"] == 2:
            raise KeyError("mine")

    line = wrong.__code__.co_firstlineno + 2
    with pytest.raises(fogline.CodeError, match=rf"^Round 2: on_round raised KeyError: 'mine' \(.*, line {line}\)$"):
        simulate(on_round=wrong)


def test_what_it_returns_is_nothing_or_stop() -> None:
    with pytest.raises(fogline.CodeError, match=r"^Round 1: on_round returned True; it must return nothing, or fog"):
        simulate(on_round=lambda *_: True)


def test_rounds_that_are_repeated_from_a_checkpoint_are_not_told(tmp_path: Path) -> None:
    simulate(folder=tmp_path / "run")
    rounds: list[float] = []
    simulate(folder=tmp_path / "run", resume=True, rounds=7, on_round=lambda row, *_: rounds.append(row["round"]))
    assert rounds == [6, 7]
