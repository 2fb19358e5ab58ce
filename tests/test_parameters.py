"""Parameters are checked where a thing is made, by a job or in Python, and refused in the same words."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import field, fields, replace
from typing import Any

import numpy as np
import pytest

from fogline.aggregation.rules import Rule, make_rule
from fogline.aggregation.rules.trimmed_mean import TrimmedMean
from fogline.algorithms import FedAvg, FedProx, make
from fogline.algorithms.registry import METHODS
from fogline.exchanges import make_exchange
from fogline.nodes.policies import make_policy
from fogline.nodes.policies.available import Available
from fogline.parameters import RANGE, Parametrised, bounded
from fogline.plugins import read_call
from fogline.stages import make as make_stage
from fogline.stages.clip import Clip
from tests.exchanges.commit_reveal import CommitReveal

COMMIT = "tests.exchanges.commit_reveal:CommitReveal"
BY_NAME: list[tuple[str, Callable[[], Any]]] = [
    ("algorithm 'fedprox'", lambda: make("fedprox", mu="x")),
    ("rule 'trimmed_mean'", lambda: make_rule("trimmed_mean(share='x')")),
    ("stage 'clip'", lambda: make_stage("clip(norm='x')")),
    (f"exchange '{COMMIT}'", lambda: make_exchange(COMMIT, liar=1)),
    ("policy 'available'", lambda: make_policy("available", probes="x")),
    ("FedProx", lambda: FedProx(mu="x")),  # type: ignore[arg-type]
    ("TrimmedMean", lambda: TrimmedMean("x")),  # type: ignore[arg-type]
    ("Clip", lambda: Clip(norm="x")),  # type: ignore[arg-type]
    ("CommitReveal", lambda: CommitReveal(liar=1)),  # type: ignore[arg-type]
    ("Available", lambda: Available(probes="x")),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("subject", "made"), BY_NAME, ids=[subject for subject, _ in BY_NAME])
def test_a_value_of_another_type_is_refused(subject: str, made: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=rf"^Parameter '\w+' of {re.escape(subject)} is ('x'|1); it wants an? \w+\.$"):
        made()


@pytest.mark.parametrize(
    ("subject", "made"),
    [
        ("Algorithm 'fedprox'", lambda: make("fedprox", nothing=1)),
        ("Rule 'trimmed_mean'", lambda: make_rule("trimmed_mean(nothing=1)")),
        ("Stage 'clip'", lambda: make_stage("clip(nothing=1)")),
        (f"Exchange '{COMMIT}'", lambda: make_exchange(COMMIT, nothing=1)),
        ("Policy 'available'", lambda: make_policy("available", nothing=1)),
        ("FedProx", lambda: FedProx(nothing=1)),  # type: ignore[call-arg]
        ("Available", lambda: Available(nothing=1)),  # type: ignore[call-arg]
    ],
)
def test_a_parameter_that_there_is_not_is_refused(subject: str, made: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=rf"^{subject} has no parameter 'nothing'; "):
        made()


class Lists(Parametrised):
    """Parameters of many types, some of which nobody can look up."""

    share: float
    often: int = 1
    limit: "float | None" = None  # noqa: UP037 - a text in a text.
    names: tuple[str, ...] = ()
    widths: tuple[float, ...] = bounded((0.5,), gt=0, le=1)
    unknown: "Nowhere | int" = 0  # type: ignore[name-defined]  # noqa: F821, UP037
    table: dict[str, int] = field(default_factory=dict)


def test_whole_numbers_and_those_of_numpy_become_what_a_parameter_is() -> None:
    made = Lists(1, np.int64(3), limit=np.float32(0.5))  # type: ignore[arg-type]
    assert (made.share, made.often, made.limit) == (1.0, 3, 0.5)
    assert [type(value) for value in (made.share, made.often, made.limit)] == [float, int, float]
    assert Lists(1.0, limit=None).limit is None


def test_what_cannot_be_looked_up_is_taken_as_it_is() -> None:
    assert Lists(1.0, unknown="x").unknown == "x"  # type: ignore[arg-type]
    assert Lists(1.0).table == {}


def test_a_list_of_texts_becomes_a_tuple_and_one_text_need_not_stand_in_a_list() -> None:
    assert Lists(1.0, names=["a"]).names == Lists(1.0, names="a").names == ("a",)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^Parameter 'names' of Lists is 3; it wants a list of texts.$"):
        Lists(1.0, names=3)  # type: ignore[arg-type]


def test_a_list_of_numbers_becomes_a_tuple_and_each_is_in_the_range() -> None:
    made = Lists(1.0, widths=[1, np.float32(0.25)])  # type: ignore[arg-type]
    assert made.widths == (1.0, 0.25)
    assert {type(value) for value in made.widths} == {float}
    assert Lists(1.0, widths=0.25).widths == (0.25,)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (((), {}), "Lists wants a value for share."),
        (((1.0,), {"share": 2.0}), "Parameter 'share' of Lists is given twice."),
        (((1.0,), {"often": True}), "Parameter 'often' of Lists is True; it wants an int."),
        (((1.0,), {"limit": "x"}), "Parameter 'limit' of Lists is 'x'; it wants a float or None."),
        (((1.0,), {"widths": ["0.5"]}), "Parameter 'widths' of Lists is ['0.5']; it wants a list of numbers."),
        (
            ((1.0,), {"widths": (0.5, 0)}),
            "Parameter 'widths' of Lists is (0.5, 0.0); each must be above 0 and at most 1",
        ),
        (
            ((1.0, 1, None, (), (), 0, {}, 8), {}),
            "Lists has no 8th parameter; its parameters are share, often, limit, ",
        ),
        (((np.zeros((9, 9)),), {}), "Parameter 'share' of Lists is array("),
    ],
)
def test_each_is_one_sentence(given: tuple[tuple[Any, ...], dict[str, Any]], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as told:
        Lists(*given[0], **given[1])
    assert "\n" not in str(told.value)


def test_a_copy_and_a_replacement_are_as_before() -> None:
    made = FedProx(mu=0.5)
    assert copy.deepcopy(made) == made
    assert replace(made, mu=1) == FedProx(mu=1.0)
    with pytest.raises(ValueError, match="Parameter 'mu' of FedProx"):
        replace(made, mu="x")  # type: ignore[arg-type]


class ByHand(FedAvg):
    """Takes whatever it is given."""

    rate: float = 1.0

    def __init__(self, **given: Any) -> None:
        object.__setattr__(self, "rate", given.get("speed", 1.0) / 2)


def test_an_own_init_decides_itself() -> None:
    assert ByHand(speed=4.0).rate == 2.0
    assert make(f"{__name__}:ByHand", speed=4.0).rate == 2.0  # type: ignore[attr-defined]


class Picky(Rule):
    """Looks at its own parameter, and makes a mistake where it is too large."""

    power: int = 1

    def __post_init__(self) -> None:
        if self.power < 0:
            raise ValueError(f"power is {self.power}; it must be at least 0")
        if self.power > 9:
            raise KeyError(self.power)

    def combine(self, block: Any, weights: Any) -> Any:
        return block.max(axis=0)


def test_what_a_class_refuses_itself_is_told_with_its_name() -> None:
    name = f"{__name__}:Picky"
    with pytest.raises(ValueError, match=f"^The rule '{name}' cannot be made: power is -1; it must be at least 0$"):
        make_rule(f"{name}(-1)")
    with pytest.raises(ValueError, match=rf"^The rule '{name}' cannot be made: Picky raised KeyError: 10 \(.*line \d+"):
        make_rule(f"{name}(10)")


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("median", ("median", (), {})),
        (" clip ( norm = 1.0 ) ", ("clip", (), {"norm": 1.0})),
        ("mine.here:Stage(true, false, True)", ("mine.here:Stage", (True, False, True), {})),
        ("x(-inf, name='a(b', pair=[1, 2])", ("x", (-np.inf,), {"name": "a(b", "pair": [1, 2]})),
    ],
)
def test_a_call_is_read_as_job_files_and_python_write_it(text: str, call: tuple[Any, ...]) -> None:
    assert read_call(text) == call


@pytest.mark.parametrize("text", ["", "(1)", "a b", "a(", "a(1))", "a(1)(2)", "a(b)", "a(__import__('os'))", "a(*[1])"])
def test_a_text_that_is_no_call_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cannot be read; write a name"):
        read_call(text)


class Bounded(Parametrised):
    """Numbers with ranges."""

    share: float = bounded(0.5, gt=0, le=1)
    often: int = bounded(2, ge=1)
    limit: float | None = bounded(None, ge=0)


class Heir(Bounded):
    """Keeps the range of what it gives another default."""

    share = 0.25


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: Bounded(share=0), "Parameter 'share' of Bounded is 0.0; it must be above 0 and at most 1."),
        (lambda: Bounded(1.5), "Parameter 'share' of Bounded is 1.5; it must be above 0 and at most 1."),
        (lambda: Bounded(often=0), "Parameter 'often' of Bounded is 0; it must be at least 1."),
        (lambda: Bounded(limit=-1.0), "Parameter 'limit' of Bounded is -1.0; it must be at least 0."),
        (lambda: Bounded(limit=np.inf), "Parameter 'limit' of Bounded is inf; it must be a finite number at least 0."),
        (
            lambda: Bounded(np.nan),
            "Parameter 'share' of Bounded is nan; it must be a finite number above 0 and at most 1.",
        ),
        (lambda: Heir(2.0), "Parameter 'share' of Heir is 2.0; it must be above 0 and at most 1."),
        (lambda: make("ifca", clusters=0), "Parameter 'clusters' of algorithm 'ifca' is 0; it must be at least 1."),
        (lambda: make("fedprox", mu=-1.0), "Parameter 'mu' of algorithm 'fedprox' is -1.0; it must be at least 0."),
        (lambda: make("fedadam", beta1=1.5), "it must be at least 0 and below 1."),
        (lambda: make("fedadagrad", beta1=1.0), "it must be at least 0 and below 1."),
        (lambda: make("fedasync", alpha=7.0), "it must be above 0 and at most 1."),
        (lambda: make("feddyn", alpha=0.0), "it must be above 0."),
        (lambda: make("fednova", momentum=1.0), "it must be at least 0 and below 1."),
        (lambda: make("fedbuff", buffer=0), "it must be at least 1."),
        (lambda: make("scaffnew", p=2.0), "it must be above 0 and at most 1."),
    ],
)
def test_a_number_out_of_its_range_is_refused_with_the_range(made: Callable[[], Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        made()


def test_what_is_in_range_is_taken_and_a_default_has_to_be_in_it_too() -> None:
    assert (Bounded().share, Heir().share, Heir(1.0).share, Bounded(limit=3).limit) == (0.5, 0.25, 1.0, 3.0)

    class Wrong(Bounded):
        often = 0

    with pytest.raises(ValueError, match="Parameter 'often' of Wrong is 0; it must be at least 1"):
        Wrong()


def test_every_number_of_a_method_says_its_range() -> None:
    open_ended = {
        f"{name}.{one.name}"
        for name in METHODS
        for one in fields(METHODS.find(name).thing)
        if type(one.default) in (int, float) and RANGE not in one.metadata
    }
    assert open_ended == set()
