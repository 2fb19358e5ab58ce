"""Two programs with one identity, told from one that was started again: only of two at once can the older come back."""

from __future__ import annotations

from collections import defaultdict

KEPT = 8
"""Programs that are remembered of a name."""


class CloneDetector:
    """Which programs were connected under each name."""

    def __init__(self) -> None:
        self._seen: defaultdict[str, list[str]] = defaultdict(list)
        self._told: set[tuple[str, str, str]] = set()

    def came(self, name: str, instance: str) -> None:
        """A program is connected under that name."""
        seen = self._seen[name]
        if instance in seen:
            seen.remove(instance)
        seen.append(instance)
        del seen[:-KEPT]

    def is_twin(self, name: str, connected: str, newcomer: str) -> bool:
        """Whether a program that wants to connect runs beside the one that is connected, and did all the time."""
        return bool(newcomer) and newcomer != connected and newcomer in self._seen[name]

    def is_news(self, name: str, one: str, other: str) -> bool:
        """Whether nobody was told of this pair yet."""
        first, second = sorted((one, other))
        news = (name, first, second) not in self._told
        self._told.add((name, first, second))
        return news
