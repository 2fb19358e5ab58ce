"""The folder of a run that is made or goes on: begun, written round by round, finished or taken back.

What lies in one, and how it is read, stands in :mod:`fogline.monitoring.run_files`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

from fogline import params
from fogline.jobs import Job
from fogline.jobs.errors import JobError
from fogline.jobs.files.naming import TaskOrigin
from fogline.jobs.files.writing import job_to_toml
from fogline.jobs.loading import task_folder
from fogline.monitoring.json_files import facts_of, line_of, write_json
from fogline.monitoring.machine import machine, versions
from fogline.monitoring.result import Baseline, Result, Row
from fogline.monitoring.run_files import FORMAT, RUNS, RunFiles
from fogline.storage.atomic import sweep_drafts, write_file
from fogline.user_code.bugs import CodeError

Status = Literal["running", "finished", "interrupted", "failed"]


class FolderError(OSError):
    """A run's folder cannot be written (the disk is full, the folder is gone); the text is a sentence.

    Args:
        path: the folder.
        rounds: rounds that it holds.
        error: what the system said.
    """

    result: Result | None = None
    """The result of a run that came to its end, and could not be kept."""

    def __init__(self, path: Path, rounds: int, error: OSError) -> None:
        super().__init__(
            f"The run's folder {path} cannot be written ({_said(error)}). It holds {rounds} rounds; mend that, and go "
            f"on with: fogline simulate --resume {path} (in Python, resume=True)"
        )


class RunFolder(RunFiles):
    """The folder of one run, to be written. As a context manager it notes how the run ended.

    Args:
        path: the folder. Nothing is made or read here: see :meth:`create` and :meth:`reopen`.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._metrics: IO[str] | None = None
        self._new = False

    @classmethod
    def create(cls, path: Path | None, job: Job, origin: TaskOrigin | None = None, by_cloud: bool = False) -> RunFolder:
        """Begin a new run.

        Args:
            path: the folder; a fresh ``runs/<job>-<UTC date>-<n>`` if None.
            job: what is to be run.
            origin: where its task came from, if it was given in Python.
            by_cloud: whether a cloud runs it on real nodes.

        Raises:
            JobError: the folder holds a run already or cannot be one, or the job holds what a job file cannot say.
        """
        origin = origin or TaskOrigin(job.task, folder=task_folder(job))
        text = job_to_toml(job, note=_note_on(origin.why))  # Before there is a folder: it may not be possible.
        try:
            if path is not None and (path / "run.json").exists():
                raise JobError(
                    f"{path} holds a run already; go on with it (fogline simulate --resume {path}; in Python, "
                    "resume=True), or name another folder"
                )
            folder = cls(path if path is not None else fresh_folder(RUNS, job.name))
            folder.path.mkdir(parents=True, exist_ok=True)
            facts = {
                "format": FORMAT,
                "status": "running",
                "seed": job.seed,
                "started": _now(),
                "versions": versions(),
                "by_cloud": by_cloud,
            }
            task = {"task_folder": None if origin.folder is None else str(origin.folder), "task_unnamed": origin.why}
            write_json(folder.info, facts | {"machine": machine()} | task)
            write_file(folder.job_file, text, durable=False)
            folder.metrics.write_text("")
        except OSError as error:
            raise JobError(f"{path or RUNS} cannot hold a run: {_said(error)}; name another folder") from error
        folder._new = True
        return folder

    @classmethod
    def keep(cls, source: Path, name: str, origin: Path) -> RunFolder:
        """Copy a cloud's run of a job of that name to a fresh folder; ``origin``: where its task lies."""
        folder = cls(fresh_folder(RUNS, name))
        shutil.copytree(source, folder.path, dirs_exist_ok=True)
        folder._note({"task_folder": str(origin.resolve())})
        return folder

    @classmethod
    def reopen(cls, path: Path, changed: bool = False) -> RunFolder:
        """Go on with a run. Without a checkpoint it begins anew, so its rows are dropped.

        ``changed``: whether its job has, so that also a finished run has something to do.

        Raises:
            JobError: there is no run, it has finished, or real nodes ran it.
        """
        folder = cls(path)
        info = folder.read_info()
        if info.get("by_cloud") is True:
            raise JobError(
                f"The run in {path} is that of a cloud, and a simulation cannot go on with it; begin one of the same "
                f"job with: fogline simulate {folder.job_file}"
            )
        if info["status"] == "finished" and not changed:
            raise JobError(
                f"The run in {path} has finished; look at it with: fogline show {path}, "
                f"or give it more rounds: fogline simulate --resume {path} --set rounds=N"
            )
        sweep_drafts(path, *folder.checkpoints.glob("*/"))  # A run that was killed left them.
        if not any(folder.checkpoints.glob("round-*")):
            folder.truncate(0)
        folder._note({"status": "running", "resumed": [*info.get("resumed", []), _now()]})
        return folder

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self.close()
        if kind is None or not self.info.exists():
            return
        if self._new and issubclass(kind, JobError | CodeError):
            self.discard()
        if self.info.exists():
            with suppress(OSError):  # A full disk: what ended the run says so.
                self.mark("interrupted" if issubclass(kind, KeyboardInterrupt) else "failed")

    @contextmanager
    def writing(self) -> Generator[None]:
        """What is written into the folder, in one place: what the system refuses is told as one sentence.

        Raises:
            FolderError: it cannot be written.
        """
        try:
            yield
        except OSError as error:
            raise FolderError(self.path, len(self.history()), error) from error

    def write_job(self, job: Job) -> None:
        """Write the resolved job (again, once the engine is chosen)."""
        write_file(self.job_file, job_to_toml(job, note=_note_on(self.task_unnamed())), durable=False)

    def note_metric(self, headline: str, unit: str, higher_is_better: bool) -> None:
        """Note by which metric the run is judged, for who looks on while it runs."""
        self._note({"headline": headline, "unit": unit, "higher_is_better": higher_is_better})

    def truncate(self, rounds: int) -> list[Row]:
        """Keep the rows of the first ``rounds`` rounds only; they are returned."""
        self.close()
        rows = [row for row in self.history() if row["round"] <= rounds]
        write_file(self.metrics, "".join(line_of(row) for row in rows), durable=False)
        return rows

    def append(self, row: Row) -> None:
        """Write a round's row; it is on disk when this returns, bar a power cut."""
        with self.writing():
            if self._metrics is None:
                self._metrics = self.metrics.open("a", encoding="utf-8")
            self._metrics.write(line_of(row))
            self._metrics.flush()

    def finish(self, result: Result) -> Path:
        """Write the model, the result and, where matplotlib is installed, the plots; the folder's path.

        Raises:
            FolderError: it cannot be written; it has the result.
        """
        self.close()
        try:
            with self.writing():
                self._finish(result)
        except FolderError as error:
            error.result = result
            raise
        return self.path

    def _finish(self, result: Result) -> None:
        params.save(self.model, result.params)
        facts = {
            "headline": result.headline,
            "metrics": result.metrics,
            "fogs": facts_of(result.fogs),
            "devices": facts_of(result.devices),
            "common": facts_of(result.common),
            "held_out": result.held_out,
            "reached": facts_of(result.reached),
            "counts": result.counts,
            "reasons": result.reasons,
            "wall": result.wall,
            "units": result.units,
            "queries": result.queries,
            "higher_is_better": result.higher_is_better,
            "malicious": result.malicious,
            "cut_off": result.cut_off,
            "lost_rounds": result.lost_rounds,
        }
        write_json(self.result_file, facts)
        if find_spec("matplotlib") is not None:
            from fogline.monitoring.plots import save

            save(result, self.path / "plots")
        self.mark("finished")

    def keep_baseline(self, baseline: Baseline) -> None:
        """Write a baseline that was made, beside those before it.

        Raises:
            FolderError: it cannot be written.
        """
        made = self.read_baselines() | {baseline.name: baseline}
        with self.writing():
            write_json(self.baselines, {name: facts_of(one) for name, one in made.items()})

    def mark(self, status: Status) -> None:
        """Note how the run stands."""
        self._note({"status": status, "ended": _now()})

    def discard(self) -> None:
        """Take back a run that never began: what :meth:`create` made is removed, unless a row was written."""
        self.close()
        if self.history():
            return
        for path in (self.job_file, self.metrics, self.info, self.nodes, self.tree):
            path.unlink(missing_ok=True)
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def close(self) -> None:
        """Close the metrics file."""
        metrics, self._metrics = self._metrics, None
        if metrics is not None:
            with suppress(OSError):  # Each row was written out before, or the run knows that it was not.
                metrics.close()

    def _note(self, facts: dict[str, Any]) -> None:
        write_json(self.info, self.read_info() | facts)


def fresh_folder(root: Path, name: str) -> Path:
    """A new folder ``root/<name>-<UTC date>-<n>``; made here, so that no other run gets the same."""
    stem = f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', name).strip('-.') or 'run'}-{datetime.now(UTC):%Y-%m-%d}"
    root.mkdir(parents=True, exist_ok=True)
    n = 1
    while True:
        try:
            (root / f"{stem}-{n}").mkdir()
        except FileExistsError:
            n += 1
        else:
            return root / f"{stem}-{n}"


def _note_on(why: str) -> str:
    """What a job file says of a task that has no name."""
    return f"The task was given in Python, and cannot be named here: {why}." if why else ""


def _said(error: OSError) -> str:
    """What the system says, in words."""
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
