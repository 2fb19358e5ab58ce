"""Moves a channel along the rows of a trace."""

from __future__ import annotations

from fogline.lab.links.channel import Channel
from fogline.lab.links.settings import OneWay
from fogline.lab.links.traces import TraceRow
from fogline.lab.loop import EventLoop


class Follower:
    """Sets a channel's rate and delay row by row, over and over, until stopped.

    Args:
        loop: of the emulator.
        channel: to move.
        rows: of the trace.
        start: second of the trace to begin at; taken modulo its length.
        delay: seconds one way, for rows that have none.
    """

    def __init__(
        self, loop: EventLoop, channel: Channel, rows: tuple[TraceRow, ...], start: float, delay: float
    ) -> None:
        self._loop, self._channel, self._rows, self._delay = loop, channel, rows, delay
        self._stopped = False
        self._index, left = _place(rows, start)
        self._due = loop.now + left
        self._set()

    def stop(self) -> None:
        """Leave the channel alone from now on."""
        self._stopped = True

    def keep(self, settings: OneWay) -> None:
        """Go on along the trace, with another loss, jitter, delay and so on."""
        self._delay = settings.delay
        self._channel.apply(settings)
        self._pace()

    def _next(self, _: object) -> None:
        if self._stopped:
            return
        self._index = (self._index + 1) % len(self._rows)
        self._due += self._rows[self._index].seconds
        self._set()

    def _set(self) -> None:
        self._pace()
        self._loop.at(self._due, self._next)

    def _pace(self) -> None:
        row = self._rows[self._index]
        self._channel.pace(row.rate, self._delay if row.delay is None else row.delay)


def _place(rows: tuple[TraceRow, ...], start: float) -> tuple[int, float]:
    """The row at that second, and the seconds left of it."""
    left = start % sum(row.seconds for row in rows)
    for i, row in enumerate(rows):
        if left < row.seconds:
            return i, row.seconds - left
        left -= row.seconds
    return 0, rows[0].seconds
