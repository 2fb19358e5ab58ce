"""Devices judge under secure aggregation: what is found is what the plain sums say, and nobody above a device sees more
than a sum."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fogline
from fogline import JobError, Result, Tier, Tree
from fogline.aggregation import Arrays
from fogline.aggregation.tally import SurveySums
from fogline.algorithms import make
from fogline.compute.exchange import parent_step
from fogline.compute.surveys.layouts import JUDGEMENT, SumsLayout, UnsummedError, layout_of
from fogline.compute.surveys.summing import brought_by, tally_of
from fogline.compute.surveys.survey import METRIC
from fogline.data import Examples, FederatedData, from_clients
from fogline.exchanges import Exchange, ExchangeError
from fogline.exchanges.secagg import SecAgg
from fogline.jobs import Job
from fogline.jobs.exchanging import exchanges_of, survey_exchanges_of
from fogline.nodes import Device
from fogline.nodes.effects import Examine, Send, Write
from fogline.nodes.events import Received, Trained
from fogline.nodes.messages import Report, Work
from fogline.params import Params
from fogline.simulation import exchanging
from fogline.simulation.faults import run_survey
from fogline.training.task import Sums
from tests.exchanges.rounds import play
from tests.toy import ToyTask, toy_data

SECAGG = "secagg(threshold=0.5, weight=100.0)"
ABOVE = "secagg(threshold=0.5, bits=64)"
SUMS = SecAgg(threshold=0.5).for_sums()
STAR = Tree(cloud=Tier(exchange=SECAGG))
BELOW = Tree(cloud=Tier(), fog=Tier(count=3, exchange=SECAGG))
BOTH = Tree(cloud=Tier(exchange=ABOVE), fog=Tier(count=3, exchange=SECAGG))
DEVICES = {"where": "devices", "share": 0.25}


def judge(tree: Tree, data: FederatedData | None = None, **more: Any) -> Result:
    asked = {"rounds": 1, "processes": 0, "progress": False, "engine": "loop", "evaluation": DEVICES} | more
    return fogline.simulate(ToyTask(data), tree=tree, **asked)


def shown(result: Result, *beginnings: str) -> dict[str, float]:
    return {name: value for name, value in result.history[-1].items() if name.startswith(beginnings)}


def layout(algorithm: str = "fedavg") -> SumsLayout:
    job = Job.model_validate({"tree": STAR, "evaluation": DEVICES})
    made = layout_of(job, make(algorithm), ToyTask(), {"cloud": SUMS})
    assert made is not None
    return made


def plain(found: Mapping[str, Sums], inside: list[str]) -> Sums:
    return {name: sum(found[device][name] for device in inside) for name in found[inside[0]]}


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    devices=st.integers(4, 9),
    figures=st.lists(st.floats(-1e9, 1e9), min_size=9, max_size=9),
    counts=st.lists(st.integers(0, 2**29), min_size=9, max_size=9),
    gone=st.sampled_from(["", "peers", "masked", "unmask"]),
)
def test_sums_are_the_plain_ones_within_a_step_a_device_and_whole_numbers_exactly(
    devices: int, figures: list[float], counts: list[int], gone: str
) -> None:
    """Also where a device goes missing: after its masked numbers came it is in the sum, before it is not."""
    names, form = [f"d{i}" for i in range(devices)], layout()
    found = {
        name: {f"{METRIC}count": float(count), f"{METRIC}loss": figure}
        for name, count, figure in zip(names, counts, figures, strict=False)
    }
    updates = {name: form.update_of(JUDGEMENT, sums) for name, sums in found.items()}
    made = play(SUMS, updates, gone={gone: {"d1"}} if gone else None).update
    inside = [name for name in names if name != "d1" or gone in ("", "unmask")]
    sums, wanted = form.named(JUDGEMENT, tally_of(made)).sums, plain(found, inside)
    step = 2.0 * 4 * devices * SUMS.largest_sum / 2.0**64
    assert sums[f"{METRIC}count"] == wanted[f"{METRIC}count"]
    assert abs(sums[f"{METRIC}loss"] - wanted[f"{METRIC}loss"]) <= len(inside) * step
    assert sums["devices"] == len(inside)
    assert sums[f"said/{METRIC}correct"] == 0.0


@pytest.mark.parametrize(("tree", "algorithm"), [(STAR, "ditto"), (BELOW, "fedavg"), (BOTH, "ditto")])
def test_what_devices_find_is_what_they_find_without(tree: Tree, algorithm: str) -> None:
    """Of devices with models of their own, with the one received too. What no sum gives is not there."""
    summed = judge(tree, algorithm=algorithm)
    tiers = {name: tier.model_copy(update={"exchange": ""}) for name, tier in tree.tiers.items()}
    without = judge(Tree(**tiers), algorithm=algorithm)
    assert summed.metrics == pytest.approx(without.metrics, abs=1e-5)
    assert summed.metrics["accuracy"] == pytest.approx(without.metrics["accuracy"], abs=1e-7)
    single = {f"{of}/{name}" for of in ("devices", "common") for name in ("mean", "std", "worst_decile", "better")}
    told = shown(without, "devices/", "common/")
    assert len(single & told.keys()) == (3 if algorithm == "fedavg" else 7)
    wanted = {name: value for name, value in told.items() if name not in single}
    assert shown(summed, "devices/", "common/") == pytest.approx(wanted, abs=1e-5)
    assert wanted["devices/judged"] == 12
    assert (summed.devices, summed.common) == (None, None)
    fogs = {} if tree is BOTH else shown(without, "at/")  # There the cloud sees the sum over all fogs alone.
    assert shown(summed, "at/") == pytest.approx(fogs, abs=1e-7)


def test_devices_that_never_train_are_in_both_sums_and_have_none_of_their_own() -> None:
    """A sum over so few, or the difference of two, would tell what one has found."""
    data = toy_data().with_held_out(["client-03"])
    result = judge(STAR, data, algorithm="ditto")
    assert (result.held_out, shown(result, "new/")) == ({}, {})
    assert shown(result, "devices/judged") == {"devices/judged": 12}
    form, found = layout("ditto"), {f"{METRIC}count": 4.0, f"{METRIC}correct": 3.0}
    sums = form.named(JUDGEMENT, tally_of(form.update_of(JUDGEMENT, found))).sums
    assert {name: value for name, value in sums.items() if not name.startswith("said/") and value} == {
        **found,
        **{f"common/{name}": value for name, value in found.items()},
        "devices": 1.0,
    }


def test_devices_that_drop_out_are_counted_and_too_few_give_no_answer() -> None:
    tree = Tree(cloud=Tier(exchange="secagg(threshold=0.5, weight=100.0)", deadline=60))
    result = judge(tree, devices={"dropout": 0.3}, rounds=2)
    judged = [row["devices/judged"] for row in result.history if "devices/judged" in row]
    assert judged
    assert min(judged) < 12
    assert result.counts["dropped out when asked"] > 0
    tree = Tree(cloud=Tier(exchange="secagg(threshold=0.5, weight=100.0, minimum=7)"))
    few = judge(tree, evaluation=DEVICES | {"cohort": 0.5})
    assert (few.metrics, few.devices) == ({}, None)
    assert "a sum of fewer than 7 tells too much of each" in few.reasons["no answer"]


def test_a_run_that_goes_on_has_what_judging_cost_before(tmp_path: Path) -> None:
    asked = {"tree": BOTH}
    whole = judge(rounds=4, **asked)
    judge(rounds=2, folder=tmp_path / "run", **asked)
    again = judge(rounds=4, folder=tmp_path / "run", resume=True, **asked)
    for name in ("devices/accuracy", "down/fog", "up/fog", "up/cloud", "joules"):
        assert again.history[-1][name] == whole.history[-1][name]


# Who looks.


def received(monkeypatch: pytest.MonkeyPatch, data: FederatedData) -> dict[tuple[str, int, str], Arrays]:
    """What aggregators receive in the steps in which a model is judged, by exchange, step and child."""
    seen: dict[tuple[str, int, str], Arrays] = {}

    def recorded(exchange: Exchange, number: int, state: Arrays, payloads: Mapping[str, Arrays], folds: Any) -> Any:
        if type(exchange) is type(SUMS):
            seen.update({("", number, child): dict(arrays) for child, arrays in payloads.items()})
        return parent_step(exchange, number, state, payloads, folds)

    monkeypatch.setattr(exchanging, "parent_step", recorded)
    assert judge(BOTH, data).metrics["accuracy"] > 0.0
    return seen


def test_nothing_that_aggregators_receive_tells_what_a_device_has_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same devices and keys, and at one of them all it judges on is labelled otherwise. Of all that a fog ever
    receives its masked numbers alone differ, and of all that the cloud receives, those of its fog; all are as large as
    the ring, whatever has been found."""
    data, masked = toy_data(), SecAgg.steps.index("masked")
    tests = {client: Examples(data[client].array[:8], data[client].y[:8]) for client in data}
    mine = tests["client-02"]
    others = tests | {"client-02": Examples(mine.array, (mine.y + 1) % 3)}
    clients = {client: data[client] for client in data}
    first, second = (
        received(monkeypatch, from_clients("toy", clients, classes=3, test=test)) for test in (tests, others)
    )
    assert first.keys() == second.keys()
    differ = {
        (step, child, name)
        for (tier, step, child), arrays in first.items()
        for name, array in arrays.items()
        if not np.array_equal(array, second[tier, step, child][name])
    }
    assert {(step, name) for step, _, name in differ} == {(masked, "numbers")}
    (fog,) = {child for _, child, _ in differ} - {"client-02"}
    assert fog.startswith("fog-")
    for seen in (first, second):
        numbers = [arrays["numbers"] for (_, step, _), arrays in seen.items() if step == masked]
        assert all(np.abs(one.astype(float)).max() > 2.0**55 for one in numbers)


