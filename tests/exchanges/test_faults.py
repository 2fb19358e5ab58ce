"""Exchanges under losses, copies, reordering, forged steps and crashes at every point; and every check can fail."""

from __future__ import annotations

import numpy as np
import pytest

from fogline.exchanges import Exchange
from fogline.exchanges.secagg import SecAgg
from fogline.nodes import Aggregator, Device, records
from fogline.nodes.effects import Effect, Forget, Write
from fogline.nodes.events import Event
from fogline.nodes.exchange_rounds import ParentExchange
from fogline.nodes.ledger import AcceptedUpdate, Lane, Ledger
from fogline.simulation.faults import InvariantError, SeedOutcome, Where, run
from fogline.simulation.faults.checks import DeliveryLog
from tests.exchanges.commit_reveal import CommitReveal

EXCHANGE = CommitReveal(liar="d3")
SECAGG = SecAgg(threshold=0.5, bits=64, clip=2.0**20, weight=1.0, minimum=2)
"""Of two devices in a round one learns the other's update; here what counts is that the sum is right."""
CHUNK = 100
WHERE: tuple[Where, ...] = ("devices", "aggregators", "everywhere")


def runs(seeds: range, exchange: Exchange) -> list[SeedOutcome]:
    """Each third seed has the exchange between devices and those above them, between aggregators, and everywhere."""
    return [run(seed, exchange=exchange, where=WHERE[seed % 3]) for seed in seeds]


@pytest.mark.parametrize("first", range(0, 1600, CHUNK))
def test_every_invariant_holds(first: int) -> None:
    outcomes = runs(range(first, first + CHUNK), EXCHANGE)
    assert sum(outcome.crashes for outcome in outcomes) > CHUNK
    assert sum(outcome.lost_messages for outcome in outcomes) > 3 * CHUNK
    assert sum(outcome.rounds for outcome in outcomes) > CHUNK


@pytest.mark.parametrize("seed", [600, 831, 1249, 1804])
def test_a_crash_between_a_failed_round_and_its_record_harms_nothing(seed: int) -> None:
    run(seed, exchange=EXCHANGE)


@pytest.mark.parametrize("first", range(1600, 2000, CHUNK))
def test_every_invariant_holds_under_secure_aggregation(first: int) -> None:
    """Every sum that comes out is that of the updates that are said to be in it."""
    outcomes = runs(range(first, first + CHUNK), SECAGG)
    assert sum(outcome.crashes for outcome in outcomes) > CHUNK
    assert sum(outcome.rounds for outcome in outcomes) > CHUNK


def test_a_seed_gives_one_trace() -> None:
    assert [run(seed, exchange=EXCHANGE) for seed in range(8)] == [run(seed, exchange=EXCHANGE) for seed in range(8)]


class KeepsForUse(ParentExchange):
    """Carries what was reported in a round that failed into the next one."""

    def give_up(self, lane: Lane) -> list[Effect]:
        return []


class Carries(Aggregator):
    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        if self._exchange is not None:
            self._exchange.__class__ = KeepsForUse


class ForgetsItsState(Device):
    """Lets go of its state before the next step is computed."""

    def handle(self, event: Event, now: float) -> list[Effect]:
        effects = super().handle(event, now)
        at = self.exchange
        entered = any(isinstance(effect, Write) and isinstance(effect.record, records.Stepped) for effect in effects)
        return [*effects, Forget(at.keys())] if at is not None and entered else effects


class NeverAnswersAgain(Aggregator):
    """Does not answer a second time to a step, though the answer was lost, and knows no time that is up."""

    def _deadline(self, index: int) -> None:
        if self._exchange is None or not self._exchange.goes_on:
            super()._deadline(index)


class CountsTwice(Aggregator):
    """Folds reports beside what the exchange made of them."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        combined = Ledger.combined
        self.ledger.combined = lambda pending, key: [*combined(self.ledger, pending, key), *pending]  # type: ignore[method-assign]


class BringsAgain(Aggregator):
    """Uses what it has brought into an exchange of its parent's a second time, where that came to no report."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        give_up = self.ledger._give_up  # type: ignore[reportPrivateUsage]

        def again() -> None:
            ledger, used = self.ledger, self._used  # type: ignore[reportPrivateUsage]
            if ledger.up is not None and ledger.assigned is not None and not ledger.ended:
                ledger.used = list(used)
                ledger.outbox.inside.pop(ledger.up.task, None)
            give_up()

        self.ledger._give_up = again  # type: ignore[method-assign]
        self._used: list[AcceptedUpdate] = []

    def _log(self, record: records.Record) -> None:
        if isinstance(record, records.Entered):
            self._used = list(self.ledger.used)
        super()._log(record)


def test_a_second_answer_to_a_step_is_caught() -> None:
    log, answer = DeliveryLog({}, {}), {"shares": np.zeros(3, np.uint8)}
    for _ in range(2):
        log.sends("d0", "root#0/4", answer)
    with pytest.raises(InvariantError, match=r"^forged: d0 sends another root#0/4 than before"):
        log.sends("d0", "root#0/4", {"shares": np.ones(3, np.uint8)})


@pytest.mark.parametrize(
    ("wrong", "kind", "where"),
    [
        (Carries, "raw", "devices"),
        (NeverAnswersAgain, "hang", "devices"),
        (CountsTwice, "raw", "everywhere"),
        (ForgetsItsState, "missing", "devices"),
        (BringsAgain, "missing|twice|forged|lost", "aggregators"),
    ],
)
def test_a_mistake_is_caught(wrong: type[Aggregator | Device], kind: str, where: Where) -> None:
    nodes = {"device": wrong} if issubclass(wrong, Device) else {"aggregator": wrong}

    def runs() -> None:
        for seed in range(80):
            run(seed, exchange=EXCHANGE, where=where, **nodes)  # type: ignore[arg-type]

    with pytest.raises(InvariantError, match=f"^({kind}):"):
        runs()
