"""A job's parts and their sentences follow from the fields, and what other rooms read has the same fields."""

from __future__ import annotations

import math
from typing import Any

import pytest

from fogline.algorithms import make
from fogline.governance.policy.offers import Needs
from fogline.jobs import Evaluation, Job, Local, Method, Tier, Tree
from fogline.jobs.checked import StrictModel
from fogline.jobs.errors import JobError, check, part_of, unknown_key
from fogline.jobs.job import JobNeeds, Publish
from fogline.jobs.judging import with_judges
from fogline.jobs.planning import check_rounds, local_training, with_defaults
from fogline.training.local import LocalTraining
from tests.toy import ToyTask


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


@pytest.mark.parametrize(
    ("path", "value", "right"),
    [
        ("rounds", True, "rounds is true; it must be a number, and not true or false"),
        ("tree.tiers.cloud.cohort", True, "cloud.cohort is true; it must be a count of at least 1, or a share"),
        ("tree.tiers.cloud.deadline", math.inf, "cloud.deadline is inf; it must be a duration above 0"),
        ("tree.tiers.cloud.over_selection", math.inf, "cloud.over_selection is inf; it must be a number of at least 1"),
        ("local.learning_rate", math.inf, "local.learning_rate is inf; it must be a finite number"),
        ("evaluation.target", math.nan, "evaluation.target is nan; it must be a finite number"),
    ],
)
def test_what_is_no_number_that_a_run_could_have_is_refused(path: str, value: object, right: str) -> None:
    raw: Any = value
    for key in reversed(path.split(".")):
        raw = {key: raw}
    with pytest.raises(JobError) as error:
        check(raw)
    assert right in str(error.value)


def test_engines_see_the_local_table_without_what_devices_differ_in() -> None:
    assert set(Local.model_fields) - set(LocalTraining.model_fields) == {"work"}
    assert local_training(Job(local=Local(epochs=3, work=(0.5, 1.0)))) == LocalTraining(epochs=3)


def refused(method: str, parameters: dict[str, Any] | None = None, **job: Any) -> str:
    def planned() -> None:
        made, algorithm = check({"algorithm": {"name": method}, **job}), make(method, **(parameters or {}))
        check_rounds(algorithm, made)
        with_defaults(made, algorithm, ToyTask())

    with pytest.raises(JobError) as error:
        planned()
    return str(error.value)


@pytest.mark.parametrize(
    ("method", "tier", "said"),
    [
        ("fedavg", {"buffer": 2}, "cloud.buffer is 2, which is of mode 'async', and the mode is 'sync'"),
        ("fedbuff", {"buffer": 2, "mode": "semi-async"}, "cloud.buffer is 2"),
        ("fedavg", {"speed_classes": 2}, "cloud.speed_classes is 2, which is of mode 'semi-async'"),
        ("fedbuff", {"over_selection": 1.5}, "cloud.over_selection is 1.5, but the mode is 'async'"),
        ("fedbuff", {"over_selection": "auto"}, "cloud.over_selection is 'auto', but the mode is 'async'"),
        ("fedavg", {"over_selection": 1.5, "mode": "ring"}, "children are asked one after the other"),
        ("fedavg", {"count": 2}, "cloud.count is 2, but the root is one aggregator"),
    ],
)
def test_what_a_tier_takes_no_notice_of_is_refused(method: str, tier: dict[str, Any], said: str) -> None:
    assert said in refused(method, tree={"tiers": {"cloud": tier}})


@pytest.mark.parametrize(
    ("evaluation", "said"),
    [
        ({"share": 0.3}, "evaluation.share says how devices judge, and evaluation.where is 'cloud'"),
        ({"cohort": 3, "where": "cloud"}, "evaluation.cohort says how devices judge"),
        ({"fine_tune": {"epochs": 1}}, "evaluation.fine_tune says how devices judge"),
        ({"stop_at_target": True}, "stop_at_target needs a target"),
    ],
)
def test_what_an_evaluation_takes_no_notice_of_is_refused(evaluation: dict[str, Any], said: str) -> None:
    assert said in refused("fedavg", evaluation=evaluation)


@pytest.mark.parametrize(
    ("method", "parameters", "local", "said"),
    [
        (
            "fednova",
            {},
            {"optimizer": "adam"},
            "local.optimizer is 'adam', but what a step is worth is counted for SGD",
        ),
        ("fednova", {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, "local.nesterov is true, but"),
        ("fednova", {}, {"momentum": 0.9}, "local.momentum is 0.9 and the method's own momentum 0,"),
        ("fednova", {"momentum": 0.9}, {}, "local.momentum is 0 and the method's own momentum 0.9,"),
        ("scaffold", {}, {"optimizer": "adam"}, "local.optimizer is 'adam', but the method wants plain SGD"),
        ("fedpvr", {}, {"momentum": 0.5}, "local.momentum is 0.5, but the method wants plain SGD"),
        ("scaffnew", {}, {"optimizer": "adamw"}, "local.optimizer is 'adamw', but the method wants plain SGD"),
    ],
)
def test_local_training_for_which_a_method_does_not_hold_is_refused(
    method: str, parameters: dict[str, Any], local: dict[str, Any], said: str
) -> None:
    assert said in refused(method, parameters, local=local)


def test_local_training_for_which_a_method_holds_is_taken() -> None:
    for method, parameters, local in (
        ("fednova", {"momentum": 0.9}, {"momentum": 0.9}),
        ("scaffold", {"option": 1}, {"optimizer": "adam"}),
    ):
        job = check({"algorithm": {"name": method, "parameters": parameters}, "local": local})
        assert with_defaults(job, make(method, **parameters), ToyTask()).local.optimizer == job.local.optimizer


def test_where_a_method_has_devices_judge_the_job_need_not_say_so() -> None:
    job = check({"evaluation": {"share": 0.3}})
    assert with_judges(job, make("fedper", private=("a",))).evaluation.where == "devices"