def asked(device: Device, work: Work) -> str:
    """Why a device refuses a request; empty if it does not."""
    effects = device.handle(Received(device.parent, work), 0.0)
    failures = [e.message.failure for e in effects if isinstance(e, Send) and isinstance(e.message, Report)]
    assert bool(failures) != any(isinstance(effect, Examine) for effect in effects)
    return (failures or [""])[0] or ""


def test_a_device_tells_nothing_by_itself_and_judges_a_rounds_model_for_one_sum_only() -> None:
    device = Device("d", "fog", demands=6, beside=True)
    assert "asked to judge a model with 0 steps" in asked(device, Work(0, "m", 0, "evaluate"))
    assert asked(device, Work(1, "m", 4, "evaluate", steps=6)) == ""
    assert asked(device, Work(2, "m", 4, "evaluate", steps=6)) == ""  # It has brought nothing yet.
    effects = device.handle(Trained(2, "fog#2/0/own", 0), 0.0)
    (entered,) = [effect.record for effect in effects if isinstance(effect, Write)]
    for task, round_ in ((3, 4), (4, 2)):
        assert "is in a sum already" in asked(device, Work(task, "m", round_, "evaluate", steps=6))
    again = Device("d", "fog-2", demands=6, beside=True)  # Below another fog, from the journal.
    again.apply_elsewhere(entered)
    assert "is in a sum already" in asked(again, Work(0, "m", 4, "evaluate", steps=6))
    assert asked(again, Work(1, "m", 5, "evaluate", steps=6)) == ""
    alone = Device("d", "fog", demands=0, beside=True)  # Of a job without an exchange: as often as it is asked.
    assert asked(alone, Work(0, "m", 4, "evaluate")) == ""
    assert asked(alone, Work(1, "m", 4, "evaluate")) == ""


