"""How an aggregator's part of a job stands: its round, the rounds that came to nothing, the model it has come to."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

from fogline.compute.effects import GROUP
from fogline.network.node.participation.driver import Driver
from fogline.storage import BlobRef

if TYPE_CHECKING:
    from fogline.monitoring.tree_state import RoundState
    from fogline.nodes.aggregator import Aggregator
    from fogline.nodes.ledger import Ledger


def round_of(driver: Driver, most: int) -> RoundState:
    """The round that is open, with ``most`` names of children at most."""
    from fogline.compute.round_state import round_state  # A device needs no aggregator, and has little memory.

    return round_state(_ledger(driver), most)


class RoundCounts(NamedTuple):
    """How many rounds of its own an aggregator has behind it."""

    over: int = 0
    lost: int = 0
    """Of these, those that came to nothing."""


def rounds_of(driver: Driver) -> RoundCounts:
    """The rounds so far."""
    ledger = _ledger(driver)
    return RoundCounts(ledger.rounds_done, ledger.rounds_lost)


def outcome(driver: Driver) -> BlobRef | None:
    """The model that it has come to; None if it has not moved."""
    return driver.values.get(_ledger(driver).model + GROUP) if driver.moves else None


def _ledger(driver: Driver) -> Ledger:
    return cast("Aggregator", driver.machine).ledger
