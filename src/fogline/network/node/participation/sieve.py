"""An update that nobody can fold must not make a round count: before one closes, its updates are looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fogline.nodes.ledger import AcceptedUpdate

Tasks = tuple[int, ...]


class Sieve:
    """What is known, during one event, of the updates that wait at a state machine."""

    def __init__(self) -> None:
        self._known: dict[Tasks, Mapping[int, str]] = {}
        self._wanted: dict[Tasks, Sequence[AcceptedUpdate]] = {}

    def __call__(self, accepted: Sequence[AcceptedUpdate]) -> Mapping[int, str] | None:
        """Which of them are none, by task, and why; None: it is asked for."""
        tasks = _tasks(accepted)
        if tasks not in self._known:
            self._wanted[tasks] = tuple(accepted)
        return self._known.get(tasks)

    def begin(self) -> None:
        """Another event: a model may have moved since, and updates be older."""
        self._known, self._wanted = {}, {}

    def wanted(self) -> list[Sequence[AcceptedUpdate]]:
        """What was asked for since the last time."""
        wanted, self._wanted = self._wanted, {}
        return list(wanted.values())

    def learn(self, accepted: Sequence[AcceptedUpdate], failed: Mapping[int, str]) -> None:
        """Which of them are none; the others are known to fit together."""
        self._known[_tasks(accepted)] = failed
        self._known.setdefault(_tasks([one for one in accepted if one.task not in failed]), {})


def _tasks(accepted: Sequence[AcceptedUpdate]) -> Tasks:
    return tuple(sorted(one.task for one in accepted))
