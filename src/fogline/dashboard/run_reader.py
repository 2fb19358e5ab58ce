"""Reads a run's folder, again and again, and tells what is new."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from fogline.dashboard.hub import Hub
from fogline.dashboard.summary import DeviceSpread, Outcome, Progress, RunSummary, settings_of, summary_of
from fogline.jobs import Job
from fogline.monitoring.json_files import result_of, row_of
from fogline.monitoring.progress import guess_headline
from fogline.monitoring.record import Row
from fogline.monitoring.run_files import RunFiles
from fogline.monitoring.tree_state import TreeNodes, TreeSnapshot
from fogline.training.metrics import is_better_higher

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
        self._last: Row = {}
        self._job: Job | None = None

    def read(self, changed: frozenset[str] = frozenset(FILES)) -> None:
        """Tell what has become of these files. One that is being written is read once it is whole.

        Raises:
            JobError: a file is damaged.
        """
        if "job.toml" in changed:
            self._job = self._read_job()
        if "metrics.jsonl" in changed:
            self._read_rows()
        if {"run.json", "job.toml", "metrics.jsonl"} & changed and self._job is not None:
            self._hub.tell(f"run/{self.name}", self._summary(self._job))
        if "nodes.json" in changed and (text := _content(self.files.nodes)):
            self._hub.tell(f"nodes/{self.name}", msgspec.json.decode(text, type=TreeNodes))
        if "tree.json" in changed and (text := _content(self.files.tree)):
            self._hub.tell(f"tree/{self.name}", msgspec.json.decode(text, type=TreeSnapshot))
        if "result.json" in changed and (text := _content(self.files.result_file)):
            self._hub.tell(f"outcome/{self.name}", self._outcome(text.decode()))

    def _read_job(self) -> Job:
        job = self.files.read_job()
        self._hub.tell(f"job/{self.name}", settings_of(job))
        return job

    def _read_rows(self) -> None:
        """The lines that came since; all of them again where the file was cut, as a run that goes on does."""
        with self.files.metrics.open("rb") as file:
            file.seek(0, 2)
            if file.tell() < self._offset:
                self._offset = self._rows = 0
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        rows = [row_of(line) for line in whole.decode().splitlines()]
        if rows and self._rows and rows[0]["round"] <= self._last.get("round", 0.0):
            self._offset = self._rows = 0  # It was cut, and has grown beyond where it was.
            self._read_rows()
            return
        if not self._rows:
            self._hub.forget_all(f"rows/{self.name}/")
        if rows:
            self._hub.tell(f"rows/{self.name}/{self._rows}", rows)
        self._rows += len(rows)
        self._offset += len(whole)
        self._last = {**self._last, **rows[-1]} if rows else self._last

    def _summary(self, job: Job) -> RunSummary:
        info = self.files.read_info()
        headline = str(info.get("headline") or guess_headline(self._last))
        best = bool(info.get("higher_is_better", is_better_higher(headline) if headline else True))
        progress = Progress(info["status"], done=self._rows, started=str(info.get("started", "")))
        label = f"{job.name} · {self.files.path.name}"
        return summary_of(self.name, label, job, progress, headline, str(info.get("unit", "")), best)

    def _outcome(self, text: str) -> Outcome:
        facts, headline = result_of(text), str(json.loads(text)["headline"])
        made = {name: one.value(headline) for name, one in self.files.read_baselines().items()}
        return Outcome(
            metrics=facts["metrics"],
            fogs=DeviceSpread.of(facts["fogs"]),
            devices=DeviceSpread.of(facts["devices"]),
            counts=facts["counts"],
            reasons=facts["reasons"],
            baselines={name: value for name, value in made.items() if value is not None},
        )


def _content(path: Path) -> bytes:
    """What is in a file; nothing where it is not there yet, or not any more."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
