"""What somebody finds out about the package by asking it."""

from __future__ import annotations

import ast
import importlib
import inspect
import pydoc
import textwrap

import numpy as np
import pytest

import fogline
from fogline import FedAvg, Job, Local, Tier, Tree
from fogline.aggregation import Folded
from fogline.algorithms import AggregatorContext, ClientUpdate, FedProx, Weighted
from fogline.attributes import attributes_of
from fogline.data import Examples
from fogline.monitoring.result import Result, Spread
from fogline.params import Params
from tests.toy import SPEC, ToyTask, toy_data

FACES = (
    "fogline.aggregation",
    "fogline.algorithms",
    "fogline.data",
    "fogline.jobs",
    "fogline.monitoring.result",
    "fogline.nodes.policies",
    "fogline.params",
    "fogline.training",
    "fogline.training.sklearn",
    "fogline.training.torch",
)


def test_completion_offers_the_api_and_nothing_else() -> None:
    offered = [name for name in dir(fogline) if not name.startswith("_")]
    assert offered == sorted(fogline.__all__)
    for name in offered:
        assert getattr(fogline, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'simulat'"):
        _ = fogline.simulat  # type: ignore[attr-defined]


def test_every_name_has_a_home_and_a_type() -> None:
    """A type checker sees what is imported where it is used."""
    source = ast.parse(inspect.getsource(fogline))
    seen = {
        alias.asname or alias.name
        for node in ast.walk(source)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(fogline.__all__) <= seen


@pytest.mark.parametrize("face", FACES)
def test_help_shows_the_strings_below_attributes(face: str) -> None:
    module = importlib.import_module(face)
    for name in module.__all__:
        thing = getattr(module, name)
        if not isinstance(thing, type):
            continue
        shown = pydoc.render_doc(thing, renderer=pydoc.plaintext)  # type: ignore[attr-defined]
        assert shown.count(str(thing.__doc__).splitlines()[0]) >= 1
        for attribute, text in attributes_of(thing).items():
            assert f"{attribute}: {text.splitlines()[0]}" in shown, (name, attribute)


def test_a_docstring_is_its_own_with_its_attributes_below() -> None:
    text = inspect.getdoc(Tier)
    assert text is not None
    assert text.startswith(
        "How the aggregators of one tier work. Every wait has a quorum and a deadline.\n\nAttributes:\n"
    )
    assert "    rounds: Rounds of its own per round of its parent (ignored at the root).\n" in text
    assert inspect.getdoc(AggregatorContext) is not None
    assert "round: How many moves it made before." in str(AggregatorContext.__doc__)

    class Mine(FedAvg):
        mu: float = 0.1

    assert "columnwise" not in str(Mine.__doc__)
    assert textwrap.dedent(str(FedProx.__doc__)).startswith("FedAvg with a proximal pull")


def result() -> Result:
    spread = Spread(0.5, 0.4, 0.1, {f"c{i}": 0.5 for i in range(300)})
    return Result(Job(), "accuracy", Params.zeros(SPEC), [{"round": 1}] * 300, {"accuracy": 0.5}, devices=spread)


class Pull(FedAvg):
    mu: float = 0.1


@pytest.mark.parametrize(
    ("thing", "shown"),
    [
        (Tier(cohort=8), "Tier(cohort=8)"),
        (Tree(cloud=Tier(), fog=Tier(count=5)), "Tree(cloud=Tier(), fog=Tier(count=5))"),
        (Tree(assign="blocks", minimum=3), "Tree(cloud=Tier(), minimum=3, assign='blocks')"),
        (Local(learning_rate=0.5), "Local(learning_rate=0.5)"),
        (Job(name="x"), "Job(name='x')"),
        (Pull(mu=0.3), "Pull(mu=0.3)"),
        (ToyTask(), "<ToyTask 'toy' on <FederatedData 'toy': 12 clients, 0 held out, 3 classes>, judged by accuracy"),
        (toy_data(), "<FederatedData 'toy': 12 clients, 0 held out, 3 classes>"),
        (Examples(np.zeros((3, 4)), np.zeros(3, np.int64)), "Examples(x=<float64 (3, 4)>, y=<int64 (3,)>)"),
        (Params.zeros(SPEC), "<Params: 16 numbers and 1 counters in <Spec: 3 tensors, 12 of 16 numbers trained>>"),
        (Weighted(np.zeros(2000), 3.0), "Weighted(<float64 (2000,)>, 3.0)"),
        (
            ClientUpdate({"delta": Weighted(np.zeros(9), 1.0)}, {}),
            "ClientUpdate({'delta': Weighted(<float64 (9,)>, 1.0)}, {})",
        ),
        (
            Folded({"delta": np.zeros(9)}, {"delta": 1.0}, np.zeros(0, np.int64), 2),
            "<Folded: 2 updates of 'delta' (9,)>",
        ),
        (result(), "<Result 'run': fedavg, 300 rounds; accuracy 0.5>"),
        (result().devices, "<Spread over 300: mean 0.5, worst tenth 0.4, std 0.1>"),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_objects_print_themselves_in_one_line(thing: object, shown: str) -> None:
    assert repr(thing).startswith(shown)
    assert str(thing) == repr(thing)
    assert "\n" not in repr(thing)
    assert len(repr(thing)) < 200
