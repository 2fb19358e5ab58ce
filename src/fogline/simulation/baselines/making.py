"""The baselines that a job asks for: checked before the run, and made after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fogline.jobs import Job, JobError
from fogline.monitoring.record import Baseline
from fogline.simulation.baselines.base import BASELINES, FinishedRun
from fogline.training.task import Task


def check_baselines(job: Job, task: Task) -> list[str]:
    """The names of the baselines that the job asks for, as they are registered.

    Raises:
        JobError: there is none of that name, or nothing that the models could be compared on; one sentence.
    """
    try:
        names = list(dict.fromkeys(BASELINES.find(name).name for name in job.evaluation.baselines))
    except ValueError as error:
        raise JobError(f"evaluation.baselines: {error}") from error
    if names and task.data.test is None and not task.data.held_out and not job.evaluation.on_devices:
        raise JobError(
            "evaluation.baselines compares models on a common test set or on devices that never train, and the data "
            f"set '{task.data.name}' has neither; give it test=... or held_out=[...], or let devices judge "
            "(evaluation.where)"
        )
    return names


def make_baselines(
    run: FinishedRun,
    names: list[str],
    kept: Mapping[str, Baseline],
    keep: Callable[[Baseline], None],
    note: Callable[[str], None],
) -> dict[str, Baseline]:
    """Train and judge these baselines, but for those of as many rounds that were kept.

    Args:
        run: what they are compared with.
        names: as they are registered.
        kept: those that were made before, by name.
        keep: told of each that was made.
        note: told what is done.

    Raises:
        JobError: the run began with an earlier version, which did not count steps; one sentence.
    """
    if names and any("steps" not in row for row in run.history):
        raise JobError(
            "evaluation.baselines needs the gradient steps of every round, and the version of Fogline that began this "
            "run did not count them; start a new run"
        )
    made: dict[str, Baseline] = {}
    for name in names:
        if name in kept and kept[name].rounds == len(run.history):
            made[name] = kept[name]
            continue
        note(f"Baseline {name}: {sum(run.steps):,} gradient steps, as many as the devices made together.")
        made[name] = BASELINES[name](run)
        keep(made[name])
    return made
