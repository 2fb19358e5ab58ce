"""What may change in a run that goes on: what cannot change what was computed already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fogline.jobs.errors import JobError, Path, dotted
from fogline.jobs.job import Job

FREE = ("name", "rounds", "evaluation", "executor", "processes", "checkpoint_every")
HELD_OUT = (("evaluation", "where"), ("evaluation", "share"))
"""What decides which examples train."""


def check_changes(before: Job, after: Job) -> None:
    """Whether a run of ``before`` can go on as ``after``.

    Raises:
        JobError: a change touches what was computed; one sentence that names the key.
    """
    for path in _differences(before.model_dump(), after.model_dump()):
        fixed = path[:2] in HELD_OUT and (before.evaluation.on_devices or after.evaluation.on_devices)
        if path[0] not in FREE or fixed:
            free = f"{', '.join(FREE[1:-1])} and {FREE[-1]}"
            raise JobError(f"{dotted(path)} cannot change in a run that goes on, only {free} can; start a new run")
    if after.rounds < before.rounds:
        raise JobError(f"rounds is {after.rounds}; a run of {before.rounds} rounds can only go on to more")
    if after.rounds > before.rounds and before.local.schedule == "cosine":
        raise JobError(
            "rounds cannot change in a run that goes on, because local.schedule is 'cosine', which gave every round "
            "its learning rate by the number of rounds; start a new run"
        )


def _differences(before: Mapping[str, Any], after: Mapping[str, Any], above: Path = ()) -> Iterator[Path]:
    """Paths to what differs, tables looked into."""
    for key in {**before, **after}:
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, (*above, key))
        elif old != new:
            yield (*above, key)
