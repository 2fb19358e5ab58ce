"""Queries under secure aggregation: the answer is that of a plain sum, and nobody above a device sees more than it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import fogline
from fogline import JobError, Result, Tier, Tree
from fogline.aggregation import Arrays, Update
from fogline.aggregation.tally import SurveySums
from fogline.compute.exchange import parent_step
from fogline.compute.surveys.layouts import SumsLayout, UnsummedError
from fogline.compute.surveys.queries import NAMES, QUERIES, QueryError, names_of
from fogline.data import Examples, FederatedData, from_clients
from fogline.exchanges import Exchange, ExchangeError
from fogline.exchanges.secagg import SecAgg
from fogline.governance.policy.policy import Policy
from fogline.network.node.site.admission import unprotected
from fogline.nodes import Device
from fogline.nodes.effects import Examine, Send, Write
from fogline.nodes.events import Received, Trained
from fogline.nodes.messages import Report, Work
from fogline.nodes.records import Entered
from fogline.privacy.ring import Ring
from fogline.simulation import exchanging
from fogline.simulation.faults import run_survey
from tests.exchanges.commit_reveal import CommitReveal
from tests.exchanges.rounds import play
from tests.toy import ToyTask, toy_data

SECAGG = "secagg(threshold=0.5, weight=100.0)"
QUESTIONS = ("label_counts", "moments(of='x')", "histogram(low=-2, high=2, bins=6, of='x')")
NAMES_OF = [f"d{i}" for i in range(6)]
SUMS = SecAgg(threshold=0.5).for_sums()


def ask(tree: Tree | None = None, data: FederatedData | None = None, **more: Any) -> Result:
    settings = {"rounds": 1, "processes": 0, "progress": False, "engine": "loop", "queries": QUESTIONS} | more
    return fogline.simulate(ToyTask(data), tree=tree, **settings)


def star(exchange: str | Exchange = SECAGG, **more: Any) -> Tree:
    return Tree(cloud=Tier(exchange=exchange, **more))


def answers() -> dict[str, Update]:
    rng = np.random.default_rng(3)
    return {
        name: Update({"q": np.concatenate([rng.integers(0, 1000, 5).astype(float), rng.normal(size=2)])}, {"q": 1.0})
        for name in NAMES_OF
    }


def total(given: Mapping[str, Update], inside: list[str]) -> np.ndarray:
    return np.sum([given[name].vectors["q"] for name in inside], axis=0)


@pytest.mark.parametrize("tree", [star(), Tree(cloud=Tier(), fog=Tier(count=3, exchange=SECAGG))])
def test_the_answers_are_those_without_and_whole_numbers_are_exact(tree: Tree) -> None:
    plain, summed = ask().queries, ask(tree).queries
    for query in ("label_counts", QUESTIONS[2]):
        assert {name: value for name, value in summed[query].items() if value} == plain[query]
    assert summed[QUESTIONS[1]] == pytest.approx(plain[QUESTIONS[1]], abs=1e-4)
    assert summed[QUESTIONS[1]]["count"] == plain[QUESTIONS[1]]["count"]


@pytest.mark.parametrize("step", SecAgg.steps)
def test_who_is_gone_at_a_step_is_in_the_sum_if_its_masked_answer_came(step: str) -> None:
    given = answers()
    made = play(SUMS, given, gone={step: {"d1", "d4"}}).update
    late = SecAgg.steps.index(step) > SecAgg.steps.index("masked")
    wanted = total(given, NAMES_OF if late else ["d0", "d2", "d3", "d5"])
    np.testing.assert_array_equal(made.vectors["q"][:5], wanted[:5])
    np.testing.assert_allclose(made.vectors["q"], wanted, atol=1e-4)
    assert (made.weights["q"], made.count) == (1.0, 6 if late else 4)


@pytest.mark.parametrize("step", ["shares", "masked", "survivors", "unmask"])
def test_with_too_few_there_is_no_sum(step: str) -> None:
    with pytest.raises(ExchangeError):
        play(SUMS, answers(), gone={step: {"d1", "d2", "d4"}})


def test_nothing_that_the_aggregator_receives_tells_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same devices and keys, other labels at one: of all that the cloud has ever received, its masked answer alone
    differs; and that by what the answers differ in the ring, so that with fresh keys it is a one-time pad."""
    data = toy_data()
    labels = data.at(2).y
    changed = {client: data[client] for client in data}
    changed["client-02"] = Examples(data.at(2).x, (labels + 1) % 3)
    other = from_clients("toy", changed, classes=3, test=data.test)
    first, second = received(monkeypatch, data), received(monkeypatch, other)
    assert first.keys() == second.keys()
    differ = {
        (step, child, name)
        for (step, child), arrays in first.items()
        for name, array in arrays.items()
        if not np.array_equal(array, second[step, child][name])
    }
    assert differ == {(SecAgg.steps.index("masked"), "client-02", "numbers")}
    masked = [row[SecAgg.steps.index("masked"), "client-02"]["numbers"] for row in (first, second)]
    counts = [np.bincount(given, minlength=3).astype(float) for given in (labels, (labels + 1) % 3)]
    assert all(np.abs(one.astype(float)).max() > 2.0**55 for one in masked)  # As large as the ring.
    scale = Ring(64, 12, SUMS.largest_sum, 1.0).scale
    np.testing.assert_array_equal((masked[1] - masked[0]) / scale, counts[1] - counts[0])


