"""What may become a version, and what may not."""

from __future__ import annotations

import math
from typing import Any

import pytest

from fogline.inference.card import Card
from fogline.jobs.job import Publish
from fogline.registry.fitness import Judgement


def served(**metrics: float) -> Card:
    return Card(model="m", version=7, created=0.0, inputs=(), outputs=(), metrics=metrics)


def judged(state: Any = "finished", higher: bool = True, asked: bool = False, **metrics: float) -> Judgement:
    return Judgement(state, "accuracy" if higher else "rmse", higher, metrics, asked)


def test_a_finished_and_judged_model_is_published() -> None:
    assert judged(accuracy=0.1).unfit(Publish(), served(accuracy=0.9)) is None
    assert judged("running", accuracy=0.1).unfit(Publish(), None) is None


@pytest.mark.parametrize("state", ["stopped", "failed"])
def test_what_was_stopped_or_failed_is_published_only_where_that_is_asked(state: Any) -> None:
    why = judged(state, accuracy=0.9).unfit(Publish(), None)
    assert why is not None
    assert f'publish.even_if = ["{state}"]' in why
    assert judged(state, accuracy=0.9).unfit(Publish(even_if=(state,)), None) is None
    assert (judged(state, asked=True, accuracy=0.9).unfit(Publish(), None) is None) == (state == "stopped")


@pytest.mark.parametrize("metrics", [{}, {"loss": 0.1}, {"accuracy": math.nan}])
def test_what_nothing_judged_is_published_only_where_that_is_asked(metrics: dict[str, float]) -> None:
    why = judged(**metrics).unfit(Publish(), None)
    assert why is not None
    assert "Nothing judged the model" in why
    assert judged(**metrics).unfit(Publish(even_if=("unjudged",)), None) is None
    # A bar that cannot be measured is not reached.
    for bar in ({"at_least": 0.1}, {"not_worse_than": 0.1}):
        assert judged(**metrics).unfit(Publish(even_if=("unjudged",), **bar), None)  # type: ignore[arg-type]


def test_a_bar_is_reached_or_not_whichever_way_is_better() -> None:
    assert judged(accuracy=0.9).unfit(Publish(at_least=0.9), None) is None
    assert judged(accuracy=0.89).unfit(Publish(at_least=0.9), None) == (
        "Its accuracy is 0.89; publish.at_least wants 0.9."
    )
    assert judged(higher=False, rmse=2.0).unfit(Publish(at_least=2.0), None) is None
    assert judged(higher=False, rmse=2.1).unfit(Publish(at_least=2.0), None)
    assert judged("stopped", asked=True, accuracy=0.1).unfit(Publish(at_least=0.9), None)


def test_a_model_is_compared_with_the_version_served() -> None:
    rules = Publish(not_worse_than=0.02)
    assert judged(accuracy=0.1).unfit(rules, None) is None  # There is none yet.
    assert judged(accuracy=0.89).unfit(rules, served(accuracy=0.9)) is None
    assert "of version 7, which is served, 0.9" in str(judged(accuracy=0.87).unfit(rules, served(accuracy=0.9)))
    assert judged(higher=False, rmse=2.01).unfit(rules, served(rmse=2.0)) is None
    assert judged(higher=False, rmse=2.1).unfit(rules, served(rmse=2.0))
    assert "has no accuracy" in str(judged(accuracy=0.9).unfit(rules, served(loss=0.1)))
