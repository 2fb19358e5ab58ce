"""What programs write into their logs: a line has the date, the level, and where it is known the job and the round.

``2025-01-31 14:02:11 WARNING job=demo-1-4819 round=3 fog-0 lost cloud: it was silent``

or, for programs that read logs, it is a JSON object with the same, and with the node:

``{"at": "2025-01-31T13:02:11.204Z", "level": "WARNING", "node": "fog-0", "job": "demo-1-4819", "round": 3, ...}``

Who works for a job says so once (:func:`about`); whatever is logged meanwhile, and in tasks that are begun meanwhile,
bears its name. So does a node (:func:`speak_for`).
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import BinaryIO, TextIO

FORMAT = "FOGLINE_LOG_FORMAT"
"""Variable of the environment, which programs that a program starts inherit: ``json`` for JSON, else text."""
_node: ContextVar[str] = ContextVar("node", default="")
_job: ContextVar[str] = ContextVar("job", default="")
_round: ContextVar[int] = ContextVar("round", default=0)


@contextmanager
def about(job: str, round_: int = 0) -> Generator[None]:
    """What is logged inside concerns a job and a round, counted from 1 (0: none)."""
    before = _job.set(job), _round.set(round_)
    try:
        yield
    finally:
        _job.reset(before[0])
        _round.reset(before[1])


def begin(job: str, round_: int = 0) -> None:
    """What is logged from here on in this task, or in this program, concerns a job and a round."""
    _job.set(job)
    _round.set(round_)


def speak_for(node: str) -> None:
    """What is logged from here on in this task, and in tasks that it begins, is this node's."""
    _node.set(node)


def stamp(at: float, level: str, job: str, round_: int) -> str:
    """The beginning of a line.

    Args:
        at: Unix time.
        level: ``INFO``, ``WARNING``, ``ERROR``.
        job: empty where it is none's.
        round_: of the job, counted from 1; 0 where it is none's.
    """
    parts = [time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)), level]
    if job:
        parts.append(f"job={job}")
    if round_:
        parts.append(f"round={round_}")
    return " ".join(parts)


def one_line(text: str) -> str:
    """A text in which there may be one from another machine: it neither begins a line that others seem to have written,
    nor does anything to a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)


class Lines(logging.Formatter):
    """Makes the lines of a log."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name that logging gives it
        """What is said, in one line."""
        return one_line(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        """A line; a traceback follows it."""
        return f"{stamp(record.created, record.levelname, _job.get(), _round.get())} {super().format(record)}"


class JsonLines(logging.Formatter):
    """Makes the lines of a log that programs read: an object each."""

    def format(self, record: logging.LogRecord) -> str:
        """A line, without what is not known; a traceback stands in it."""
        whole = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z",
            "level": record.levelname,
            "node": _node.get(),
            "job": _job.get(),
            "round": _round.get(),
            "logger": record.name,
            "text": record.getMessage(),
            "traceback": self.formatException(record.exc_info) if record.exc_info else "",
        }
        return json.dumps({key: value for key, value in whole.items() if value}, ensure_ascii=False)


def write_logs(to: TextIO | None = None) -> None:
    """Write this program's log: Fogline's own lines from INFO on, those of libraries from WARNING on. The variable
    :data:`FORMAT` of the environment says how they look.

    Args:
        to: where; standard error unless told.
    """
    handler = logging.StreamHandler(to or sys.stderr)
    handler.setFormatter(JsonLines() if os.environ.get(FORMAT) == "json" else Lines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("fogline").setLevel(logging.INFO)


class Printed(io.TextIOBase):
    """Takes the place of standard output or error: what foreign code prints becomes lines of the log.

    Args:
        place: what it takes the place of.
        level: of the lines.
    """

    def __init__(self, place: TextIO, level: int) -> None:
        self._place = place
        self._level = level
        self._log = logging.getLogger("fogline.printed")
        self._line = ""

    def write(self, text: str) -> int:
        """Lines that are whole are logged."""
        *whole, self._line = (self._line + text).split("\n")
        for line in whole:
            self._log.log(self._level, "%s", line)
        return len(text)

    def flush(self) -> None:
        """What has no end of line yet is logged too."""
        if self._line:
            self.write("\n")

    def fileno(self) -> int:
        """For programs that foreign code starts: what they print is taken as it is."""
        return self._place.fileno()

    def writable(self) -> bool:
        """Whether one may write to it: always."""
        return True

    @property
    def buffer(self) -> BinaryIO:
        """For bytes, which are taken as they are."""
        return self._place.buffer
