"""Runs go to TensorBoard and MLflow as they go on."""

from __future__ import annotations

import logging
import math
import re
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fogline.jobs import Job
from fogline.jobs.files.reading import parse_job
from fogline.monitoring.progress import Silent
from fogline.monitoring.trackers import base
from fogline.monitoring.trackers.base import Together, Tracker, TrackerError, tracker
from fogline.simulation.run import run
from tests.toy import ToyTask

JOB = """
name = "toy"
task = "toy:task"
rounds = 3
engine = "loop"
processes = 0
[local]
learning_rate = 0.1
[tree.cloud]
"""


class Kept(Tracker):
    """Keeps what it is told; ``stuck`` holds it up."""

    name = "Kept"

    def __init__(self, where: str = "here") -> None:
        super().__init__(where)
        self.told: list[object] = []
        self.threads: set[str] = set()
        self.stuck: threading.Event | None = None
        self.full = False

    def begin(self, job: Job) -> None:
        self.told.append(job.name)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        if self.stuck is not None:
            self.stuck.wait()
        if self.full:
            raise OSError("no space left")
        self.threads.add(threading.current_thread().name)
        self.told.append((step, dict(values)))

    def end(self, finished: bool) -> None:
        self.told.append(finished)


def play(to: Tracker) -> list[dict[str, float]]:
    """A run of three rounds that is tracked; its history."""
    return run(parse_job(JOB), ToyTask(), progress=Together([Silent(), to])).history


def test_a_tracker_is_told_of_numbers_round_by_round() -> None:
    kept = Kept()
    history = play(kept)
    expected = [(i, base.numbers(row)) for i, row in enumerate(history, 1)]
    assert kept.told == ["toy", *expected, True]
    assert kept.threads == {"Kept"}
    assert base.numbers({"round": 1, "loss": math.nan, "rmse": math.inf, "accuracy": 1}) == {"accuracy": 1.0}


@pytest.mark.parametrize(("rounds", "finished"), [(2, False), (3, True)])
def test_who_only_follows_a_job_knows_whether_it_came_to_its_end(rounds: int, finished: bool) -> None:
    kept = Kept()
    kept.started(parse_job(JOB), 1, 1)
    for step in range(1, rounds + 1):
        kept.round({"round": step})
    kept.close()
    kept.close()
    assert kept.told[-1] is finished
    assert len(kept.told) == rounds + 2


def test_a_tracker_that_fails_does_not_fail_the_run(caplog: pytest.LogCaptureFixture) -> None:
    kept = Kept("the disk")
    kept.full = True
    with caplog.at_level(logging.WARNING):
        assert len(play(kept)) == 3
    assert caplog.text.count("Kept (the disk) takes no more of this run: no space left") == 1
    assert kept.told == ["toy"]


def test_a_tracker_that_hangs_does_not_hold_the_run_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(base, "LAST", 0.05)
    kept = Kept()
    kept.stuck = threading.Event()
    with caplog.at_level(logging.WARNING):
        assert len(play(kept)) == 3
    assert "did not take all of the run" in caplog.text
    kept.stuck.set()


@pytest.mark.parametrize("text", ["tensorboard", "tensorboard=", "wandb=x"])
def test_what_names_no_tracker_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(TrackerError, match="tensorboard"):
        tracker(text)


@pytest.mark.parametrize(("name", "library"), [("tensorboard", "tensorboard"), ("mlflow", "mlflow")])
def test_without_its_library_there_is_a_sentence(name: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [one for one in sys.modules if one == library or one.startswith(f"{library}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(TrackerError, match=rf"not installed: pip install 'fogline\[{name}\]'"):
        tracker(f"{name}=here")


class TestTensorBoard:
    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")

    def test_a_run_is_read_back_by_its_own_reader(self, tmp_path: Path) -> None:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        histories = [play(tracker(f"tensorboard={tmp_path}")) for _ in range(2)]
        folders = sorted(tmp_path.iterdir())  # One for each run: of two in one the page would show the later alone.
        for folder, history in zip(folders, histories, strict=True):
            assert re.fullmatch(r"toy-\d{4}-\d\d-\d\d-\d", folder.name)
            found: Any = EventAccumulator(str(folder))
            found.Reload()
            points = [(event.step, event.value) for event in found.Scalars("accuracy")]
            assert points == [(i, pytest.approx(row["accuracy"])) for i, row in enumerate(history, 1)]
            (text,) = found.Tensors("job")
            assert b'name = "toy"' in text.tensor_proto.string_val[0]

    def test_a_folder_that_is_none_stops_the_run_before_it_begins(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(TrackerError, match="cannot be written"):
            play(tracker(f"tensorboard={tmp_path / 'file'}"))


class TestMlflow:
    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("mlflow", reason="the extra mlflow is not installed")

    def test_a_run_is_read_back_by_its_own_client(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from mlflow.tracking import MlflowClient

        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # So that the test needs no server.
        where = (tmp_path / "mlflow").as_uri()
        history = play(tracker(f"mlflow={where}"))
        client = MlflowClient(where)
        experiment = client.get_experiment_by_name("fogline")
        assert experiment is not None
        (found,) = client.search_runs([experiment.experiment_id])
        assert found.info.status == "FINISHED"
        assert found.data.params["algorithm"] == "fedavg"
        assert found.data.params["local.learning_rate"] == "0.1"
        assert 'name = "toy"' in found.data.tags["fogline.job"]
        points = client.get_metric_history(str(found.info.run_id), "accuracy")
        assert [(point.step, point.value) for point in points] == [
            (i, row["accuracy"]) for i, row in enumerate(history, 1)
        ]

    def test_a_server_that_does_not_answer_stops_the_run_before_it_begins(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And soon: MLflow by itself goes on for four minutes."""
        from mlflow import environment_variables

        retries = environment_variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES
        monkeypatch.delenv(retries.name, raising=False)
        to, seen = tracker("mlflow=http://127.0.0.1:9"), list[int]()
        ask = to._client.get_experiment_by_name  # type: ignore[attr-defined]

        def asked(name: str) -> object:
            seen.append(int(retries.get()))
            monkeypatch.setenv(retries.name, "0")
            return ask(name)

        monkeypatch.setattr(to._client, "get_experiment_by_name", asked)  # type: ignore[attr-defined]
        with pytest.raises(TrackerError, match=r"MLflow does not answer at http://127\.0\.0\.1:9"):
            play(to)
        assert seen == [1]
        assert not retries.is_set()
