"""Names in a row."""

from __future__ import annotations

from collections.abc import Iterator


class IndexedSet:
    """Distinct names in a row: adding, removing, finding and taking the i-th cost the same for any number."""

    __slots__ = ("_names", "_places")

    def __init__(self) -> None:
        self._names: list[str] = []
        self._places: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def at(self, i: int) -> str:
        """The name at a place."""
        return self._names[i]

    def add(self, name: str) -> None:
        """Put a name at the end, unless it is in the row."""
        if name not in self._places:
            self._places[name] = len(self._names)
            self._names.append(name)

    def remove(self, name: str) -> None:
        """Take a name out, if it is in the row; the last one takes its place."""
        place = self._places.pop(name, None)
        if place is None:
            return
        last = self._names.pop()
        if last != name:
            self._names[place] = last
            self._places[last] = place
