"""Judging a model on parts of the data, and adding up what was found: the same in every executor."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fogline.params import Params
from fogline.training.figures import sums_of, sums_on_test
from fogline.training.task import Sums, Task
from fogline.user_code.bugs import PROGRAMMING, CodeError, attempt, blame

TEST_PART = 2048
"""Examples of the test set that are judged at once."""


class EvaluationPart(msgspec.Struct, array_like=True):
    """Examples to judge a model on: those of a client that do not train, or some of the test set's where ``client`` is
    None."""

    client: str | None
    start: int
    stop: int


class EvaluationSums(msgspec.Struct, tag="judged", array_like=True):
    """The sums of the part."""

    sums: Sums
    why: str = ""
    """Why there are none: the model cannot be judged on that client's data."""


def parts_of(task: Task, client: str | None) -> list[EvaluationPart]:
    """A client's data as one part, or the test set in several."""
    test = task.data.test
    if client is not None or test is None:
        return [EvaluationPart(client, 0, 0)]
    count = len(test.y)
    return [EvaluationPart(None, start, min(start + TEST_PART, count)) for start in range(0, count, TEST_PART)]


def added_up(
    clients: Sequence[str | None], parts: Sequence[EvaluationPart], judged: Sequence[EvaluationSums]
) -> list[EvaluationSums]:
    """The sums of each client (the test set where None), from those of the parts."""
    results: dict[str | None, EvaluationSums] = {client: EvaluationSums({}) for client in clients}
    for part, found in zip(parts, judged, strict=True):
        into = results[part.client]
        into.why = into.why or found.why
        for name, value in found.sums.items():
            into.sums[name] = into.sums.get(name, 0.0) + value
    return [results[client] for client in clients]


def evaluate_part(task: Task, params: Params, part: EvaluationPart) -> EvaluationSums:
    """Judge a model on a part. What it raises on one client's data is that client's failure, as in training.

    Raises:
        CodeError: the task's code cannot, whatever the data.
    """
    client, test = part.client, task.data.test
    if client is not None:
        sums = attempt(lambda: sums_of(task, params, task.data.judged(client)))
        if isinstance(sums, (CodeError, *PROGRAMMING)):
            raise blame(f"judging the model on client '{client}'", sums)
        if isinstance(sums, Exception):
            return EvaluationSums({}, str(blame(f"judging the model on client '{client}'", sums)))
        return EvaluationSums(
            sums, "" if sums.get("count", 1.0) else f"none of the targets of client '{client}' has a truth"
        )
    assert test is not None
    some = test.part(slice(part.start, part.stop))
    return EvaluationSums(sums_on_test(task, params, some))