@pytest.mark.parametrize("where", ["devices", "everywhere"])
def test_every_invariant_holds_under_losses_and_crashes(where: Any) -> None:
    exchange = SecAgg(threshold=0.5, minimum=2).for_sums()
    seeds = range(150) if where == "devices" else range(150, 300)
    outcomes = [run_survey(seed, kinds=("evaluate", "query"), exchange=exchange, where=where) for seed in seeds]
    assert sum(outcome.crashes for outcome in outcomes) > len(seeds)
    assert sum(outcome.rounds for outcome in outcomes) > len(seeds) / 10


# What is refused.


class Own(ToyTask):
    """Judges by sums of its own, and does not say which."""

    def evaluate(self, params: Params, examples: Examples) -> Sums:
        return super().evaluate(params, examples) | {f"seen/{label}": 1.0 for label in np.unique(examples.y).tolist()}


class Said(Own):
    @property
    def sum_names(self) -> tuple[str, ...]:
        return (*super().sum_names, *(f"seen/{label}" for label in range(3)))


def test_a_task_with_sums_of_its_own_says_their_names() -> None:
    asked = {"rounds": 1, "processes": 0, "progress": False, "engine": "loop", "evaluation": DEVICES, "tree": STAR}
    with pytest.raises(JobError, match="does not say which sums its evaluate gives; say them by a property 'sum_n"):
        fogline.simulate(Own(), **asked)
    assert fogline.simulate(Said(), **asked).metrics == pytest.approx(judge(STAR).metrics)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (
            {"count", "loss"},
            "is a set; it must be a list or a tuple of names, so that all have one order; or leave one",
        ),
        ("count", "is a str; it must be a list or a tuple"),
        (lambda self: ("count",), "is a method; it must be a list or a tuple"),
        (("count", 3), "has 3 among the names, which must be text"),
        (("count", "loss", "count"), "has 'count' twice; name each sum once"),
    ],
)
def test_names_of_sums_have_one_order_on_every_node(names: object, why: str) -> None:
    """A set of texts has another order in each process, and its sums would be added up with others' in silence."""
    with pytest.raises(JobError, match=f"Odd.sum_names {why}"):
        fogline.simulate(type("Odd", (Own,), {"sum_names": names})(), tree=STAR, evaluation=DEVICES, rounds=1)


