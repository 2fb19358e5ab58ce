"""The first step of an aggregator's half: which children enter, with which keys, and with updates of one layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fogline.exchanges.base import ExchangeError, Received
from fogline.exchanges.secagg.layout import LONGEST, Layout
from fogline.exchanges.secagg.packing import Bytes, as_bytes, taken
from fogline.exchanges.secagg.roster import entry_of
from fogline.exchanges.secagg.settings import SecAggSettings
from fogline.privacy.agreement import KEY
from fogline.privacy.identity import LONGEST as LONGEST_PROOF


@dataclass(frozen=True, slots=True)
class Entrants:
    """Who enters, in the order of the requests."""

    children: tuple[str, ...]
    keys: Bytes
    """(members, 2, 32): the lasting key of each, and its fresh one."""
    proofs: list[bytes]
    layout: bytes
    """Of all their updates."""

    @property
    def names(self) -> list[bytes]:
        """The children's, as they travel."""
        return [child.encode() for child in self.children]

    @property
    def entries(self) -> Bytes:
        """What a list of members has of each, a row for each."""
        pairs = zip(self.names, self.keys, strict=True)
        return np.stack([as_bytes(entry_of(name, pair, self.layout)) for name, pair in pairs])


def entrants(settings: SecAggSettings, payloads: Mapping[str, Received]) -> Entrants:
    """Those who have sent keys, with the layout that most have.

    Raises:
        ExchangeError: they are fewer than the minimum.
    """
    said: dict[str, tuple[Bytes, bytes, bytes]] = {}
    for child, payload in payloads.items():
        keys, proof, layout = _keys(payload), _text(payload, "proof", LONGEST_PROOF), _text(payload, "layout", LONGEST)
        if keys is not None and proof is not None and layout is not None:
            said[child] = keys, proof, layout
    texts = Counter(text for _, _, text in said.values())
    layout = texts.most_common(1)[0][0] if texts else b""
    said = {child: one for child, one in said.items() if one[2] == layout}
    settings.check_members(len(said), "have sent keys, with an update of one layout")
    keys, proofs = np.stack([one[0] for one in said.values()]), [one[1] for one in said.values()]
    return Entrants(tuple(said), keys, proofs, layout)


def layout_in(payload: Received) -> Layout:
    """How a child's update is laid out, by its payload of the first step.

    Raises:
        ExchangeError: it does not say.
    """
    return Layout.read(_text(payload, "layout", LONGEST) or b"")


def _keys(payload: Received) -> Bytes | None:
    try:
        return taken(payload, "keys", np.uint8, 2, KEY)
    except ExchangeError:  # A child that sends something else is out, and nobody else.
        return None


def _text(payload: Received, name: str, longest: int) -> bytes | None:
    array = payload.get(name)
    right = array is not None and array.dtype == np.uint8 and array.ndim == 1 and array.size <= longest
    return array.tobytes() if array is not None and right else None
