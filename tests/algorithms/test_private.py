"""Entries of a device's own: hooks see the others, each device trains its own plainly and keeps it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from quadratics import Quadratics, Run

from fogline.aggregation import Partial
from fogline.algorithms import FedAvg, FedBN, FedPer, FedProx, make
from fogline.algorithms.private import keeps_private, private_names
from fogline.params import Entry, Spec
from fogline.training.kept_on_device import FLOATS
from fogline.user_code.bugs import CodeError

METHODS: list[tuple[str, dict[str, Any]]] = [
    ("fedavg", {}),
    ("fedprox", {"mu": 0.5}),
    ("scaffold", {}),
    ("scaffold", {"option": 1}),
    ("feddyn", {"alpha": 0.1}),
    ("feddc", {}),
    ("fedsam", {}),
    ("fednova", {}),
    ("fedexp", {}),
    ("ifca", {}),
]
TREE = [[0, 1], [2, [3, 4]], [5]]


def apart(seed: int = 3) -> tuple[Quadratics, Quadratics]:
    """Problems whose coordinates do not know of each other: whole, and without the last one."""
    whole = Quadratics.make(size=3, seed=seed)
    whole.private = 1
    return whole, Quadratics(whole.a[:, :2, :2], whole.b[:, :2], whole.samples, whole.steps)


@pytest.mark.parametrize(("name", "parameters"), METHODS)
@pytest.mark.parametrize("children", [list(range(6)), TREE], ids=["star", "tree"])
def test_a_method_is_on_the_shared_part_as_if_there_were_no_other(
    name: str, parameters: dict[str, Any], children: Any
) -> None:
    whole, body = apart()
    mine, theirs = Run(make(name, **parameters), whole), Run(make(name, **parameters), body)
    for _ in range(4):
        mine.round(children)
        theirs.round(children)
    np.testing.assert_allclose(mine.x, theirs.x, rtol=1e-12)
    for i in range(6):  # And the last coordinate is that of a device that trains alone.
        alone = np.zeros(3)
        for _ in range(4):
            alone = whole.sgd(i, alone)
        np.testing.assert_allclose(mine.locals[i][FLOATS], alone[2:], rtol=1e-12)


def test_what_goes_up_has_nothing_of_it() -> None:
    whole, _ = apart()
    run = Run(make("scaffold"), whole)
    run.round(list(range(6)))
    sent = run.device(0, run_down(run))
    assert not isinstance(sent, Partial)
    assert {name: vector.size for name, vector in sent.vectors.items()} == {"delta": 2, "control": 2, "buffers": 2}
    own = run.locals[0][FLOATS][0]
    assert all(not np.any(vector == own) for vector in sent.vectors.values())


def run_down(run: Run) -> Any:
    from fogline.algorithms import group as groups

    return groups.send_down(run.method, run.group)


MODEL = Spec.of(
    [
        Entry("conv.weight", (2,), "float32"),
        Entry("bn.weight", (1,), "float32"),
        Entry("bn.running_mean", (1,), "float32", "buffer"),
        Entry("bn.num_batches_tracked", (), "int64", "buffer"),
        Entry("embedding.weight", (4,), "float32", "frozen"),
        Entry("head.weight", (2,), "float32"),
        Entry("head.bias", (1,), "float32"),
    ]
)


def test_which_entries_a_method_keeps() -> None:
    head = {"head.weight", "head.bias"}
    normalisation = {"bn.weight", "bn.running_mean", "bn.num_batches_tracked"}
    assert private_names(make("fedprox", private=["head.*"]), MODEL) == head
    assert private_names(make("fedprox", private="head.*"), MODEL) == head
    assert private_names(FedPer(), MODEL) == head
    assert private_names(FedPer(private=("conv.*",)), MODEL) == {"conv.weight"}
    assert private_names(FedBN(), MODEL) == normalisation
    assert private_names(FedBN(private=("head.*",)), MODEL) == normalisation | head
    assert private_names(FedAvg(), MODEL) == frozenset()
    assert not keeps_private(FedAvg())


class Typing(FedAvg):
    """Gives no names."""

    def private_of(self, spec: Spec) -> Any:
        return list(spec.entries)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (
            FedAvg(private=("tail.*",)),
            "FedAvg keeps nothing on devices: no entry of the model is called 'tail.*'; there",
        ),
        (FedAvg(private=("embedding.*",)), "all that it names is frozen"),
        (FedAvg(private=("*",)), "FedAvg keeps all that trains on devices, and nothing would be shared; name fewer of"),
    ],
)
def test_what_cannot_be_kept_is_a_sentence(method: FedAvg, words: str) -> None:
    with pytest.raises(ValueError, match="keeps") as caught:
        private_names(method, MODEL)
    assert words in str(caught.value)


def test_a_model_without_running_statistics_has_nothing_for_fedbn() -> None:
    with pytest.raises(ValueError, match="the model has no layer with running statistics"):
        private_names(FedBN(), Spec.of([Entry("w.weight", (1,), "float32")]))


def test_a_wrong_private_of_is_named() -> None:
    with pytest.raises(
        CodeError, match=r"Typing\.private_of gives Entry.*, which is no entry of the model; it must give"
    ):
        private_names(Typing(), MODEL)


class Pull(FedProx):
    """Another default, without an annotation."""

    mu = 0.5
    private = ["head.*"]  # noqa: RUF012 - as people write it


class Stronger(Pull):
    """A default more, and a parameter more."""

    mu = 2.0
    extra: int = 3


def test_a_plain_value_in_a_subclass_is_the_parameter_s_default() -> None:
    assert (FedProx().mu, Pull().mu, Stronger().mu, Stronger(mu=1.0).mu) == (0.01, 0.5, 2.0, 1.0)
    assert (Pull().private, Stronger().private, Stronger(private=()).private) == (("head.*",), ("head.*",), ())
    assert (repr(FedProx()), repr(Pull())) == ("FedProx(mu=0.01)", "Pull(mu=0.5)")
    assert (Stronger(7.0).mu, Stronger().extra) == (7.0, 3), "private takes no place among what stands without a name"
    g, w = np.ones(2), np.full(2, 3.0)
    np.testing.assert_array_equal(Pull().adjust_gradient(g, w, np.zeros(2), {}, {}), g + 0.5 * w)
