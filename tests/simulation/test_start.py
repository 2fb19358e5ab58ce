"""A run that begins with a model that was trained before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fogline import simulate
from fogline.jobs import JobError
from fogline.params import Params, Spec, save
from tests.toy import ToyTask


def test_a_run_goes_on_from_another_runs_model(tmp_path: Path) -> None:
    task = ToyTask()
    whole = simulate(task, rounds=4, seed=3, folder=tmp_path / "whole", processes=0, progress=False)
    save(tmp_path / "m.safetensors", whole.params)
    again = simulate(task, rounds=1, seed=3, start=tmp_path / "m.safetensors", processes=0, progress=False)
    fresh = simulate(task, rounds=1, seed=3, processes=0, progress=False)
    assert again.metrics["loss"] < fresh.metrics["loss"]
    assert not np.array_equal(again.params.vector, fresh.params.vector)


def test_a_model_of_another_task_is_refused(tmp_path: Path) -> None:
    task = ToyTask()
    save(tmp_path / "m.safetensors", Params.zeros(Spec.of(task.spec.entries[:-1])))
    with pytest.raises(JobError, match="holds another model"):
        simulate(task, rounds=1, start=tmp_path / "m.safetensors", progress=False)
    with pytest.raises(JobError, match="registry is for jobs that run there"):
        simulate(task, rounds=1, start="digits@3", progress=False)
