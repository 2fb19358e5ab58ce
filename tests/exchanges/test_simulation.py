"""An exchange on the virtual clock: the model is the one without it, and it costs time and bytes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fogline import CodeError, Tier, Tree, simulate
from fogline.aggregation import Partial, Update
from fogline.exchanges.base import Exchange, Received
from fogline.jobs import JobError
from fogline.monitoring.mishaps import RunError
from fogline.monitoring.result import Result
from tests.exchanges.commit_reveal import CommitReveal
from tests.toy import ToyTask, toy_data


def task() -> ToyTask:
    return ToyTask(toy_data(8))


def run(tree: Tree, **more: Any) -> Result:
    return simulate(task(), tree=tree, rounds=3, progress=False, processes=0, **more)


def star(exchange: CommitReveal | None = None, **tier: Any) -> Tree:
    return Tree(cloud=Tier(**tier) if exchange is None else Tier(exchange=exchange, **tier))


def test_who_keeps_its_word_counts_as_without_an_exchange() -> None:
    with_it, without = run(star(CommitReveal())), run(star())
    assert np.array_equal(with_it.params.vector, without.params.vector)
    assert [row["devices"] for row in with_it.history] == [8.0] * 3
    assert with_it.history[-1]["seconds"] > without.history[-1]["seconds"]
    # A commitment (32 bytes) goes up, an empty answer comes down, and the seed goes along with what is revealed.
    up, plain = (result.history[-1]["up/cloud"] for result in (with_it, without))
    assert plain < up < plain + 3 * 8 * 200


def test_a_tree_gives_what_a_star_gives() -> None:
    tree = Tree(cloud=Tier(), fog=Tier(count=2, exchange=CommitReveal()))
    plain = Tree(cloud=Tier(), fog=Tier(count=2))
    assert np.array_equal(run(tree).params.vector, run(plain).params.vector)


def test_fogs_keep_their_word_too() -> None:
    for rounds in (1, 2):
        with_it = Tree(cloud=Tier(exchange=CommitReveal()), fog=Tier(count=2, rounds=rounds))
        plain = Tree(cloud=Tier(), fog=Tier(count=2, rounds=rounds))
        # What a fog brings is the mean of its devices, and not their sum: that is the same up to rounding.
        assert np.abs(run(with_it).params.vector - run(plain).params.vector).max() < 1e-5
    liar = run(Tree(cloud=Tier(exchange=CommitReveal(liar="fog-1")), fog=Tier(count=2)))
    assert [row["devices"] for row in liar.history] == [4.0] * 3


@pytest.mark.parametrize("bad", ["liar", "quitter"])
def test_who_breaks_its_word_does_not_count(bad: str) -> None:
    result = run(star(CommitReveal(**{bad: "client-2"})))
    assert [row["devices"] for row in result.history] == [7.0] * 3
    assert result.counts["failed"] == 3
    assert np.abs(result.params.vector).max() < 10


def test_a_failing_parent_ends_every_round_and_nothing_hangs() -> None:
    with pytest.raises(RunError, match="trusts nobody"):
        run(star(CommitReveal(fails=True)))


class Leaves(CommitReveal):
    """Wants to end the program."""

    def result(self, state: Received) -> Update | Partial:
        raise SystemExit(3)


class NoNumbers(CommitReveal):
    """Comes to what is no number."""

    def result(self, state: Received) -> Update | Partial:
        sums = super().result(state)
        assert isinstance(sums, Partial)
        return Partial({name: total * np.nan for name, total in sums.sums.items()}, sums.weights, sums.counters, 1)


class Nameless(CommitReveal):
    """Forgets the model's buffers."""

    def result(self, state: Received) -> Update | Partial:
        sums = super().result(state)
        assert isinstance(sums, Partial)
        return Partial({"delta": sums.sums["delta"]}, {"delta": sums.weights["delta"]}, sums.counters, sums.count)


@pytest.mark.parametrize(
    ("exchange", "exact", "words"),
    [
        (CommitReveal(), True, r"CommitReveal\.result gives what this job cannot fold: Its sum '\w+' is in floating"),
        (Nameless(), False, r"Nameless\.result gives what this job cannot fold: It has no vector 'buffers'"),
        (Leaves(), False, r"Leaves\.result raised SystemExit: 3 \(.*test_simulation\.py, line"),
    ],
)
def test_a_result_that_no_round_could_take_is_the_developers_error_at_once(
    exchange: CommitReveal, exact: bool, words: str
) -> None:
    with pytest.raises(CodeError, match=words):
        run(star(exchange), exact=exact)


def test_a_result_that_is_no_number_fails_its_round() -> None:
    with pytest.raises(RunError, match=r"What the exchange came to cannot be folded: Its vector '.*' is not finite"):
        run(star(NoNumbers()))


