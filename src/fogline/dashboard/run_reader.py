"""Reads a run's folder, again and again, and tells what is new."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TypeVar

import msgspec

from fogline.dashboard.hub import Hub
from fogline.dashboard.summary import DeviceSpread, RunOutcome, RunProgress, RunSummary, settings_of, summary_of
from fogline.decoding import UNREADABLE
from fogline.jobs import Job
from fogline.jobs.errors import JobError
from fogline.monitoring.json_files import result_of, row_of
from fogline.monitoring.progress import guess_headline
from fogline.monitoring.record import Row
from fogline.monitoring.run_files import RunFiles
from fogline.monitoring.tree_state import TreeNodes, TreeSnapshot
from fogline.training.metrics import is_better_higher

T = TypeVar("T", TreeNodes, TreeSnapshot)
FILES = ("run.json", "job.toml", "metrics.jsonl", "nodes.json", "tree.json", "result.json")
"""What is read; a change of any other file is of no interest."""


class RunReader:
    """One run.

    Args:
        folder: of it.
        name: by which the page knows it.
        hub: is told.

    Raises:
        JobError: there is no run.
    """

    def __init__(self, folder: Path, name: str, hub: Hub) -> None:
        self.files = RunFiles(folder)
        self.files.read_info()
        self.name = name
        self._hub = hub
        self._rows = 0
        self._offset = 0
        """Bytes of the rows that were read, in the file of that number."""
        self._inode = -1
        self._last: Row = {}
        self._job: Job | None = None

    def read(self, changed: frozenset[str] = frozenset(FILES)) -> None:
        """Tell what has become of these files. One that is being written is read once it is whole.

        Raises:
            JobError: a file is damaged.
        """
        try:
            self._read(changed)
        except JobError:
            raise
        except (ValueError, KeyError, RecursionError) as error:
            raise JobError(f"{self.files.path} is damaged: {error}") from error

    def _read(self, changed: frozenset[str]) -> None:
        if "job.toml" in changed:
            self._job = self._read_job()
        if "metrics.jsonl" in changed:
            self._read_rows()
        if {"run.json", "job.toml", "metrics.jsonl"} & changed and self._job is not None:
            self._hub.tell(f"run/{self.name}", self._summary(self._job))
        if "nodes.json" in changed and (text := _content(self.files.nodes)):
            self._hub.tell(f"nodes/{self.name}", _decoded(self.files.nodes, text, TreeNodes))
        if "tree.json" in changed and (text := _content(self.files.tree)):
            self._hub.tell(f"tree/{self.name}", _decoded(self.files.tree, text, TreeSnapshot))
        if "result.json" in changed and (text := _content(self.files.result_file)):
            self._hub.tell(f"outcome/{self.name}", self._outcome(text.decode()))

    def _read_job(self) -> Job:
        job = self.files.read_job()
        self._hub.tell(f"job/{self.name}", settings_of(job))
        return job

    def _read_rows(self) -> None:
        """The lines that came since; all of them where another file took the place of this one, as that of a run that
        goes on does, without the rows that it makes again."""
        with self.files.metrics.open("rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            if inode != self._inode:
                self._inode, self._offset, self._rows, self._last = inode, 0, 0, {}
                self._hub.forget_all(f"rows/{self.name}/")
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        try:
            rows = [row_of(line) for line in whole.decode().splitlines()]
        except (ValueError, AttributeError) as error:
            raise JobError(f"{self.files.metrics} is damaged: {error}") from error
        if rows:
            self._hub.tell(f"rows/{self.name}/{self._rows}", rows)
        self._rows += len(rows)
        self._offset += len(whole)
        self._last = {**self._last, **rows[-1]} if rows else self._last

    def _summary(self, job: Job) -> RunSummary:
        info = self.files.read_info()
        headline = str(info.get("headline") or guess_headline(self._last))
        best = bool(info.get("higher_is_better", is_better_higher(headline) if headline else True))
        progress = RunProgress(info["status"], done=self._rows, started=str(info.get("started", "")))
        label = f"{job.name} · {self.files.path.name}"
        return summary_of(self.name, label, job, progress, headline, str(info.get("unit", "")), best)

    def _outcome(self, text: str) -> RunOutcome:
        try:
            facts, headline = result_of(text), str(json.loads(text)["headline"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise JobError(f"{self.files.result_file} is damaged: it is no result") from error
        made = {name: one.value(headline) for name, one in self.files.read_baselines().items()}
        return RunOutcome(
            metrics=facts["metrics"],
            fogs=DeviceSpread.of(facts["fogs"]),
            devices=DeviceSpread.of(facts["devices"]),
            counts=facts["counts"],
            reasons=facts["reasons"],
            baselines={name: value for name, value in made.items() if value is not None},
        )


def _decoded(path: Path, text: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except UNREADABLE as error:
        raise JobError(f"{path} is damaged: {error}") from error


def _content(path: Path) -> bytes:
    """What is in a file; nothing where it is not there yet, or not any more."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
