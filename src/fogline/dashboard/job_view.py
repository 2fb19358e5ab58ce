"""A job on real nodes, as the page shows it: the same as a simulation's run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from fogline.dashboard.hub import Hub
from fogline.dashboard.summary import RunProgress, settings_of, summary_of
from fogline.jobs.errors import JobError
from fogline.jobs.files.reading import parse_job
from fogline.monitoring.record import Row
from fogline.network.cloud.records import LogLine, Record

GATHER = 0.2
"""Seconds for which lines of a log are gathered before they are shown."""


def show_record(hub: Hub, record: Record, stoppable: bool) -> None:
    """Tell a page how a job stands."""
    try:
        job = parse_job(record.text)
    except JobError as error:
        hub.tell(f"trouble/{record.job}", f"{record.job}: {error}")
        return
    progress = RunProgress(record.state, record.why, record.done, record.by, record.submitted)
    headline, unit = record.headline, record.units.get(record.headline, "")
    better = record.higher_is_better
    hub.tell(f"run/{record.job}", summary_of(record.job, record.job, job, progress, headline, unit, better, stoppable))
    hub.tell(f"job/{record.job}", settings_of(job))


class LogView:
    """Follows a job's log.

    Args:
        job: its id.
        hub: is told.
        heard: told of every line.
    """

    def __init__(self, job: str, hub: Hub, heard: Callable[[LogLine], None]) -> None:
        self._job = job
        self._hub = hub
        self._heard = heard
        self._lines: list[LogLine] = []
        self._rows: list[Row] = []
        self._told = {"log": 0, "rows": 0}
        self._due: asyncio.TimerHandle | None = None

    async def follow(self, lines: AsyncIterator[LogLine]) -> None:
        """Show lines as they come, until there are no more."""
        loop = asyncio.get_running_loop()
        try:
            async for line in lines:
                self._heard(line)
                if line.row is None:
                    self._lines.append(line)
                else:
                    self._rows.append(line.row)
                if self._due is None:
                    self._due = loop.call_later(GATHER, self._tell)
        except asyncio.CancelledError:  # The log is not shown any more.
            if self._due is not None:
                self._due.cancel()
            raise

    def _tell(self) -> None:
        self._due = None
        for kind, new in (("rows", self._rows), ("log", self._lines)):
            if new:
                self._hub.tell(f"{kind}/{self._job}/{self._told[kind]}", new)
                self._told[kind] += len(new)
        self._lines, self._rows = [], []
