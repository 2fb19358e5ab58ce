"""Static batch normalisation: running statistics that no update carries, but a pass over devices' data makes.

Devices measure them of a finished model, before it is judged or handed out, and tell sums, which add up on every tier
as answers to queries do (Diao, Ding & Tarokh, ICLR 2021: "static batch normalisation").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fogline.aggregation.tally import SurveySums
from fogline.algorithms import Algorithm
from fogline.algorithms.group import GroupModel
from fogline.algorithms.sub_models import measured_names
from fogline.data import Examples
from fogline.jobs import Job, JobError
from fogline.params import Params, Spec
from fogline.training.task import Sums, Task

COUNT = "count"


def check_measuring(job: Job, algorithm: Algorithm, task: Task) -> None:
    """Refuse to measure where nobody may see what a single device sends. ([privacy] refuses models with buffers.)

    Raises:
        JobError: one sentence.
    """
    names = measured_names(algorithm, task)
    exchange = next((name for name, tier in job.tree.tiers.items() if tier.exchange), None)
    if names and exchange is not None:
        raise JobError(
            f"With {type(algorithm).__name__} devices measure the running statistics of batch normalisation "
            f"('{names[0]}') and tell them as they are, which the exchange of tree.{exchange} is to keep from all; put "
            "GroupNorm in the place of BatchNorm, or leave the exchange out"
        )


def measured_sums(
    task: Task, names: Sequence[str], params: Params, examples: Examples, batch_size: int | None, seed: int
) -> Sums:
    """What a device tells: its statistics of a model, each times its examples, as ``NAME/INDEX``; and ``count``.

    Raises:
        ValueError: it cannot measure them; a sentence.
    """
    count, found = float(len(examples.y)), task.measured(params, examples, batch_size, seed)
    sums = {f"{name}/{i}": count * float(value) for name in names for i, value in enumerate(found[name])}
    return {COUNT: count} | sums


def with_statistics(spec: Spec, names: Sequence[str], group: GroupModel, sums: Mapping[str, float]) -> GroupModel:
    """A group's model with the statistics that devices measured of it: their mean over all examples.

    Args:
        spec: of the model that devices and aggregators share.
        names: of the statistics.
        group: whose model it is.
        sums: of all devices.
    """
    vector = group.vector.copy()
    for name in names:
        place = spec.slices[name]
        vector[place] = [sums[f"{name}/{i}"] / sums[COUNT] for i in range(place.stop - place.start)]
    return replace(group, vector=vector)


def bytes_of_statistics(spec: Spec, names: Sequence[str]) -> int:
    """Bytes of what a device tells of them."""
    told = {f"{name}/{i}": 0.0 for name in names for i in range(spec.slices[name].stop - spec.slices[name].start)}
    return sum(array.nbytes for array in SurveySums.of({COUNT: 0.0} | told).to_arrays().values())
