"""A hook that is wrong ends the run, and says which, where and on whom; what numbers do stays with the device."""

from __future__ import annotations

import inspect
import traceback
from bdb import BdbQuit
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

import fogline
from fogline import CodeError, FedAvg, JobError, Tier, Tree
from fogline.algorithms import METHODS, ClientUpdate, Weighted
from fogline.algorithms.checks import check_method
from fogline.algorithms.registry import make
from tests.toy import ToyTask

FOGS = Tree(cloud=Tier(), fog=Tier(count=2))


def simulate(method: Any, processes: int = 0, tree: Tree | None = None, rounds: int = 3) -> fogline.Result:
    return fogline.simulate(ToyTask(), method, tree, rounds=rounds, chunk=1, processes=processes, progress=False)


def line_of(method: type, hook: str, within: int = 0) -> str:
    return f"test_hooks.py, line {inspect.getsourcelines(getattr(method, hook))[1] + within}"


class Unknown(FedAvg):
    def report(self, device):
        return nonsense  # type: ignore[name-defined]  # noqa: F821


class Keyed(FedAvg):
    def prepare(self, device):
        raise KeyError("of my own")


class Short(FedAvg):
    def report(self, device):
        return ClientUpdate({"delta": Weighted((device.end - device.start)[:-1], 1.0)}, device.local)


class Foreign(FedAvg):
    def report(self, device):
        return ClientUpdate({"delta": Weighted(torch.zeros(12), 1.0)}, device.local)


class Table(FedAvg):
    def report(self, device):
        return {"delta": Weighted(device.end - device.start, 1.0)}


class Counting(FedAvg):
    def report(self, device):
        return ClientUpdate({"delta": Weighted(device.end - device.start, 1.0)}, {"n": 3})


class ShortBend(FedAvg):
    def adjust_gradient(self, gradient, weights, start, local, received):
        return gradient[..., :-1]


class NoBend(FedAvg):
    def adjust_gradient(self, gradient, weights, start, local, received):
        weights - start


class Writes(FedAvg):
    def prepare(self, device):
        start = device.start
        start *= 0.0
        return device.local


class WritesTargets(FedAvg):
    def prepare(self, device):
        device.examples.y[0] = 1
        return device.local


class Keeps(FedAvg):
    def report(self, device):
        device.local["end"] = device.end
        return super().report(device)


class NoState(FedAvg):
    def server_update(self, model, folded, state, group):
        return model + folded.mean("delta")


class ShortModel(FedAvg):
    def server_update(self, model, folded, state, group):
        return (model + folded.mean("delta"))[:-1], state


class Misnamed(FedAvg):
    def server_update(self, model, folded, state, group):
        return model + folded.mean("dleta"), state


class WritesModel(FedAvg):
    def server_update(self, model, folded, state, group):
        model += folded.mean("delta")
        return model, state


class WritesSums(FedAvg):
    def server_update(self, model, folded, state, group):
        folded.total("delta")[:] = 0.0
        return model, state


DEVICE = [
    (Unknown, "report", 1, "raised NameError: name 'nonsense' is not defined"),
    (Keyed, "prepare", 1, "raised KeyError: 'of my own'"),
    (Short, "report", 0, "gives 'delta' of 11 numbers where the model has 12"),
    (Foreign, "report", 0, "gives 'delta' as a Tensor; it must be a NumPy vector (value.numpy())"),
    (Table, "report", 0, "gives a dict; it must give ClientUpdate(terms, local)"),
    (Counting, "report", 0, "gives 'n' as an int; it must be a NumPy vector"),
    (ShortBend, "adjust_gradient", 0, "gives shape (11,) where (12,) is wanted"),
    (NoBend, "adjust_gradient", 0, "gives nothing; it must give"),
    (Writes, "prepare", 2, "writes into what it was given, which can only be read"),
    (WritesTargets, "prepare", 1, "writes into what it was given, which can only be read"),
    (Keeps, "report", 1, "writes into what it was given, which can only be read"),
]
AGGREGATOR = [
    (NoState, "server_update", 0, "gives a ndarray; it must give the model and the state: return model, state"),
    (ShortModel, "server_update", 0, "gives a model of shape (11,) where (12,) is wanted"),
    (Misnamed, "server_update", 1, "raised MissingTermError: no update has a vector 'dleta', only delta"),
    (WritesModel, "server_update", 1, "writes into what it was given, which can only be read"),
    (WritesSums, "server_update", 1, "writes into what it was given, which can only be read"),
]


