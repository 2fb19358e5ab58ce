"""Hours of the day in local time, which may cross midnight."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

WINDOW = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)", re.ASCII)
DAY = 24 * 60


class DailyWindow(msgspec.Struct, frozen=True):
    """A part of every day, in minutes since midnight; it crosses midnight if it starts after its end."""

    start: int
    end: int

    @classmethod
    def parse(cls, text: str) -> DailyWindow:
        """The window of ``HH:MM-HH:MM``; the end does not belong to it.

        Raises:
            ValueError: it is none.
        """
        found = WINDOW.fullmatch(text)
        if found is None:
            raise ValueError(f"{text[:40]!r} is no part of a day; write it as 22:00-06:00")
        start, end = (int(found[i]) * 60 + int(found[i + 1]) for i in (1, 3))
        if int(found[2]) > 59 or int(found[4]) > 59 or start >= DAY or end > DAY:
            raise ValueError(f"{text!r} has a time that no clock shows")
        if start == end % DAY and end != DAY:
            raise ValueError(f"{text!r} starts when it ends; the whole day is 00:00-24:00")
        return cls(start, end)

    def holds(self, minute: int) -> bool:
        """Whether a minute of the day is in the window."""
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


def is_open(windows: Sequence[DailyWindow], local: datetime) -> bool:
    """Whether a moment lies in one of the windows; no window at all means always."""
    minute = local.hour * 60 + local.minute
    return not windows or any(window.holds(minute) for window in windows)


def next_open(windows: Sequence[DailyWindow], local: datetime) -> datetime:
    """The first moment from ``local`` on that lies in a window, by the clock on the wall."""
    if is_open(windows, local):
        return local
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    starts = [midnight + timedelta(days=days, minutes=window.start) for days in (0, 1) for window in windows]
    return min(start for start in starts if start > local)
