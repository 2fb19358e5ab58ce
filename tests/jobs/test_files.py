"""Job files: what they say, what overrides change, what is wrong with them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.jobs import Evaluation, Job, JobNeeds, Local, Method, Tier, Tree
from fogline.jobs.errors import JobError, check
from fogline.jobs.loading import load_task, task_folder
from fogline.jobs.reading import parse_job, read_job
from fogline.jobs.writing import job_to_toml, write_job

FILE = """
name = "demo"
task = "tasks:make"
algorithm = "fedprox"
rounds = 30

[local]
learning_rate = 0.05

[tree.cloud]
cohort = 3

[tree.fog]
count = 5
deadline = "2min"
"""


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
        ("evaluation.stop_at_target=true", "evaluation.stop_at_target", True),
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
        ("[tree]\nasign = 'blocks'", "tree.asign is no key of a tree; did you mean 'assign'?"),
        ("[tree]\nassign = 'block'", "must be 'round-robin', 'blocks' or 'groups'; did you mean 'blocks'?"),
        ("rounds = 0", "job.toml: rounds is 0; it must be at least 1"),
        ("rounds = 'ten'", "rounds is 'ten'; it must be a whole number"),
        ("rounds = 1.5", "rounds is 1.5; it must be a whole number"),
        ("seed = -1", "seed is -1; it must be at least 0"),
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
        ("[local]\nwork = [1.0]", "local.work is [1.0]; it must be a list of two numbers"),
        ("[local]\nwork = [2.0, 1.0]", "local: work must be [smallest, largest]"),
        ("[tree.fog]\ncohort = 0", "fog.cohort is 0; it must be a count of at least 1, or a share above 0 and at most"),
        ("[tree.fog]\ncohort = 1.5", "fog.cohort is 1.5; it must be a count of at least 1, or a share above 0"),
        ("[tree.fog]\ndeadline = '10x'", "fog.deadline: '10x' is no duration; write a number of seconds"),
        ("[tree.fog]\ndeadline = -1", "fog.deadline is -1; it must be above 0"),
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


# Writing

words = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
floats = st.floats(allow_nan=False)
scalars = st.none() | st.booleans() | st.integers() | floats | words
free = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3), max_leaves=8
).filter(lambda value: value != {"none": True})
positive = st.floats(1e-6, 1e6)
tiers = st.builds(
    Tier,
    count=st.integers(1, 9),
    mode=st.sampled_from([None, "sync", "async", "semi-async", "ring"]),
    cohort=st.integers(50, 99) | st.floats(0.01, 1.0),
    quorum=st.integers(1, 50) | st.floats(0.01, 1.0),
    deadline=st.none() | positive,
    policy_parameters=st.dictionaries(words, st.booleans() | st.integers() | floats | words, max_size=2),
    buffer=st.none() | st.integers(1, 9),
    late=st.sampled_from(["drop", "fold"]),
)
trees = st.builds(
    Tree,
    tiers=st.dictionaries(
        words | st.sampled_from(["assign", "tiers", "minimum", "fog"]), tiers, min_size=1, max_size=3
    ),
    assign=st.sampled_from(["round-robin", "blocks", "groups"]),
)
jobs = st.builds(
    Job,
    name=words,
    task=words,
    task_parameters=st.dictionaries(words, free, max_size=3),
    algorithm=st.builds(Method, name=words, parameters=st.dictionaries(words, scalars, max_size=3)),
    local=st.builds(
        Local,
        learning_rate=positive,
        batch_size=st.none() | st.integers(1, 99),
        steps=st.none() | st.integers(1, 99),
        work=st.none() | st.just((0.5, 1.0)),
    ),
    tree=trees,
    seed=st.integers(0, 2**63),
    devices=st.dictionaries(words, free, max_size=2),
    evaluation=st.builds(Evaluation, target=st.none() | floats, patience=st.none() | st.integers(1, 9)),
    engine=st.none() | words.filter(lambda word: word != "none"),
    processes=st.none() | st.integers(0, 9),
    checkpoint_every=st.none() | st.integers(1, 9),
)


@given(jobs)
@settings(max_examples=150, deadline=None)
def test_a_written_job_is_read_back_as_it_was(job: Job) -> None:
    again = parse_job(job_to_toml(job))
    assert again == job
    assert again.tree.names == job.tree.names


def test_a_share_of_one_stays_all_children() -> None:
    again = parse_job(job_to_toml(Job(tree=Tree(cloud=Tier()))))
    assert again.tree.tiers["cloud"].cohort_of(50) == 50


def test_the_file_reads_like_one_that_people_write(tmp_path: Path) -> None:
    write_job(tmp_path / "job.toml", parse_job(FILE, ["local.batch_size=none"]))
    lines = (tmp_path / "job.toml").read_text().splitlines()
    assert lines[0].startswith("#")
    assert {"[tree.fog]", "deadline = 120.0", 'batch_size = "none"', "[algorithm]"} <= set(lines)
    assert "[tree.tiers.fog]" not in lines


def test_what_toml_cannot_say_is_named() -> None:
    with pytest.raises(JobError, match=r"task_parameters\.model is a object; a job can hold"):
        job_to_toml(Job(task_parameters={"model": object()}))


# Tasks

TASKS = """
from toy import ToyTask