@pytest.mark.parametrize(("method", "hook", "line", "words"), [*DEVICE, *AGGREGATOR])
def test_a_wrong_hook_ends_the_run_with_its_name_place_and_line(method: type, hook: str, line: int, words: str) -> None:
    with pytest.raises(CodeError) as caught:
        simulate(method(), tree=FOGS)
    said = str(caught.value)
    on_device = ("Client 'client-", "While an engine is chosen: ")
    assert said.startswith("cloud, round 1: " if (method, hook, line, words) in AGGREGATOR else on_device)
    assert f"{method.__name__}.{hook} {words.split(' ')[0]}" in said
    assert words in said
    assert line_of(method, hook, line) in said
    assert "\n" not in said


class Late(FedAvg):
    """Wrong only where a worker comes to it: on one device, after what is tried before a run."""

    def report(self, device):
        if "seen" in device.local:
            return nonsense  # type: ignore[name-defined]  # noqa: F821
        return ClientUpdate({"delta": Weighted(device.end - device.start, 1.0)}, {"seen": np.ones(1)})


def test_what_was_raised_is_the_cause_with_workers_as_without() -> None:
    said: set[str] = set()
    for processes in (0, 2):
        with pytest.raises(CodeError) as caught:
            simulate(Late(), processes)
        said.add(str(caught.value))
        shown = "".join(traceback.format_exception(caught.value))
        assert "NameError: name 'nonsense' is not defined" in shown
        assert "return nonsense" in shown
    (sentence,) = said
    assert "': Late.report raised NameError" in sentence
    assert sentence.startswith("Client 'client-")
    assert line_of(Late, "report", 2) in sentence


def is_odd(targets: np.ndarray) -> bool:
    """Whether a device has mostly the first class: four of twelve do."""
    return float(np.mean(targets == 0)) > 0.5


class Diverging(FedAvg):
    def prepare(self, device):
        if is_odd(device.examples.y):
            raise OverflowError("too far.\nand more")
        return device.local


class NaNs(FedAvg):
    def prepare(self, device):
        return {"factor": np.array([np.nan if is_odd(device.examples.y) else 1.0], np.float32)}

    def report(self, device):
        return ClientUpdate(
            {"delta": Weighted((device.end - device.start) * device.local["factor"], 1.0)}, device.local
        )


@pytest.mark.parametrize("processes", [0, 2])
@pytest.mark.parametrize(
    ("method", "words"),
    [
        (Diverging, ["': Diverging.prepare raised OverflowError: too far (", line_of(Diverging, "prepare", 2)]),
        (NaNs, ["': what NaNs.report gives as 'delta' is not finite: number 0 of 12 is nan."]),
    ],
)
def test_what_numbers_cause_in_a_hook_fails_the_device(method: type, words: list[str], processes: int) -> None:
    result = simulate(method(), processes, rounds=2)
    assert result.counts["failed"] == 8
    assert all(part in result.reasons["failed"] for part in words)
    assert np.isfinite(result.params.vector).all()


class Heavy(FedAvg):
    def report(self, device):
        return ClientUpdate({"delta": Weighted(device.end - device.start, 1e300)}, device.local)


def test_an_update_that_no_fold_can_hold_fails_the_device() -> None:
    with pytest.raises(fogline.RunError, match=r"Its vector 'delta', times its weight, reaches .*; the fold overflows"):
        simulate(Heavy(), rounds=2)


