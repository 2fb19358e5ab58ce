"""The values behind the keys: which training is in flight."""

from __future__ import annotations

from fogline.algorithms import make
from fogline.compute.groups import Groups
from fogline.jobs.planning import LocalPlan
from fogline.params import Entry, Spec
from fogline.simulation.numbers import Numbers
from fogline.simulation.values import LazyValue, Training


def numbers() -> Numbers:
    spec = Spec.of([Entry("w", (2,), "float32")])
    return Numbers({"cloud": Groups(make("fedavg"), spec)}, {"cloud": 3}, lambda child, why: None)


def training(client: int, model: LazyValue) -> Training:
    return Training(client, model, LocalPlan(1, 1, 1, 0.1, client))


def test_training_is_in_flight_from_when_its_model_is_there_until_it_is_computed() -> None:
    kept, known, unknown = numbers(), LazyValue("model"), LazyValue(done=False)
    first, second, third = training(0, unknown), training(1, known), training(2, unknown)
    for client, one in enumerate((first, second, third)):
        kept.begin(f"cloud#{client}", one)
    assert kept.in_flight() == [second], "the others wait for their model"
    unknown.settle("model")
    kept.settled(unknown)
    assert kept.in_flight() == [first, second, third], "in the order in which they were begun"
    second.settle(None)
    assert kept.in_flight() == [first, third]


def test_training_that_nobody_will_name_is_not_in_flight() -> None:
    kept, known, unknown = numbers(), LazyValue("model"), LazyValue(done=False)
    kept.begin("cloud#0", training(0, known))
    kept.begin("cloud#1", training(1, unknown))
    last = training(2, unknown)
    kept.begin("cloud#2", last)
    kept.forget(["cloud#0", "cloud#1"])
    unknown.settle("model")
    kept.settled(unknown)
    assert kept.in_flight() == [last]
