"""Takes the masks off a sum, with the shares that members have given."""

from __future__ import annotations

import numpy as np

from fogline.aggregation import Update
from fogline.exchanges.base import ExchangeError, Received
from fogline.exchanges.secagg.codes import code_of
from fogline.exchanges.secagg.layout import Layout
from fogline.exchanges.secagg.packing import Bytes, flags
from fogline.exchanges.secagg.roster import (
    MASK_KEY,
    OWN_MASK,
    KeyRoster,
    mask_stream,
    own_mask_stream,
    seed_check,
    tag_of,
)
from fogline.privacy.agreement import Agreement, public_key
from fogline.privacy.graph import Flags, PeerGraph
from fogline.privacy.masks import add_masks
from fogline.privacy.ring import RingError
from fogline.privacy.sharing import combine


class Unmasking:
    """The last step of a round.

    Args:
        roster: its members.
        graph: who has given shares to whom, and has masks with whom.
        state: of the aggregator, after the step before.
        given: the share that came back of what the first of each pair has dealt to the second, (pairs, 36).
        here: which members have given any, (n,).
    """

    def __init__(self, roster: KeyRoster, graph: PeerGraph, state: Received, given: Bytes, here: Flags) -> None:
        self._roster, self._graph, self._state, self._given, self._here = roster, graph, state, given, here
        self._left = np.unpackbits(state["survivors"], count=graph.members) != 0
        self._joined = graph.masks & flags(state, "joined", len(graph.peers))
        """Which pairs have a mask, as the first of the two says."""
        self._needed = roster.settings.needed(graph.members)

    def update(self) -> Update:
        """The mean of the survivors' updates.

        Raises:
            ExchangeError: too few shares came, or the sum does not come out.
        """
        vectors = self._state["numbers"].copy(), self._state["tail"].copy()
        context, masks = self._roster.context, list[tuple[bytes, bool]]()
        for number in np.flatnonzero(self._left).tolist():
            masks.append((own_mask_stream(self._seed(number), context), True))
        for number in np.flatnonzero(~self._left).tolist():
            with_it = self._with(number)
            if with_it:
                own, publics = Agreement(self._mask_key(number)), self._state["keys"][:, 1]
                for peer in with_it:
                    shared = own.with_public(publics[peer].tobytes())
                    if shared is None:
                        raise ExchangeError("A device's mask key is none, though its peers took it for one.")
                    # The peer added its mask if its number is the lower one.
                    masks.append((mask_stream(shared, context), peer < number))
        add_masks(vectors, masks)
        layout, members = Layout.read(self._state["layout"].tobytes()), int(self._left.sum())
        try:
            code = code_of(self._roster.settings, layout, self._roster.members, context)
            return code.decode(*vectors, members)
        except RingError as error:
            raise ExchangeError(str(error)) from error

    def _with(self, number: int) -> list[int]:
        """Survivors that have a mask with a member."""
        row = self._graph.row(number)
        peers, said = self._graph.peers[row], self._joined[self._graph.twins[row]]
        return peers[self._left[peers] & said].tolist()

    def _seed(self, number: int) -> bytes:
        found = self._found(number, OWN_MASK)
        if seed_check(self._roster.context, number, found) != self._state["checks"][number].tobytes():
            raise ExchangeError(f"The shares of device {number} of the round do not come to its own mask.")
        return found

    def _mask_key(self, number: int) -> bytes:
        found = self._found(number, MASK_KEY)
        if public_key(found) != self._state["keys"][number, 1].tobytes():
            raise ExchangeError(f"The shares of device {number} of the round do not come to its mask key.")
        return found

    def _found(self, number: int, kind: int) -> bytes:
        """A member's secret, from the first shares that are what it has dealt out."""
        holders: list[int] = []
        shares: list[Bytes] = []
        for pair in self._graph.dealt_by(number).tolist():
            holder, share = int(self._graph.peers[pair]), self._given[pair]
            if not self._here[holder]:
                continue
            tag = tag_of(self._roster.context, number, holder, kind, share.tobytes())
            if tag == self._state["tags"][pair, kind].tobytes():
                holders.append(holder)
                shares.append(share)
            if len(shares) == self._needed:
                return combine([holder + 1 for holder in holders], np.stack(shares)) or b""
        raise ExchangeError(
            f"{len(shares)} shares that hold came for a mask of device {number} of the round; it takes {self._needed}."
        )