class Leaves(FedAvg):
    def report(self, device):
        raise SystemExit(3)


class LeavesAbove(FedAvg):
    def server_update(self, model, folded, state, group):
        raise SystemExit("enough")


@pytest.mark.parametrize("processes", [0, 2])
@pytest.mark.parametrize(
    ("method", "words"),
    [
        (Leaves, "Leaves.report raised SystemExit: 3"),
        (LeavesAbove, "LeavesAbove.server_update raised SystemExit: enough"),
    ],
)
def test_a_hook_cannot_end_the_program(method: type, words: str, processes: int) -> None:
    with pytest.raises(CodeError) as caught:
        simulate(method(), processes)
    hook = words.split(" ")[0].split(".")[1]
    assert f"{words} (" in str(caught.value)
    assert line_of(method, hook, 1) in str(caught.value)


class Divides(FedAvg):
    def report(self, device):
        weight = 1 / (device.plan.steps - device.plan.steps)
        return ClientUpdate({"delta": Weighted(device.end - device.start, weight)}, device.local)


@pytest.mark.parametrize("processes", [0, 2])
def test_a_division_by_zero_is_found_by_hook_and_line(processes: int) -> None:
    with pytest.raises(fogline.RunError) as caught:
        simulate(Divides(), processes)
    assert "Divides.report raised ZeroDivisionError: division by zero (" in str(caught.value)
    assert line_of(Divides, "report", 1) in str(caught.value)


class Explodes(FedAvg):
    def server_update(self, model, folded, state, group):
        return model * (np.nan if group.round == 1 else 1.0), state


class ExplodesInside(FedAvg):
    def inner_update(self, model, folded, state, group):
        return model * (np.inf if group.round == 2 else 1.0), state


def test_a_model_that_is_not_finite_stops_the_run_with_round_and_tier() -> None:
    with pytest.raises(
        CodeError, match=r"^cloud, round 2: Explodes.server_update gives a model in which 12 of 12 numbers are"
    ):
        simulate(Explodes())
    tree = Tree(cloud=Tier(), fog=Tier(count=2, rounds=2))
    with pytest.raises(CodeError, match=r"^fog-\d, round \d: ExplodesInside.inner_update gives a model in which"):
        simulate(ExplodesInside(), tree=tree)


class Empty(FedAvg):
    def group_update(self, start, delta, weight, totals):
        return {}


def test_a_group_update_without_what_moves_the_model_is_to_blame_itself() -> None:
    with pytest.raises(CodeError, match=r"^fog-\d.*: Empty.group_update gives nothing named 'delta'"):
        simulate(Empty(), tree=Tree(cloud=Tier(), fog=Tier(count=2, rounds=2)))


class Quits(FedAvg):
    def report(self, device):
        raise BdbQuit


class Stops(FedAvg):
    def report(self, device):
        if "seen" in device.local:
            breakpoint()
        return ClientUpdate({"delta": Weighted(device.end - device.start, 1.0)}, {"seen": np.ones(1)})


def test_leaving_the_debugger_leaves_the_run() -> None:
    with pytest.raises(BdbQuit):
        simulate(Quits())


def test_a_debugger_is_for_runs_without_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CodeError, match="processes=0") as caught:
        simulate(Stops(), 2)
    assert line_of(Stops, "report", 2) in str(caught.value)
    stopped: list[bool] = []
    monkeypatch.setattr("sys.breakpointhook", lambda: stopped.append(True))
    simulate(Stops(), 0)
    assert stopped


# Before the run


class Mistyped(FedAvg):
    def adjust_gradients(self, gradient, weights, start, local, received):
        return gradient


class Invented(FedAvg):
    def adjust_momentum(self, momentum):
        return momentum


class Moves(FedAvg):
    """The name is nobody's; what it takes is a hook's."""

    def move(self, model, folded, state, group):
        return model, state


class Bends(FedAvg):
    def bend(self, gradient, weights, start, local, received):
        return gradient * 0


