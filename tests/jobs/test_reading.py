"""Job files: what they say, what overrides change, what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fogline.jobs import JobNeeds, Method, Tree
from fogline.jobs.errors import JobError, check
from fogline.jobs.files.reading import parse_job, read_job
from fogline.jobs.files.writing import job_to_toml
from tests.jobs.example import FILE


def error_of(text: str, *overrides: str) -> str:
    with pytest.raises(JobError) as caught:
        parse_job(text, overrides, "job.toml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_job_file_says_what_the_job_holds() -> None:
    job = parse_job(FILE)
    assert (job.name, job.rounds, job.algorithm.name) == ("demo", 30, "fedprox")
    assert job.local.learning_rate == 0.05
    assert job.tree.names == ("cloud", "fog")
    assert job.tree.tiers["fog"].count == 5
    assert job.tree.tiers["fog"].deadline == 120.0
    assert job.tree.tiers["cloud"].cohort == 3


def test_tiers_may_stand_under_tree_tiers_too() -> None:
    assert parse_job(FILE.replace("[tree.", "[tree.tiers.")) == parse_job(FILE)


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("rounds=7", "rounds", 7),
        ("local.optimizer=adam", "local.optimizer", "adam"),
        ('local.optimizer="adam"', "local.optimizer", "adam"),
        ("local.work=[0.5, 1.0]", "local.work", (0.5, 1.0)),
        ("local.batch_size=none", "local.batch_size", None),
        ("algorithm=scaffold", "algorithm.name", "scaffold"),
        ("algorithm.parameters.mu=0.5", "algorithm.parameters", {"mu": 0.5}),
        ("task_parameters.clients=100", "task_parameters", {"clients": 100}),
        ("evaluation.target=0.9", "evaluation.target", 0.9),
        ("tree.assign=blocks", "tree.assign", "blocks"),
        ("name=a = b", "name", "a = b"),
    ],
)
def test_an_override_reaches_its_key(override: str, path: str, value: object) -> None:
    found: Any = parse_job(FILE, [override])
    for key in path.split("."):
        found = getattr(found, key)
    assert found == value


@pytest.mark.parametrize("key", ["fog.deadline", "tree.fog.deadline", "tree.tiers.fog.deadline"])
def test_a_tiers_key_is_reached_by_the_tiers_name(key: str) -> None:
    tiers = parse_job(FILE, [f"{key}=10s"]).tree.tiers
    assert tiers["fog"].deadline == 10.0
    assert tiers["fog"].count == 5
    assert tiers["cloud"].deadline is None


def test_without_a_tree_overrides_reach_the_default_cloud() -> None:
    assert parse_job("", ["cloud.cohort=0.1"]).tree.tiers["cloud"].cohort == 0.1
    below = parse_job("", ["tree.fog.count=4"]).tree
    assert below.names == ("cloud", "fog")
    assert parse_job('[tree]\nassign = "blocks"', ["tree.fog.count=4"]).tree.names == ("cloud", "fog")


def test_later_overrides_win_and_the_rest_of_the_algorithm_goes_with_its_name() -> None:
    job = parse_job(FILE, ["algorithm.parameters.mu=1", "algorithm=fedavg", "rounds=1", "rounds=2"])
    assert job.algorithm == Method(name="fedavg")
    assert job.rounds == 2


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[tree.fog]\ndeadlin = 3", "job.toml: fog.deadlin is no key of a tier; did you mean 'deadline'?"),
        ("ruonds = 3", "job.toml: ruonds is no key of a job; did you mean 'rounds'?"),
        ("[local]\nlerning_rate = 3", "local.lerning_rate is no key of local training; did you mean 'learning_rate'?"),
        ("[algorithm]\nmu = 3", "algorithm.mu is no key of an algorithm; its parameters stand under algorithm.param"),
        ("[publish]\nring_tme = 3", "job.toml: publish.ring_tme is no key of publish; did you mean 'ring_time'?"),
        ("[publish]\nmodel = 'a b'", "publish.model is 'a b'; it must be at most 63 letters, digits, dots and dashes"),
        ("[publish]\nexit_accuracy = 0.9", "publish: exit_accuracy needs the names of the outputs too"),
        ("[publish]\nexits = ['early', 'early']", "publish: exits need two names at least, each another"),
        ("[evaluation]\nfine_tune = { epoch = 1 }", "fine_tune.epoch is no key of fine-tuning; did you mean 'epochs'?"),
        ("[tree]\nasign = 'blocks'", "tree.asign is no key of a tree; did you mean 'assign'?"),
        ("[tree]\nassign = 'block'", "must be 'round-robin', 'blocks' or 'groups'; did you mean 'blocks'?"),
        ("rounds = 0", "job.toml: rounds is 0; it must be at least 1"),
        ("rounds = 'ten'", "rounds is 'ten'; it must be a whole number"),
        ("rounds = 1.5", "rounds is 1.5; it must be a whole number"),
        ("seed = -1", "seed is -1; it must be at least 0"),
        (f"seed = {2**63}", f"seed is {2**63}; it must be below 9.2"),
        ("exact = 3", "exact is 3; it must be true or false"),
        ("name = 3", "name is 3; it must be text in quotes"),
        ("local = 3", "local is 3; it must be a table of keys"),
        ("tree = 3", "tree is 3; it must be a table with one table per tier"),
        ("[tree]\ntiers = 3", "tree.tiers is 3; it must be a table with one table per tier"),
        ("[tree.tiers]\nfog = 3", "fog is 3; it must be a table of keys"),
        ("[local]\nmomentum = 1.0", "local.momentum is 1.0; it must be below 1"),
        ("[local]\nlearning_rate = 0.0", "local.learning_rate is 0.0; it must be above 0"),
        ("[local]\noptimizer = 'sdg'", "it must be 'sgd', 'adam' or 'adamw'; did you mean 'sgd'?"),
        ("[local]\nnesterov = true", "local: nesterov needs a momentum above 0"),
        ("[local]\noptimizer = 'adam'\nmomentum = 0.9", "local: momentum is of SGD, and the optimizer is adam"),
        ("[local]\ndecay = 0.9", "local: decay is of the exponential schedule, and the schedule is constant"),
        ("[local]\nwork = [1.0]", "local.work is [1.0]; it must be a list of two numbers"),
        ("[local]\nwork = [2.0, 1.0]", "local: work must be [smallest, largest]"),
        ("[tree.fog]\ncohort = 0", "fog.cohort is 0; it must be a count of at least 1, or a share above 0 and at most"),
        ("[tree.fog]\ncohort = 1.5", "fog.cohort is 1.5; it must be a count of at least 1, or a share above 0"),
        (
            "[tree.fog]\ndeadline = '10x'",
            "fog.deadline is '10x'; it must be a duration above 0 such as 30 or '10s', or 'auto'",
        ),
        (
            "[tree.fog]\ndeadline = -1",
            "fog.deadline is -1; it must be a duration above 0 such as 30 or '10s', or 'auto'",
        ),
        ("[tree.fog]\nmode = 'asink'", "fog.mode is 'asink'; it must be 'sync', 'async'"),
        ("rounds = ", "job.toml is not valid TOML: Invalid value (at "),
    ],
)
def test_a_wrong_file_is_one_line_that_names_the_key(text: str, line: str) -> None:
    assert line in error_of(text)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("rounds=0", "command line: rounds is 0; it must be at least 1"),
        ("rounds", "'rounds' is no override; write --set key=value"),
        ("=3", "'=3' is no override"),
        ("rounds.x=3", "command line: rounds is 30, so there is no rounds.x to set"),
        ("fgo.deadline=3", "command line: fgo is no key of a job; did you mean 'fog'?"),
        ("fog.polcy=x", "command line: fog.polcy is no key of a tier; did you mean 'policy'?"),
    ],
)
def test_a_wrong_override_is_blamed_on_the_command_line(override: str, line: str) -> None:
    assert line in error_of(FILE, override)


@pytest.mark.parametrize("key", ["private", "parameters.private"])
@pytest.mark.parametrize("text", ['private = ["head"]', 'parameters = { private = ["head"], mu = 1.0 }'])
def test_what_stays_on_devices_is_overridden_wherever_it_stands(text: str, key: str) -> None:
    job = parse_job(f'[algorithm]\nname = "fedprox"\n{text}\n', [f'algorithm.{key}=["body"]'])
    assert job.algorithm.parameters["private"] == ("body",)
    assert job.algorithm.parameters.get("mu", 1.0) == 1.0
    assert parse_job(job_to_toml(job)).algorithm == job.algorithm


def test_what_stays_on_devices_is_said_once() -> None:
    twice = {"name": "fedavg", "private": ["a"], "parameters": {"private": ["b"]}}
    line = "algorithm: private stands beside the name and among the parameters; leave one of the two out"
    with pytest.raises(JobError, match=f"^job: {line}$"):
        parse_job('[algorithm]\nprivate = ["a"]\nparameters = { private = ["b"] }\n')
    with pytest.raises(JobError, match=line):
        check({"algorithm": twice})
    with pytest.raises(JobError, match=line):
        Method(**twice)
    with pytest.raises(JobError, match=r"algorithm.parameters is 3; it must be a table"):
        parse_job('[algorithm]\nprivate = ["a"]\nparameters = 3\n')


def test_several_faults_are_counted_and_the_unknown_key_goes_first() -> None:
    line = error_of("rounds = 0\nseed = -1\nsede = 3")
    assert line.startswith("job.toml: sede is no key of a job; did you mean 'seed'?")
    assert line.endswith("(2 more to mend after it)")


def test_python_callers_get_the_same_sentences_without_a_file() -> None:
    with pytest.raises(JobError, match=r"^local\.epochs is 0; it must be at least 1$"):
        check({"local": {"epochs": 0}, "tree": Tree()})


def test_a_missing_file_suggests_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "demo.toml").write_text(FILE)
    with pytest.raises(JobError, match=r"There is no job file .*dmo\.toml; did you mean 'demo\.toml'\?"):
        read_job(tmp_path / "dmo.toml")
    with pytest.raises(JobError, match="is a folder, not a job file"):
        read_job(tmp_path)
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(JobError, match="cannot be read"):
        read_job(tmp_path / "bad.toml")


def test_needs_take_sizes_and_name_what_is_wrong() -> None:
    job = parse_job('[needs]\nmemory = "2GB"\nframeworks = ["torch"]\n')
    assert job.needs == JobNeeds(memory=2 * 10**9, frameworks=("torch",))
    assert parse_job(job_to_toml(job)) == job
    assert "needs.memory: 'much' is no size; write a number of bytes or one such as 512MB or 2GB" in error_of(
        '[needs]\nmemory = "much"\n'
    )
    assert "needs.cpu is no key of needs; did you mean 'cpus'?" in error_of("[needs]\ncpu = 1\n")


@pytest.mark.parametrize("text", ["x = " + "[" * 5000 + "]" * 5000, ".".join("a" * 5000) + " = 1"])
def test_what_is_nested_without_end_is_no_job(text: str) -> None:
    with pytest.raises(JobError, match="is nested too deeply"):
        parse_job(text)
