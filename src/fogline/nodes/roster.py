"""An aggregator's children, as the selection policies see them."""

from __future__ import annotations

from collections.abc import Callable

from fogline.nodes.messages import Hello

Presence = Callable[[str, float], bool]
"""Whether a child can be asked at a time; a pure function that the runtime gives."""


class Roster:
    """The children in order of arrival; adding, removing and drawing one cost the same for any number.

    Args:
        presence: whether a child can be asked at a time; None where who is here can be asked.
        deadline: seconds that a round may take.
    """

    def __init__(self, presence: Presence | None, deadline: float) -> None:
        self.deadline = deadline
        self.revision = 0
        """Grows whenever a child comes or goes."""
        self._presence = presence
        self._names: list[str] = []
        self._places: dict[str, int] = {}
        self._hellos: dict[str, Hello] = {}
        self._busy: set[str] = set()

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, child: str) -> bool:
        return child in self._places

    def at(self, i: int) -> str:
        """The child at a place."""
        return self._names[i]

    def add(self, child: str, hello: Hello) -> None:
        """A child came, or said something new of itself."""
        if child not in self._places:
            self._places[child] = len(self._names)
            self._names.append(child)
        self._hellos[child] = hello
        self.revision += 1

    def remove(self, child: str) -> None:
        """A child left; the last one takes its place."""
        place = self._places.pop(child, None)
        if place is None:
            return
        last = self._names.pop()
        if last != child:
            self._names[place] = last
            self._places[last] = place
        del self._hellos[child]
        self._busy.discard(child)
        self.revision += 1

    def samples(self, child: str) -> int:
        """Examples that the child says it has."""
        return self._hellos[child].samples

    def devices(self) -> int:
        """Devices below all children."""
        return sum(hello.devices for hello in self._hellos.values())

    def seconds(self, child: str) -> float | None:
        """How long the child thinks a round takes it."""
        return self._hellos[child].seconds

    def available(self, child: str, now: float) -> bool:
        """Whether it can be asked now."""
        return self._presence is None or self._presence(child, now)

    def free(self, child: str) -> bool:
        """Whether it has no open request."""
        return child not in self._busy

    def occupy(self, child: str) -> None:
        """It has an open request from now on."""
        self._busy.add(child)

    def release(self, child: str) -> None:
        """Its request is no longer open."""
        self._busy.discard(child)

    def speed_classes(self, classes: int) -> list[list[str]]:
        """The children in classes of equal size, the fastest first; those of unknown speed come last."""
        known = sorted(self._names, key=lambda c: (self.seconds(c) is None, self.seconds(c) or 0.0, c))
        count = max(1, min(classes, len(known)))
        bounds = [i * len(known) // count for i in range(count + 1)]
        return [known[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]


class ClassView:
    """Part of a roster: the children of one speed class."""

    def __init__(self, roster: Roster, names: list[str]) -> None:
        self.deadline = roster.deadline
        self._names = names
        self.samples = roster.samples
        self.seconds = roster.seconds
        self.available = roster.available
        self.free = roster.free

    def __len__(self) -> int:
        return len(self._names)

    def at(self, i: int) -> str:
        """The child at a place."""
        return self._names[i]
