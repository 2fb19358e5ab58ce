"""Engines are compared with the reference wherever one is chosen, and the reasons are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from fogline import FedAvg, simulate
from fogline.jobs import JobError
from fogline.jobs.files.reading import read_job
from fogline.monitoring.progress import Silent
from fogline.network.worker.job_worker import JobWorker
from fogline.network.worker.requests import Open
from fogline.params import Params
from fogline.training.choosing.engine_check import EngineCheck
from fogline.training.local import ClientJob
from fogline.training.torch.engines.stacked import Flat
from tests.training.cohorts import task_of

ODD_TASK = '''
import random
from torch import nn
from fogline import Task
from fogline.data import Examples, from_clients
import numpy as np

unknown = random.Random(0)
rng = np.random.default_rng(0)


class Deciding(nn.Module):
    """Decides by a generator that nobody seeds."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.first(x) if unknown.random() < 0.4 else x)


def client(n):
    return Examples(rng.normal(size=(n, 8)).astype(np.float32), rng.integers(0, 5, n))


def task(odd: bool = True):
    make = Deciding if odd else lambda: nn.Linear(8, 5)
    return Task(make, from_clients("d", {"a": client(23), "b": client(31)}, classes=5))
'''
JOB = """
task = "odd_task_of_nodes:task"
rounds = 2
engine = "flat"
task_parameters = { odd = ODD }
"""


class Heard(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class Draws(nn.Module):
    """Flat draws what the reference draws; devices that step together would share it."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout, self.linear = nn.AlphaDropout(0.2), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.dropout(x))


@pytest.mark.parametrize("processes", [0, 2])
def test_reasons_are_shown_and_kept(processes: int, tmp_path: Path) -> None:
    heard, settings = Heard(), {"rounds": 2, "processes": processes}
    result = simulate(task_of(Draws), progress=heard, folder=tmp_path / "run", **settings)  # type: ignore[arg-type]
    reference = simulate(task_of(Draws), engine="loop", progress=False, **settings)  # type: ignore[arg-type]
    np.testing.assert_allclose(result.params.vector, reference.params.vector, rtol=1e-4, atol=1e-6)
    assert result.job.engine == "flat"
    assert heard.notes == [f"Engine stacked is not used: {result.job.engines_refused['stacked']}"]
    assert "draws random numbers" in heard.notes[0] or "vmap" in heard.notes[0]
    kept = read_job(tmp_path / "run" / "job.toml")
    assert kept.engines_refused == result.job.engines_refused
    assert kept.engine_compared.startswith("flat-")
    assert "stacked" in result.summary()


def test_an_engine_by_hand_is_refused_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(JobError, match="Engine 'stacked' cannot run this job: the model"):
        simulate(task_of(Draws), engine="stacked", rounds=1, processes=0, progress=False)


def test_what_a_run_compared_is_not_compared_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"rounds": 1, "processes": 0, "progress": False}
    simulate(task_of(Draws), folder=tmp_path / "run", engine="flat", **settings)  # type: ignore[arg-type]
    key = read_job(tmp_path / "run" / "job.toml").engine_compared
    monkeypatch.setattr("fogline.training.choosing.engine_check._VERDICTS", {})
    monkeypatch.setattr(EngineCheck, "_compare", lambda *_: "it was compared again.")
    task = task_of(Draws)
    start = task.initial(0)
    trust = EngineCheck(task, *_method_and_local(tmp_path), _first_jobs(task, start, tmp_path), key)
    assert trust.key("flat") == key
    assert trust.refuses("flat") is None


def _method_and_local(folder: Path):
    from fogline.algorithms import make
    from fogline.jobs.planning import local_training

    job = read_job(folder / "run" / "job.toml")
    return make(job.algorithm.name), local_training(job)


def _first_jobs(task, start: Params, folder: Path) -> list[ClientJob]:
    from fogline.jobs.planning import planner

    plan = planner(read_job(folder / "run" / "job.toml"), task.data, FedAvg())
    plans = [plan(client, 0, 0) for client in range(len(task.data.clients))]
    return [
        ClientJob(client, start.vector, start.counters, one.steps, one.learning_rate, one.seed)
        for client, one in enumerate(plans)
    ]


@pytest.mark.parametrize("odd", [False, True])
def test_a_real_node_compares_on_its_own_data(odd: bool, tmp_path: Path) -> None:
    (tmp_path / "odd_task_of_nodes.py").write_text(ODD_TASK)
    worker = JobWorker(Open(folder=str(tmp_path), text=JOB.replace("ODD", str(odd).lower()), client="b"))
    assert worker.open().samples == 31
    start = worker.task.initial(0)
    first = ClientJob(worker.client, start.vector, start.counters, 4, 0.1, 7)
    if odd:
        with pytest.raises(ValueError, match="Engine 'flat' cannot run this job: it gives other numbers than 'loop'"):
            worker.engine(first)
    else:
        engine = worker.engine(first)
        assert isinstance(engine, Flat)
        assert worker.engine(first) is engine
