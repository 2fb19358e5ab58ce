"""A run's folder: what is written is read back, whatever happened in between."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from fogline.jobs import Job
from fogline.jobs.errors import JobError
from fogline.monitoring.folder import RunFolder
from fogline.monitoring.result import Result
from fogline.monitoring.run_files import load_run


@pytest.fixture
def kept(result: Result, tmp_path: Path, no_plots: None) -> RunFolder:
    """A folder that holds the whole run."""
    folder = RunFolder.create(tmp_path / "run", result.job)
    for row in result.history:
        folder.append(row)
    result.folder = folder.finish(result)
    return folder


def test_a_finished_run_is_read_back_whole(kept: RunFolder, result: Result) -> None:
    again = load_run(kept.path)
    assert np.array_equal(again.params.vector, result.params.vector)
    assert np.array_equal(again.params.counters, result.params.counters)
    assert again.params.spec == result.params.spec
    for name in (
        "headline",
        "history",
        "metrics",
        "fogs",
        "devices",
        "held_out",
        "reached",
        "counts",
        "reasons",
        "units",
    ):
        assert getattr(again, name) == getattr(result, name), name
    assert again.job.algorithm == result.job.algorithm
    assert again.summary() == result.summary()


def test_plots_are_there(result: Result, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", result.job)
    folder.finish(result)
    for name in ("learning", "traffic", "devices"):
        assert (folder.path / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_facts_about_the_run_are_there(kept: RunFolder) -> None:
    info = kept.read_info()
    assert info["status"] == "finished"
    assert info["seed"] == 3
    assert {"python", "fogline", "numpy"} <= set(info["versions"])
    assert info["machine"]["cores"] >= 1


@pytest.mark.usefixtures("no_plots")
def test_numbers_that_are_not_finite_leave_valid_json(result: Result, tmp_path: Path) -> None:
    result.metrics["loss"] = math.nan
    result.history = [{"round": 1, "train_loss": math.inf, "accuracy": float(np.float32(0.5))}]
    folder = RunFolder.create(tmp_path / "run", result.job)
    folder.append(result.history[0])
    folder.finish(result)
    for file in (folder.metrics, folder.path / "result.json"):
        json.loads(file.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    again = folder.load()
    assert math.isnan(again.metrics["loss"])
    assert math.isnan(again.history[0]["train_loss"])
    assert again.history[0]["accuracy"] == 0.5


def test_a_row_is_on_disk_before_the_next_one(result: Result, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", result.job)
    for i, row in enumerate(result.history[:3], start=1):
        folder.append(row)
        assert len(RunFolder(folder.path).history()) == i


def test_a_simulation_does_not_go_on_with_the_run_of_a_cloud(result: Result, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "toy-1", result.job, by_cloud=True)
    folder.append({"round": 1.0})
    with pytest.raises(JobError, match=r"is that of a cloud.* begin one of the same job with: fogline simulate .*job"):
        RunFolder.reopen(folder.path)
    assert len(folder.history()) == 1
    with pytest.raises(JobError, match=r"is running after 1 rounds .* its cloud goes on .* jobs show toy-1"):
        folder.load()


def test_rows_after_the_checkpoint_are_dropped_on_resuming(result: Result, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", result.job)
    for row in result.history[:7]:
        folder.append(row)
    with folder.metrics.open("a") as file:
        file.write('{"round": 8, "acc')  # The crash came here.
    (folder.checkpoints / "round-000004").mkdir(parents=True)
    again = RunFolder.reopen(folder.path)
    assert [row["round"] for row in again.truncate(5)] == [1, 2, 3, 4, 5]
    again.append(result.history[5])
    assert again.history() == result.history[:6]
    assert len(again.read_info()["resumed"]) == 1


def test_drafts_of_a_run_that_was_killed_are_swept(result: Result, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", result.job)
    checkpoint = folder.checkpoints / "round-000010"
    checkpoint.mkdir(parents=True)
    drafts = [folder.path / f".job.toml.{8 * '0f'}.part", checkpoint / f".numbers.safetensors.{8 * 'a1'}.part"]
    for draft in drafts:
        draft.write_bytes(b"half")
    RunFolder.reopen(folder.path)
    assert [draft for draft in drafts if draft.exists()] == []


def test_a_run_without_a_checkpoint_begins_anew(result: Result, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", result.job)
    folder.append(result.history[0])
    folder.close()
    assert RunFolder.reopen(folder.path).history() == []


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "interrupted"), (RuntimeError, "failed")])
def test_how_a_run_ended_is_noted(result: Result, tmp_path: Path, error: type[BaseException], status: str) -> None:
    folder = RunFolder.create(tmp_path / "run", result.job)
    with pytest.raises(error), folder:
        raise error
    assert folder.read_info()["status"] == status
    with pytest.raises(JobError, match=f"is {status} after 0 rounds.*go on with: fogline simulate --resume"):
        load_run(folder.path)


def test_a_folder_is_never_overwritten(kept: RunFolder, result: Result) -> None:
    with pytest.raises(JobError, match="holds a run already"):
        RunFolder.create(kept.path, result.job)
    with pytest.raises(JobError, match="has finished; look at it with: fogline show"):
        RunFolder.reopen(kept.path)


def test_fresh_folders_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [RunFolder.create(None, Job(name="my run/1")).path for _ in range(3)]
    assert [name.name.rpartition("-")[2] for name in names] == ["1", "2", "3"]
    assert all(name.parent == Path("runs") and name.name.startswith("my-run-1-20") for name in names)


def test_a_run_that_never_began_is_taken_back(result: Result, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", result.job)
    folder.discard()
    assert not folder.path.exists()
    folder = RunFolder.create(tmp_path / "run", result.job)
    (folder.path / "mine.txt").write_text("keep")
    folder.discard()
    assert [path.name for path in folder.path.iterdir()] == ["mine.txt"]
    folder = RunFolder.create(tmp_path / "run", result.job)
    folder.append(result.history[0])
    folder.discard()
    assert folder.history() == result.history[:1]


def test_a_job_that_cannot_be_written_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="task_parameters"):
        RunFolder.create(tmp_path / "run", Job(task_parameters={"x": object()}))
    assert not (tmp_path / "run").exists()


def test_what_is_no_run_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    existing = RunFolder.create(None, Job()).path.name
    with pytest.raises(JobError, match=f"There is no run in nowhere.*{existing}"):
        load_run("nowhere")
    (Path("runs") / existing / "run.json").write_text("{")
    with pytest.raises(JobError, match="is damaged"):
        load_run(Path("runs") / existing)


def test_a_run_of_another_format_is_refused(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", Job())
    folder.info.write_text(folder.info.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(JobError, match="has format 2; this version of Fogline reads 1"):
        load_run(folder.path)


@pytest.mark.parametrize("name", ["run.json", "result.json", "metrics.jsonl"])
@pytest.mark.parametrize("text", [b"[]\n", b"{\n", b"\xff\xfe\n"], ids=["no table", "cut off", "no text"])
def test_a_damaged_file_is_named(kept: RunFolder, name: str, text: bytes) -> None:
    (kept.path / name).write_bytes(text)
    with pytest.raises(JobError, match=rf"{name}.* is damaged: "):
        load_run(kept.path)


def test_a_finished_run_without_its_result_is_said_to_be_so(kept: RunFolder) -> None:
    (kept.path / "result.json").write_text("{}")
    with pytest.raises(JobError, match="it is no result as this version of Fogline writes it"):
        load_run(kept.path)
    (kept.path / "result.json").unlink()
    with pytest.raises(JobError, match=r"There is no .*result.json, which a finished run has"):
        load_run(kept.path)
