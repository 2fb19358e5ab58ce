"""A run's folder: everything that is needed to understand the run, to repeat it and to go on with it.

==================== ====================================================================================
``job.toml``         the resolved job, every default filled in
``run.json``         format, seed, versions, machine, times, and whether it is running, finished, interrupted or failed
``metrics.jsonl``    one row a round (:data:`fogline.monitoring.result.Row`), written as they come
``nodes.json``       who is in the simulated tree (:class:`fogline.monitoring.tree_state.TreeNodes`)
``tree.json``        how they stand, written over and over (:class:`fogline.monitoring.tree_state.TreeSnapshot`)
``checkpoints/``     what a resumed run needs (:mod:`fogline.simulation.checkpoint`)
``model.safetensors`` the global model
``result.json``      metrics, spreads, counts: what :class:`Result` holds beside the above
``baselines.json``   what the model is compared with, by name (:class:`fogline.monitoring.record.Baseline`), where asked
                     for; written as each is made
``plots/*.png``      figures, where matplotlib is installed
==================== ====================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from fogline import params
from fogline.jobs import Job
from fogline.jobs.errors import JobError
from fogline.jobs.files.reading import read_job
from fogline.monitoring.json_files import baselines_of, result_of, row_of
from fogline.monitoring.result import Baseline, Result, Row

FORMAT = 1
"""Format of a run's folder: it changes when a file of it means something else."""
RUNS = Path("runs")
"""Where runs are kept that name no folder."""


class RunFiles:
    """What lies in a run's folder, and what it says. Nothing is made or changed here.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def job_file(self) -> Path:
        """Where the resolved job lies."""
        return self.path / "job.toml"

    @property
    def info(self) -> Path:
        """Seed, versions, machine, times and status."""
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        """Where the metrics lie, one row a round."""
        return self.path / "metrics.jsonl"

    @property
    def nodes(self) -> Path:
        """Who is in the tree."""
        return self.path / "nodes.json"

    @property
    def tree(self) -> Path:
        """How they stand."""
        return self.path / "tree.json"

    @property
    def model(self) -> Path:
        """Where the global model lies."""
        return self.path / "model.safetensors"

    @property
    def checkpoints(self) -> Path:
        """Folder of the run's checkpoints."""
        return self.path / "checkpoints"

    @property
    def baselines(self) -> Path:
        """Where the baselines lie that were made so far."""
        return self.path / "baselines.json"

    @property
    def answers(self) -> Path:
        """What devices have answered to queries while the run goes on; at its end it is in the result."""
        return self.path / "queries.json"

    @property
    def judged(self) -> Path:
        """What devices of a cloud's run found of the model that they judged last, while the run goes on."""
        return self.path / "judged.json"

    @property
    def result_file(self) -> Path:
        """Where a finished run's metrics, spreads and counts lie."""
        return self.path / "result.json"

    def read_info(self) -> dict[str, Any]:
        """What ``run.json`` says.

        Raises:
            JobError: there is no run here, the file is damaged, or another version of Fogline wrote the folder.
        """
        try:
            info = _read_json(self.info)
        except (FileNotFoundError, NotADirectoryError):
            raise JobError(f"There is no run in {self.path}: it has no {self.info.name}{self._others()}") from None
        if info.get("format") != FORMAT:
            raise JobError(
                f"The run in {self.path} has format {info.get('format')}; this version of Fogline reads {FORMAT}. Look "
                "at it with the version that wrote it."
            )
        if "status" not in info:
            raise JobError(f"{self.info} is damaged: it does not say how the run stands")
        return info

    @property
    def is_finished(self) -> bool:
        """Whether it holds a whole run."""
        return self.read_info()["status"] == "finished"

    def read_job(self, overrides: Sequence[str] = ()) -> Job:
        """The resolved job, with ``key=value`` overrides on top."""
        return read_job(self.job_file, overrides)

    def task_folder(self) -> Path | None:
        """The folder that the task was imported from."""
        folder = self.read_info().get("task_folder")
        return None if folder is None else Path(folder)

    def task_unnamed(self) -> str:
        """Why a task that was given in Python cannot be named; empty if it can."""
        return str(self.read_info().get("task_unnamed") or "")

    def history(self) -> list[Row]:
        """The rows written so far; a last line that a crash cut off does not count.

        Raises:
            JobError: another one is damaged.
        """
        if not self.metrics.is_file():
            return []
        try:
            return [row_of(line) for line in self.metrics.read_text("utf-8").split("\n")[:-1]]
        except (ValueError, AttributeError) as error:
            raise JobError(f"{self.metrics} is damaged: {error}") from error

    def load(self) -> Result:
        """The finished run.

        Raises:
            JobError: there is no run, it has not finished, or its model cannot be read; the sentence says how to go on.
        """
        info = self.read_info()
        by_cloud = info.get("by_cloud") is True
        if info["status"] != "finished":
            how = f"its cloud goes on with it, see: fogline jobs show {self.path.name}"
            if not by_cloud:
                how = f"go on with: fogline simulate --resume {self.path}"
            raise JobError(
                f"The run in {self.path} is {info['status']} after {len(self.history())} rounds and has no result yet; "
                f"{how}"
            )
        file = self.result_file
        try:
            facts = result_of(file.read_text("utf-8"))
        except FileNotFoundError:
            raise JobError(f"There is no {file}, which a finished run has; run the job again") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise JobError(f"{file} is damaged: it is no result as this version of Fogline writes it") from error
        job, history, model = self.read_job(), self.history(), read_model(self.model)
        made = {name: one for name, one in self.read_baselines().items() if one.rounds == len(history)}
        return Result(
            job=job, params=model, history=history, folder=self.path, baselines=made, by_cloud=by_cloud, **facts
        )

    def read_baselines(self) -> dict[str, Baseline]:
        """The baselines that were made so far, by name."""
        if not self.baselines.exists():
            return {}
        return baselines_of(self.baselines.read_text("utf-8"))

    def _others(self) -> str:
        found = sorted(path.parent.name for path in RUNS.glob("*/run.json"))
        return f"; the last one in {RUNS}/ is {found[-1]}" if found else ""


def read_model(path: Path) -> params.Params:
    """The weights in a file.

    Raises:
        JobError: it is missing or damaged.
    """
    try:
        return params.load(path)
    except OSError as error:
        raise JobError(f"There is no model in {path}: {error.strerror}.") from error
    except ValueError as error:
        raise JobError(f"The model in {path} cannot be read. {error}") from error


def load_run(path: str | Path) -> Result:
    """The result of a finished run, from its folder.

    Raises:
        JobError: there is no finished run.
    """
    return RunFiles(Path(path)).load()


def _read_json(path: Path) -> dict[str, Any]:
    """The table in a file; one that is not there is an ``OSError``.

    Raises:
        JobError: it holds something else.
    """
    try:
        facts = json.loads(path.read_bytes())
    except IsADirectoryError:
        raise JobError(f"{path} is damaged: it is a folder") from None
    except (ValueError, RecursionError) as error:
        raise JobError(f"{path} is damaged: {error}") from error
    if not isinstance(facts, dict):
        raise JobError(f"{path} is damaged: it holds no table")
    return cast("dict[str, Any]", facts)
