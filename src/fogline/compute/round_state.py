"""How an aggregator's round stands, from what it must not forget: the same in simulation and on real nodes."""

from __future__ import annotations

from itertools import islice

from fogline.monitoring.tree_state import RoundState
from fogline.nodes.ledger import Ledger


def round_state(ledger: Ledger, most: int, sent: int = 0, received: int = 0) -> RoundState:
    """The round that is open; of an aggregator with several lanes, all of them together.

    Args:
        ledger: the aggregator's.
        most: children that are named, of those that it waits for.
        sent: bytes that went to its children, where they are counted for each node,
        received: and that came from them.
    """
    lanes = [lane for lane in ledger.lanes if lane.open]
    waited = (ledger.asks[task].child for lane in lanes for task in lane.asks)
    return RoundState(
        open=bool(lanes) and ledger.working,
        waits=sum(len(lane.asks) for lane in lanes),
        names=tuple(islice(waited, most)),
        here=sum(len(lane.pending) for lane in lanes),
        need=sum(lane.need for lane in lanes),
        quorum=sum(lane.quorum for lane in lanes),
        sent=sent,
        received=received,
    )
