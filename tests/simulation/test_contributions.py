"""What parts are worth: their Shapley values add up, twins share, and who has wrong labels is worth less."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fogline.data import Examples, from_clients
from fogline.jobs import Job, JobError
from fogline.jobs.reading import parse_job
from fogline.params import Params
from fogline.simulation.contributions import Estimate, contributions
from tests.toy import ToyTask, toy_data

JOB = """
task = "toy:task"
rounds = 4
engine = "loop"
processes = 0
[local]
learning_rate = 0.3
batch_size = 10
"""


class Blank(ToyTask):
    """It knows nothing before it is trained."""

    def initial(self, seed: int) -> Params:
        return Params.zeros(self.spec)


def task(wrong: bool = False) -> ToyTask:
    """Two clients with the same data, one with other data, and one whose labels say nothing."""
    data, rng = toy_data(3, 40), np.random.default_rng(5)
    one, other = data[data.clients[0]], data[data.clients[1]]
    noise = Examples(other.x, rng.integers(0, 3, len(other.y)))
    clients = {"a": one, "twin": one, "b": other, **({"wrong": noise} if wrong else {})}
    return Blank(from_clients("toys", clients, classes=3, test=data.test))


@pytest.fixture
def job() -> Job:
    return parse_job(JOB)


def test_shapley_values_add_up_to_the_whole_gain(job: Job) -> None:
    found = contributions(job, task(), seeds=1, orders=4, tolerance=0.0)
    total = sum(value.mean for value in found.shapley.values())
    assert total == pytest.approx(found.whole - found.untrained)
    assert found.runs <= 2**3 - 1, "each coalition is trained once"
    assert all(math.isnan(value.error) for value in found.left_out.values()), "one seed has no error"


def test_twins_are_worth_nothing_alone_and_share_together(job: Job) -> None:
    found = contributions(job, task(), seeds=1, orders=12, tolerance=0.0)
    one, twin = found.shapley["a"], found.shapley["twin"]
    assert abs(one.mean - twin.mean) <= 3 * math.hypot(one.error, twin.error)
    assert one.mean + twin.mean > 0
    assert abs(found.left_out["twin"].mean) < one.mean + twin.mean


def test_wrong_labels_are_worth_less(job: Job) -> None:
    found = contributions(job, task(wrong=True), seeds=2, orders=6)
    worst = min(found.shapley, key=lambda part: found.shapley[part].mean)
    assert worst == "wrong"
    again = contributions(job, task(wrong=True), seeds=2, orders=6)
    assert again == found


def test_an_order_is_cut_off_where_nothing_is_left_to_gain(job: Job) -> None:
    whole = contributions(job, task(wrong=True), seeds=1, orders=6, tolerance=0.0)
    cut = contributions(job, task(wrong=True), seeds=1, orders=6, tolerance=0.5)
    assert cut.runs < whole.runs
    assert cut.whole == whole.whole


def test_groups_of_devices_are_parts_too() -> None:
    job = parse_job(JOB + "[tree.cloud]\n[tree.fog]\ncount = 2\n")
    found = contributions(job, task(), by_group=True, seeds=1, orders=2)
    assert set(found.shapley) == {"fog-0", "fog-1"}


def test_what_cannot_be_told_is_a_sentence(job: Job) -> None:
    with pytest.raises(JobError, match="there is one only"):
        contributions(job, task(), by_group=True)
    alone = task()
    alone.data.test = None
    with pytest.raises(JobError, match="has no test set"):
        contributions(job, alone)
    with pytest.raises(JobError, match="at least 1 seed"):
        contributions(job, task(), seeds=0)


def test_an_error_is_the_standard_error() -> None:
    assert Estimate.of([1.0, 3.0]) == Estimate(2.0, 1.0)
