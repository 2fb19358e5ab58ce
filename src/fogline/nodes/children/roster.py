"""An aggregator's children, as the selection policies see them."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable

from fogline.nodes.children.indexed_set import IndexedSet
from fogline.nodes.children.speeds import SpeedClasses
from fogline.nodes.messages import Hello

Presence = Callable[[str, float], bool]
"""Whether a child can be asked at a time; a pure function that the runtime gives."""


class Roster:
    """The children in order of arrival; adding, removing and drawing one cost the same for any number.

    Args:
        presence: whether a child can be asked at a time; None where who is here can be asked.
        deadline: seconds that a round may take.
        busy: children with an open request; the ledger's.
        idle: whether to keep a row of those without one, for a mode that must find them when they are few.
        classes: speed classes to keep, if any.
        barred: children in quarantine; the ledger's. None where there is none: then no row of the others is kept.
    """

    def __init__(
        self,
        presence: Presence | None,
        deadline: float,
        busy: Container[str] = (),
        *,
        idle: bool = False,
        classes: int | None = None,
        barred: Container[str] | None = None,
    ) -> None:
        self.deadline = deadline
        self.idle = IndexedSet() if idle else None
        self.classes = None if classes is None else SpeedClasses(classes)
        self.admitted = None if barred is None else IndexedSet()
        """Those that are not in quarantine."""
        self._barred = barred
        self._presence = presence
        self._busy = busy
        self._all = IndexedSet()
        self.at = self._all.at
        """The child at a place."""
        self.hellos: dict[str, Hello] = {}
        """What every child said of itself last."""
        self.away: set[str] = set()
        """Children that have left, and may come back."""
        self._took: dict[str, float] = {}
        self._devices = 0

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, child: str) -> bool:
        return child in self.hellos

    def add(self, child: str, hello: Hello) -> None:
        """A child came, or said something new of itself."""
        known = self.hellos.get(child)
        self.hellos[child] = hello
        self.away.discard(child)
        self._devices += hello.devices - (0 if known is None else known.devices)
        if known is None:
            self._all.add(child)
            self.release(child)
            self.admit(child)
            if self.classes is not None:
                self.classes.add(child, hello.seconds)

    def remove(self, child: str) -> None:
        """Remove a child that has left."""
        if child not in self.hellos:
            return
        self.away.add(child)
        self._all.remove(child)
        self._devices -= self.hellos.pop(child).devices
        self._took.pop(child, None)
        if self.classes is not None:
            self.classes.remove(child)
        for row in (self.idle, self.admitted):
            if row is not None:
                row.remove(child)

    def occupy(self, children: Iterable[str]) -> None:
        """Children have open requests from now on."""
        if self.idle is not None:
            for child in children:
                self.idle.remove(child)

    def release(self, child: str) -> None:
        """A child's request is no longer open."""
        if self.idle is not None and child in self.hellos and child not in self._busy:
            self.idle.add(child)

    def admit(self, child: str) -> None:
        """A child is in quarantine no more."""
        if self.admitted is not None and child in self.hellos and child not in (self._barred or ()):
            self.admitted.add(child)

    def bar(self, child: str) -> None:
        """A child is in quarantine."""
        if self.admitted is not None:
            self.admitted.remove(child)

    def measured(self, child: str, seconds: float) -> None:
        """A child answered after so many seconds."""
        if child in self.hellos:
            before = self._took.get(child, seconds)
            self._took[child] = now = before + 0.25 * (seconds - before)
            if self.classes is not None:
                self.classes.measured(child, now)

    def samples(self, child: str) -> int:
        """Examples that the child says it has."""
        return self.hellos[child].samples

    def devices_of(self, child: str) -> int:
        """Devices below and including a child."""
        hello = self.hellos.get(child)
        return 0 if hello is None else hello.devices

    def devices(self) -> int:
        """How many devices are below all children together."""
        return self._devices

    def seconds(self, child: str) -> float | None:
        """How long a round takes the child: as measured, or else as it thinks."""
        measured = self._took.get(child)
        return self.hellos[child].seconds if measured is None else measured

    def available(self, child: str, now: float) -> bool:
        """Whether it can be asked now."""
        return self._presence is None or self._presence(child, now)

    def free(self, child: str) -> bool:
        """Whether it has no open request."""
        return child not in self._busy

    def can_be_asked(self, child: str, now: float) -> bool:
        """Whether it is here and can be asked now."""
        fit = child in self.hellos if self.admitted is None else child in self.admitted
        return fit and child not in self._busy and self.available(child, now)


class RosterView:
    """Some of a roster's children."""

    def __init__(self, roster: Roster, row: IndexedSet) -> None:
        self.deadline = roster.deadline
        self.samples = roster.samples
        self.seconds = roster.seconds
        self.available = roster.available
        self.free = roster.free
        self.at = row.at
        self._row = row

    def __len__(self) -> int:
        return len(self._row)