ready = ToyTask()
number = 3

def make(clients: int = 3):
    return ToyTask()

def broken():
    raise RuntimeError("no data today")

def wrong():
    return "a task"
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a task module that this test alone sees."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parents[1])])
    (tmp_path / "tasks.py").write_text(TASKS)
    yield tmp_path
    sys.modules.pop("tasks", None)


def task_error(home: Path, task: str, **parameters: object) -> str:
    with pytest.raises(JobError) as caught:
        load_task(Job(task=task, task_parameters=parameters), home)
    return str(caught.value)


def test_a_task_is_found_beside_the_job_file(home: Path) -> None:
    assert load_task(Job(task="tasks:ready"), home).name == "toy"
    job = Job(task="tasks:make", task_parameters={"clients": 2})
    assert load_task(job, home).name == "toy"
    assert task_folder(job) == home.resolve()


def test_two_folders_may_have_a_module_of_the_same_name(home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    load_task(Job(task="tasks:ready"), home)
    other = tmp_path_factory.mktemp("other")
    (other / "tasks.py").write_text(TASKS.replace("ready =", "prepared ="))
    assert load_task(Job(task="tasks:prepared"), other).name == "toy"


@pytest.mark.parametrize(
    ("task", "line"),
    [
        ("", "write 'module:attribute'"),
        ("tasks", "task is 'tasks'; write 'module:attribute', say 'tasks:task'"),
        ("tasks.py:make", "say 'tasks:make'"),
        ("taks:make", "there is no module 'taks' in"),
        ("taks:make", "; did you mean 'tasks'?"),
        ("tasks:mak", "module 'tasks' has no 'mak'; did you mean 'make'?"),
        ("tasks:number", "'tasks:number' gives a int; it must be a fogline Task or a function of one"),
        ("tasks:wrong", "'tasks:wrong' gives a str"),
        ("tasks:broken", "tasks:broken raised RuntimeError (tasks.py, line 11): no data today"),
    ],
)
def test_a_wrong_task_is_one_sentence(home: Path, task: str, line: str) -> None:
    assert line in task_error(home, task)


def test_needs_take_sizes_and_name_what_is_wrong() -> None:
    job = parse_job('[needs]\nmemory = "2GB"\nframeworks = ["torch"]\n')
    assert job.needs == JobNeeds(memory=2 * 10**9, frameworks=("torch",))
    assert parse_job(job_to_toml(job)) == job
    assert "needs.memory: 'much' is no size; write a number of bytes or one such as 512MB or 2GB" in error_of(
        '[needs]\nmemory = "much"\n'
    )
    assert "needs.cpu is no key of needs; did you mean 'cpus'?" in error_of("[needs]\ncpu = 1\n")


def test_only_what_was_given_is_written_if_asked_so() -> None:
    job = parse_job(FILE)
    text = job_to_toml(job, only_given=True)
    again = parse_job(text)
    assert again == job
    assert again.local.model_fields_set == {"learning_rate"}, "a method's own settings must still count"
    assert "seed" not in text
    assert parse_job(job_to_toml(Job(task="a:b"), only_given=True)) == Job(task="a:b")


def test_parameters_must_fit(home: Path) -> None:
    assert "do not fit tasks:make(clients: int = 3): got an unexpected keyword" in task_error(home, "tasks:make", n=3)
    assert "takes no task_parameters" in task_error(home, "tasks:ready", n=3)


def test_a_module_that_fails_says_where(home: Path) -> None:
    (home / "failing.py").write_text("x = 1\ny = x / 0\n")
    assert "raised ZeroDivisionError (failing.py, line 2)" in task_error(home, "failing:x")
    (home / "needy.py").write_text("import not_there_at_all\n")
    assert "module 'needy' needs 'not_there_at_all', which is not installed" in task_error(home, "needy:x")