def test_sums_without_room_are_none_and_nobody_is_told_how_large_they_are() -> None:
    form = SumsLayout({JUDGEMENT: layout().names[JUDGEMENT]}, 100.0)
    with pytest.raises(UnsummedError, match="judging the model gives a 'metric/loss' beyond 100, for which the sum of"):
        form.update_of(JUDGEMENT, {f"{METRIC}loss": 1e6})
    with pytest.raises(UnsummedError, match="judging the model gives 'metric/auc', which is none of the names"):
        form.update_of(JUDGEMENT, {f"{METRIC}auc": 0.5})
    with pytest.raises(UnsummedError, match="are not those of what devices find of a model"):
        form.named(JUDGEMENT, SurveySums.of({"0000000": 1.0}))
    small = SecAgg(threshold=0.5, minimum=2, sums=100.0).for_sums()
    fogs = {f"fog-{i}": brought_by(SurveySums.of({"0000000": 80.0 + 10.5 * i})) for i in range(3)}
    why = "This node has a sum beyond 100, for which that of all has no room; raise 'sums' of the exchange."
    assert play(small, fogs).failed == {"fog-2": why}


def test_an_exchange_that_cannot_add_them_up_leaves_them_to_devices_that_alone_can_judge() -> None:
    job = Job.model_validate({"tree": Tree(cloud=Tier(exchange="ckks")), "evaluation": DEVICES})
    with pytest.raises(JobError, match=r"and cannot add that up; take 'secagg', set evaluation\.where to 'cloud'"):
        exchanges_of(job, make("fedavg"))
    assert survey_exchanges_of(job, exchanges_of(job, make("ditto"))) == {}


def test_what_is_asked_of_too_few_is_refused_before_the_run() -> None:
    with pytest.raises(JobError, match=r"evaluation\.cohort is 2, which does not fit its exchange"):
        judge(STAR, evaluation=DEVICES | {"cohort": 2})
    with pytest.raises(ExchangeError):
        play(SUMS, {f"d{i}": layout().update_of(JUDGEMENT, {f"{METRIC}count": 1.0}) for i in range(2)})