def test_below_the_minimum_no_round_counts() -> None:
    tree = Tree(cloud=Tier(exchange=CommitReveal(liar="client-2")), minimum=8)
    with pytest.raises(RunError, match="7 devices, the job's minimum is 8"):
        run(tree)


@pytest.mark.usefixtures("unplotted")
def test_a_run_that_goes_on_gives_the_same_bits(tmp_path: Path) -> None:
    tree = Tree(cloud=Tier(), fog=Tier(count=2, cohort=3, exchange=CommitReveal(liar="client-2")))
    whole = run(tree, folder=tmp_path / "whole")
    for rounds in (1, 3):
        resumed = simulate(
            task(), tree=tree, rounds=rounds, progress=False, processes=0, folder=tmp_path / "some", resume=rounds == 3
        )
    assert np.array_equal(whole.params.vector, resumed.params.vector)
    assert [row["seconds"] for row in whole.history] == [row["seconds"] for row in resumed.history]
    assert whole.counts == resumed.counts


@pytest.mark.parametrize(
    ("tree", "why"),
    [
        (lambda: Tree(cloud=Tier(exchange=CommitReveal(), late="fold")), 'use "drop"'),
        (
            lambda: Tree(cloud=Tier(exchange=CommitReveal(), uplink=["int8"])),
            "'int8' cannot stand here: it makes codes",
        ),
        (lambda: star(CommitReveal(), rule="median"), "gives one result of all"),
        (lambda: star(CommitReveal(), mode="ring"), "in ring mode one child after the other"),
        (lambda: star(CommitReveal(), mode="async"), "set tree.cloud.cohort to a count of at least 1"),
        (
            lambda: Tree(cloud=Tier(exchange="nothing:There")),
            r"^tree\.cloud\.exchange: The exchange .* cannot be imported",
        ),
        (lambda: Tree(cloud=Tier(exchange="tests.toy:ToyTask")), "no subclass of fogline.exchanges.Exchange"),
        (
            lambda: Tree(
                cloud=Tier(exchange="tests.exchanges.commit_reveal:CommitReveal", exchange_parameters={"lier": ""})
            ),
            "did you mean 'liar'",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_the_run(tree: Callable[[], Tree], why: str) -> None:
    with pytest.raises(JobError, match=why):
        run(tree())


class Unmade(Exchange):  # Its halves are missing.
    steps = ("commit",)


class Narrow(CommitReveal):
    def child(self, step, state):  # type: ignore[override]  # pyright: ignore
        return {}, {}


class Stepless(CommitReveal):
    steps = ()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Unmade, "The exchange Unmade does not define child: def child(self, step, state, received)"),
        (Narrow, "Narrow.child takes (step, state), but is called with (step, state, received)"),
        (Stepless, "The exchange Stepless names no steps"),
    ],
)
def test_a_class_that_is_no_exchange_is_refused_where_it_is_made(kind: type[Exchange], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        kind()


class Mute(CommitReveal):
    """Its parent says nothing to anybody."""

    def parent(self, step, state, payloads):  # type: ignore[no-untyped-def]
        return {}, {}


class Unsigned(CommitReveal):
    """Sends what no file on a real node could hold."""

    def child(self, step, state, received):  # type: ignore[no-untyped-def]
        return {"commitment": np.zeros(1, np.uint32)}, {}


class Lost(CommitReveal):
    """Its child looks for what it does not have."""

    def child(self, step, state, received):  # type: ignore[no-untyped-def]
        return state["nope"], {}


class LosesItsNote(CommitReveal):
    """Its parent looks for what it does not have, in the last step."""

    def parent(self, step, state, payloads):  # type: ignore[no-untyped-def]
        return super().parent(step, state, payloads) if step == "commit" else (state["note"], {})


class LostLater(CommitReveal):
    """It looks in vain in its second step, in what the parent sent."""

    def child(self, step, state, received):  # type: ignore[no-untyped-def]
        return super().child(step, state, received) if step == "commit" else (received["nope"], {})


def test_a_parent_without_replies_is_told_that_its_children_are_out() -> None:
    with pytest.raises(RunError, match=r"Mute\.parent gives no reply to any child in step 'commit'"):
        run(star(Mute()))


def test_what_a_half_looks_for_in_vain_is_named_with_file_and_line() -> None:
    with pytest.raises(
        CodeError, match=r"Lost\.child raised NotKeptError: its state has no 'nope' \(.*test_simulation\.py, line \d+\)"
    ):
        run(star(Lost()))
    with pytest.raises(
        CodeError, match=r"Unsigned\.child gives uint32 as 'commitment'; files and messages hold bool, "
    ):
        run(star(Unsigned()))
    with pytest.raises(CodeError, match=r"LosesItsNote\.parent raised NotKeptError: its state has no 'note' \("):
        run(star(LosesItsNote()))
    with pytest.raises(RunError, match=r"Step 'reveal' of LostLater\.child raised KeyError: 'nope' \(.*line \d+\)"):
        run(star(LostLater()))