def received(monkeypatch: pytest.MonkeyPatch, data: FederatedData) -> dict[tuple[int, str], Arrays]:
    """What the cloud receives in the steps of one query, by step and device."""
    seen: dict[tuple[int, str], Arrays] = {}

    def recorded(exchange: Exchange, number: int, state: Arrays, payloads: Mapping[str, Arrays], folds: Any) -> Any:
        if type(exchange) is type(SUMS):
            seen.update({(number, child): dict(arrays) for child, arrays in payloads.items()})
        return parent_step(exchange, number, state, payloads, folds)

    monkeypatch.setattr(exchanging, "parent_step", recorded)
    assert ask(star(), data, queries=("label_counts",)).queries["label_counts"]
    return seen


def test_every_invariant_holds_under_losses_and_crashes() -> None:
    """Also where what is asked in between, such as running statistics, is asked without steps."""
    outcomes = [run_survey(seed, kinds=("measure", "query"), exchange=CommitReveal()) for seed in range(80)]
    assert sum(outcome.crashes for outcome in outcomes) > len(outcomes)
    assert sum(outcome.rounds for outcome in outcomes) > len(outcomes)


@pytest.mark.parametrize("seed", [1102, 1245, 3083])
def test_a_step_of_a_request_that_is_over_is_answered(seed: int) -> None:
    """Though the one that goes on has none; else its sender asks for ever."""
    exchange = CommitReveal() if seed < 3000 else SecAgg(threshold=0.5, minimum=2).for_sums()
    run_survey(seed, kinds=("measure", "query"), exchange=exchange)


# What is refused.


def test_what_cannot_be_summed_is_refused_before_the_run() -> None:
    @QUERIES.add("odd_ones")
    def odd_ones(examples: Examples) -> dict[str, float]:
        return {"odd": float((examples.y % 2).sum())}

    with pytest.raises(JobError, match=r"it does not say the names of its sums; add them to NAMES\['odd_ones'\]"):
        ask(star(), queries=("odd_ones",))
    NAMES["odd_ones"] = lambda classes: {"odd"}  # type: ignore[assignment, return-value]
    try:
        with pytest.raises(JobError, match=r"what NAMES\['odd_ones'\] gives is a set; it must be a list or a tuple"):
            ask(star(), queries=("odd_ones",))
        NAMES["odd_ones"] = lambda classes: ["odd"]
        assert ask(star(), queries=("odd_ones",)).queries == ask(queries=("odd_ones",)).queries
    finally:
        del NAMES["odd_ones"]
    with pytest.raises(QueryError, match="the data says of no number of classes"):
        names_of("label_counts", None)
    with pytest.raises(JobError, match="queries has 'label_counts', which each device answers by itself"):
        ask(star("ckks"), queries=("label_counts",))
    with pytest.raises(JobError, match=r"evaluation\.cohort is 2, which does not fit its exchange"):
        ask(star(), evaluation={"cohort": 2, "where": "devices"}, algorithm="ditto")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("label_counts", "label_counts"),
        ("label_counts", "label_counts()"),
        ("moments", "moments( of = 'y' )"),
        ("histogram(0, 1)", "histogram(high=1.0, low=0.0, bins=20)"),
    ],
)
def test_one_query_in_two_ways_of_writing_has_no_two_sums(one: str, other: str) -> None:
    with pytest.raises(JobError, match="which ask the same, and the difference of their sums"):
        ask(star(), queries=(one, other))


