"""Job files: what is written, and that reading gives it back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.jobs import Evaluation, Job, Local, Method, Tier, Tree
from fogline.jobs.errors import JobError
from fogline.jobs.reading import parse_job
from fogline.jobs.writing import job_to_toml, write_job
from tests.jobs.example import FILE

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


def with_one_root(tiers: dict[str, Tier]) -> dict[str, Tier]:
    first = next(iter(tiers))
    return tiers | {first: tiers[first].model_copy(update={"count": 1})}


trees = st.builds(
    Tree,
    tiers=st.dictionaries(
        words | st.sampled_from(["assign", "tiers", "minimum", "fog"]), tiers, min_size=1, max_size=3
    ).map(with_one_root),
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
    seed=st.integers(0, 2**63 - 1),
    devices=st.dictionaries(words, free, max_size=2),
    evaluation=st.builds(
        Evaluation,
        target=st.none() | st.floats(allow_nan=False, allow_infinity=False),
        patience=st.none() | st.integers(1, 9),
    ),
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


def test_only_what_was_given_is_written_if_asked_so() -> None:
    job = parse_job(FILE)
    text = job_to_toml(job, only_given=True)
    again = parse_job(text)
    assert again == job
    assert again.local.model_fields_set == {"learning_rate"}, "a method's own settings must still count"
    assert "seed" not in text
    assert parse_job(job_to_toml(Job(task="a:b"), only_given=True)) == Job(task="a:b")
