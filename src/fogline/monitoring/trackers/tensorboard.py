"""TensorBoard."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fogline.jobs import Job
from fogline.monitoring.folder import fresh_folder
from fogline.monitoring.trackers.base import TRACKERS, Tracker, TrackerError, settings_of


@TRACKERS.add("tensorboard", "TensorBoard: event files in a folder.")
class TensorBoardTracker(Tracker):
    """Writes event files below a folder, which ``tensorboard --logdir`` shows.

    Each run has a folder of its own there: of two in one, TensorBoard would show the later one alone.
    """

    name = "TensorBoard"

    def __init__(self, where: str) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        super().__init__(where)
        # What protobuf has made bears no types.
        self._event: Any = getattr(event_pb2, "Event")  # noqa: B009
        self._summary: Any = getattr(summary_pb2, "Summary")  # noqa: B009
        self._writer_of = EventFileWriter

    def begin(self, job: Job) -> None:
        """See :class:`Tracker`; the job's settings are shown as text."""
        from tensorboard.plugins.text.summary_v2 import text_pb

        try:
            folder = fresh_folder(Path(self.where), job.name)
            self._writer = self._writer_of(str(folder), flush_secs=5)
        except OSError as error:
            raise TrackerError(f"TensorBoard's files cannot be written into {self.where}: {error.strerror}") from error
        self._put(0, text_pb("job", f"```\n{settings_of(job)}\n```"))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """See :class:`Tracker`."""
        points = [self._summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._put(step, self._summary(value=points))

    def _put(self, step: int, summary: Any) -> None:
        self._writer.add_event(self._event(wall_time=time.time(), step=step, summary=summary))

    def end(self, finished: bool) -> None:
        """See :class:`Tracker`."""
        self._writer.close()