class Helped(FedAvg):
    """Its functions have names and parameters like hooks', and are called by its own hooks."""

    def adjust_gradient(self, gradient, weights, start, local, received):
        return self.bend(gradient, weights, start, local, received) + self.adjust_momentum(gradient)

    def bend(self, gradient, weights, start, local, received):
        return gradient * 0

    def adjust_momentum(self, momentum):
        return sum(self.perturbed(part) for part in [momentum])

    @staticmethod
    def perturbed(vector):
        return vector


class Recursive(FedAvg):
    def perturbed(self, weights):
        return self.perturbed(weights)


class Few(FedAvg):
    def adjust_gradient(self, gradient, weights):
        return gradient


class Swapped(FedAvg):
    def adjust_gradient(self, weights, gradient, start, local, received):
        return gradient


class NoFunction(FedAvg):
    perturb = 0.1


class Renamed(FedAvg):
    """Names of its own are anybody's choice, as long as none is another's."""

    scale: float = 1.0

    def adjust_gradient(self, g, w, w0, mine, theirs, extra=None):
        return g

    def scaled(self, vector):
        return vector

    product = staticmethod(np.multiply)

    def mixed(self, model, folded, state, share):
        return model

    @staticmethod
    def staleness_weight(age):
        return 1.0


class Sideways(FedAvg):
    mode: ClassVar[Any] = "asinc"


class Unbuffered(FedAvg):
    buffer: ClassVar[int] = 0


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (
            Mistyped,
            "a function of your own may be called _adjust_gradients); did you mean 'adjust_gradient'?",
        ),
        (
            Invented,
            "Invented.adjust_momentum looks like a hook, and there is none of that name (a function of your own may be "
            "called _adjust_momentum); there are adjust_gradient",
        ),
        (
            Moves,
            "Moves.move looks like a hook, and there is none of that name (a function of your own may be called _move)"
            "; there are server_update, inner_update",
        ),
        (Bends, "Bends.bend looks like a hook, and there is none of that name (a function of your own may be called"),
        (Recursive, "a function of your own may be called _perturbed); did you mean 'perturb'?"),
        (
            Few,
            "Few.adjust_gradient takes (gradient, weights), but is called with (gradient, weights, start, local, rec",
        ),
        (Swapped, "Swapped.adjust_gradient takes 'weights' where 'gradient' is handed over"),
        (NoFunction, "NoFunction.perturb is 0.1, but perturb is a hook"),
        (Sideways, "Sideways.mode is 'asinc'; there are sync, async, semi-async, ring"),
        (Unbuffered, "Unbuffered.buffer is 0; it must be a number of reports, 1 or more"),
    ],
)
def test_names_and_signatures_are_checked_before_the_run(method: type, words: str) -> None:
    with pytest.raises(JobError) as caught:
        simulate(method())
    assert words in str(caught.value)
    with pytest.raises(ValueError, match=words.split(" ")[0]):
        make(f"{method.__module__}:{method.__name__}")


class Settings(FedAvg):
    local_defaults: ClassVar[Mapping[str, Any]] = {"lr": 0.1}


def test_a_methods_settings_of_local_training_are_checked_as_a_jobs() -> None:
    with pytest.raises(JobError, match=r"^The settings of Settings \(local_defaults\) cannot be: local.lr is no key"):
        simulate(Settings())


def test_methods_that_are_right_pass() -> None:
    for method in (*METHODS.values(), Renamed, Helped):
        check_method(method)


class Bare(FedAvg):
    mu = 0.1


def test_a_parameter_without_an_annotation_is_named() -> None:
    with pytest.raises(ValueError, match=r"Bare has no parameter 'mu': annotate it in the class .*: mu: float = 0.1"):
        Bare(mu=0.3)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match=r"annotate it in the class to make it one: mu: float = 0.1"):
        make(f"{__name__}:Bare", mu=0.3)
    with pytest.raises(ValueError, match="Bare has no parameter 'nu'; there are private"):
        Bare(nu=0.3)  # type: ignore[call-arg]
