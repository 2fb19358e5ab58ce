"""A method's smaller models of a task, and the engines that train them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from fogline.algorithms.base import Algorithm
from fogline.algorithms.private import keeps_private
from fogline.training.hook_calls import name_of
from fogline.training.local import ClientJob
from fogline.training.method import overrides
from fogline.training.sub_models import SubModel, SubModels
from fogline.training.task import Engine, Task
from fogline.user_code.bugs import attempt, blame

T = TypeVar("T", bound=Task)
Made = TypeVar("Made")


def has_sub_models(algorithm: Algorithm) -> bool:
    """Whether devices that cannot train the whole model have smaller ones."""
    return type(algorithm).sub_models is not Algorithm.sub_models


def with_sub_models(task: T, algorithm: Algorithm) -> T:
    """The task with the method's smaller models, which are made when a device wants one.

    Raises:
        ValueError: the method also keeps part of the model on devices.
    """
    if not has_sub_models(algorithm):
        return task
    subject = type(algorithm).__name__
    if keeps_private(algorithm):
        raise ValueError(
            f"{subject} has smaller models, and cannot keep part of the model on devices; leave private out"
        )
    return task.with_sub_models(SubModels(task.cutter(), algorithm.sub_models, subject))


def sub_model_of(task: Task, algorithm: Algorithm, share: float) -> SubModel | None:
    """The smaller model of a device with that share; None: it has the whole.

    Raises:
        ValueError: there is none; a sentence.
        CodeError: the method's ``sub_models`` is wrong.
    """
    models = task.sub_models
    if models is None:
        return None
    return _made(algorithm, lambda: models.of(share))


def models_in_steps(task: Task, algorithm: Algorithm) -> Sequence[SubModel]:
    """The smaller models that a device's steps train, whatever its share; none, where a step trains its own.

    Raises:
        ValueError: one of them cannot be made; a sentence.
        CodeError: the method's ``sub_models`` is wrong.
    """
    models = task.sub_models
    if models is None or not overrides(algorithm, "step_models"):
        return ()
    return _made(algorithm, models.nested)


def _made(algorithm: Algorithm, make: Callable[[], Made]) -> Made:
    found = attempt(make)
    if isinstance(found, Exception):
        raise found if isinstance(found, ValueError) else blame(name_of(algorithm, "sub_models"), found)
    return found


Part = Callable[[float, float], tuple[float, float]]
"""From an effort below 1, of a device's usual work, and its share: which share it trains, and for how many of the steps
that the whole work means."""


def part_of_effort(task: Task, algorithm: Algorithm) -> Part | None:
    """How the method's devices do part of a round's work; None: by fewer steps."""
    models = task.sub_models
    if models is None or not algorithm.effort_cuts:
        return None

    def part(effort: float, share: float) -> tuple[float, float]:
        own = sub_model_of(task, algorithm, share)
        cost = effort * (task.cost if own is None else own.cost)
        smaller = [model for model in models.nested() if own is None or model.share <= own.share]
        if not smaller:
            return share, effort
        chosen = next((model for model in smaller if model.cost <= cost), smaller[-1])
        return chosen.share, cost / chosen.cost

    return part


def by_sub_model(task: Task, jobs: Sequence[ClientJob]) -> dict[SubModel | None, list[int]]:
    """The places of jobs that train the same smaller model, or the whole one (None), together."""
    models, places = task.sub_models, dict[SubModel | None, list[int]]()
    for place, job in enumerate(jobs):
        places.setdefault(None if models is None else models.of(job.share), []).append(place)
    return places


def task_of(sub_model: SubModel) -> Task:
    """The task of a smaller model."""
    return cast("Task", sub_model.task)


def engine_of(sub_model: SubModel, like: Engine, algorithm: Algorithm) -> Engine:
    """An engine of the same kind for a smaller model; the reference, where that kind refuses it."""
    task, kind = task_of(sub_model), type(like)
    if kind not in sub_model.engines:
        kinds = task.engines()
        fits = kind.refusal(task, algorithm, like.local) is None
        name = next(name for name, other in kinds.items() if other is kind or not fits)
        sub_model.engines[kind] = task.build(name, algorithm, like.local)
    engine = cast("Engine", sub_model.engines[kind])
    engine.memory = like.memory
    return engine


def measured_names(algorithm: Algorithm, task: Task) -> tuple[str, ...]:
    """The running statistics that devices measure for the method; none, where it has them from updates."""
    if not algorithm.static_statistics:
        return ()
    shared = task.shared.slices
    return tuple(name for name in task.running_statistics if name in shared)


def check_sub_models(task: Task, algorithm: Algorithm, models: Sequence[SubModel | None]) -> None:
    """Refuse that nobody tells of a buffer: a narrower model has other ones than the whole.

    Args:
        task: the whole model.
        algorithm: the method, which may have running statistics measured.
        models: all that some device has; None: the whole.

    Raises:
        ValueError: one sentence.
    """
    measured = measured_names(algorithm, task)
    buffers = [e.name for e in task.shared.entries if e.is_float and not e.trainable and e.name not in measured]
    if buffers and not any(model is None or model.tells_buffers for model in models):
        raise ValueError(
            f"no device has the whole model, and only those tell its running statistics ('{buffers[0]}'): give one a "
            "share of 1, or put GroupNorm in the place of BatchNorm"
        )
