"""A job's parts and their sentences follow from the fields, and what other rooms read has the same fields."""

from __future__ import annotations

import pytest

from fogline.governance.policy.offers import Needs
from fogline.jobs import Evaluation, Job, Local, Method, Tier, Tree
from fogline.jobs.checked import StrictModel
from fogline.jobs.errors import part_of, unknown_key
from fogline.jobs.job import JobNeeds, Publish
from fogline.jobs.planning import local_training
from fogline.training.local import LocalTraining


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ((), Job),
        (("algorithm",), Method),
        (("local",), Local),
        (("evaluation",), Evaluation),
        (("needs",), JobNeeds),
        (("publish",), Publish),
        (("tree",), Tree),
        (("tree", "tiers", "fog"), Tier),
        (("tree", "tiers"), None),
        (("task_parameters",), None),
        (("local", "epochs"), None),
        (("nothing", "below"), None),
    ],
)
def test_a_place_in_a_job_has_the_part_of_its_field(path: tuple[str, ...], part: type[StrictModel] | None) -> None:
    assert part_of(path) is part
    if part is not None:
        assert f"xx is no key of {part.called}" in unknown_key((*path, "xx"))


def test_needs_on_the_wire_are_those_of_the_job() -> None:
    assert Needs.__struct_fields__ == tuple(JobNeeds.model_fields)
    assert JobNeeds().told() == Needs()
    asked = JobNeeds(memory="2GB", cpus=3, frameworks=("torch",), tags=("audio",))  # pyright: ignore[reportArgumentType]
    assert asked.told() == Needs(2 * 10**9, 3, ("torch",), ("audio",))


def test_engines_see_the_local_table_without_what_devices_differ_in() -> None:
    assert set(Local.model_fields) - set(LocalTraining.model_fields) == {"work"}
    assert local_training(Local(epochs=3, work=(0.5, 1.0))) == LocalTraining(epochs=3)