def test_a_device_whose_answer_has_no_room_says_so_and_not_how_large_it_is() -> None:
    layout = SumsLayout({"q": ("a", "b")}, 100.0)
    with pytest.raises(UnsummedError, match="gives a 'b' beyond 100, for which the sum of all has no room"):
        layout.update_of("q", {"a": 1.0, "b": -101.0})
    with pytest.raises(UnsummedError, match="gives 'c', which is none of the names that it says"):
        layout.update_of("q", {"c": 1.0})
    with pytest.raises(UnsummedError, match="are not those of query 'q'"):
        layout.named("q", SurveySums())
    told = ask(star("secagg(threshold=0.5, weight=100.0, sums=8.0)"), queries=("label_counts",))
    assert told.queries == {"label_counts": {}}
    assert "has no room" in told.reasons["not judged"]


def asked(device: Device, work: Work) -> str:
    """Why a device refuses a request; empty if it does not."""
    effects = device.handle(Received("fog", work), 0.0)
    failures = [e.message.failure for e in effects if isinstance(e, Send) and isinstance(e.message, Report)]
    assert bool(failures) != any(isinstance(effect, Examine) for effect in effects)
    return (failures or [""])[0] or ""


def test_a_device_tells_no_answer_by_itself_and_brings_one_into_one_sum_only() -> None:
    """Two sums of nearly the same devices would tell the answer of those who are in one of them."""
    device = Device("d", "fog", demands=6, beside=True)
    assert "asked to answer a query with 0 steps" in asked(device, Work(0, "m", 0, "query", "q"))
    assert asked(device, Work(1, "m", 0, "query", "q", 6)) == ""
    assert asked(device, Work(2, "m", 0, "query", "q", 6)) == ""  # It has brought nothing yet.
    effects = device.handle(Trained(2, "fog#2/0/own", 0), 0.0)
    records = [effect.record for effect in effects if isinstance(effect, Write)]
    assert "is in a sum already" in asked(device, Work(3, "m", 1, "query", "q", 6))
    assert asked(device, Work(4, "m", 1, "query", "other", 6)) == ""
    again = Device("d", "fog-2", demands=6, beside=True)  # Below another fog, from the journal.
    for record in records:
        again.apply_elsewhere(record)
    assert records == [Entered(2, query="q")]
    effects = again.handle(Received("fog-2", Work(0, "m", 1, "query", "q", 6)), 0.0)
    assert not any(isinstance(effect, Examine) for effect in effects)


def test_an_owner_who_wants_only_sums_lets_in_what_secagg_adds_up() -> None:
    policy = Policy(found=True, secure_aggregation=("secagg", "ckks"))
    judge = "queries = ['label_counts']\n[evaluation]\nwhere = 'devices'\n[tree.cloud]\nexchange = '{}'"
    for exchange in ("secagg", "secagg(minimum=5)"):
        assert unprotected(policy, judge.format(exchange), True) is None
    for exchange in ("mine:Own", "ckks", ""):
        found = unprotected(policy, judge.format(exchange), True)
        assert found is not None
        assert "whose answers go up one by one, as no secagg adds them up" in found
