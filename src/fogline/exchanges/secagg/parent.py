"""The aggregator's half of secure aggregation. It can read none of the updates, only their sum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fogline.aggregation import Arrays
from fogline.exchanges.base import ExchangeError, Received
from fogline.exchanges.secagg.child import SEALED
from fogline.exchanges.secagg.codes import code_of
from fogline.exchanges.secagg.layout import LONGEST, Layout
from fogline.exchanges.secagg.packing import Bytes, as_bytes, flags, packed, taken, unpacked
from fogline.exchanges.secagg.roster import TAG, KeyRoster, entry_of
from fogline.exchanges.secagg.settings import SecAggSettings
from fogline.exchanges.secagg.unmasking import Unmasking
from fogline.privacy.agreement import KEY
from fogline.privacy.graph import Flags, culprits, places_at_peers, with_enough_peers
from fogline.privacy.identity import LONGEST as LONGEST_PROOF
from fogline.privacy.sharing import SHARE

Payloads: TypeAlias = Mapping[str, Received]
Given: TypeAlias = tuple[Mapping[str, Arrays], Arrays]
Check: TypeAlias = Callable[[Received], Any]


def keys(settings: SecAggSettings, state: Received, payloads: Payloads) -> Given:
    """Makes the list of members, and gives each the keys of its peers."""
    said: dict[str, tuple[Bytes, bytes, bytes]] = {}
    for child, payload in payloads.items():
        proof, layout = _text(payload, "proof", LONGEST_PROOF), _text(payload, "layout", LONGEST)
        if proof is not None and layout is not None and _holds(payload, _has_keys):
            said[child] = payload["keys"], proof, layout
    layout = _most_common([text for _, _, text in said.values()])
    said = {child: one for child, one in said.items() if one[2] == layout}
    settings.check_members(len(said), "have sent keys, with an update of one layout")
    code_of(settings, Layout.read(layout), len(said))
    names = [child.encode() for child in said]
    both, proofs = np.stack([one[0] for one in said.values()]), [one[1] for one in said.values()]
    entries = [as_bytes(entry_of(name, pair, layout)) for name, pair in zip(names, both, strict=True)]
    roster = KeyRoster(settings, np.stack(entries))
    replies: dict[str, Arrays] = {}
    for child, peers in zip(said, roster.peers, strict=True):
        rows = peers.tolist()
        replies[child] = {"entries": roster.entries, "keys": both[peers]}
        replies[child] |= packed("names", [names[row] for row in rows])
        replies[child] |= packed("proofs", [proofs[row] for row in rows])
    return replies, {"entries": roster.entries, "keys": both, "layout": as_bytes(layout)} | packed("names", names)


def shares(settings: SecAggSettings, state: Received, payloads: Payloads) -> Given:
    """Hands each member what its peers have sealed for it."""
    book = _Book(settings, state)
    members, count = book.peers.shape

    def check(payload: Received) -> None:
        taken(payload, "sealed", np.uint8, count, SEALED)
        taken(payload, "tags", np.uint8, count, 2, TAG)
        taken(payload, "check", np.uint8, KEY)
        taken(payload, "refused", np.uint8, count)

    here, refused = book.heard(payloads, check)
    here = with_enough_peers(book.peers, here, settings.needed(members))
    settings.check_members(int(here.sum()), "have dealt out their shares")
    sealed, tags = np.zeros((members, count, SEALED), np.uint8), np.zeros((members, count, 2, TAG), np.uint8)
    checks = np.zeros((members, KEY), np.uint8)
    for number in np.flatnonzero(here).tolist():
        payload = payloads[book.names[number]]
        sealed[number], tags[number], checks[number] = payload["sealed"], payload["tags"], payload["check"]
    places = places_at_peers(book.peers)
    linked = here[book.peers] & ~refused & ~refused[book.peers, places]
    replies: dict[str, Arrays] = {}
    for number in np.flatnonzero(here).tolist():
        peers, place = book.peers[number], places[number]
        replies[book.names[number]] = {
            "here": linked[number].astype(np.uint8),
            "sealed": sealed[peers, place],
            "tags": tags[peers, place],
        }
    return replies, {**state, "tags": tags, "checks": checks, "linked": linked.astype(np.uint8)}


def masked(settings: SecAggSettings, state: Received, payloads: Payloads) -> Given:
    """Sums the masked updates, and says whose they are."""
    book = _Book(settings, state)
    members, count = book.peers.shape
    layout = Layout.read(state["layout"].tobytes())
    kind = code_of(settings, layout, members).kind

    def check(payload: Received) -> None:
        taken(payload, "numbers", kind, layout.size)
        taken(payload, "tail", np.int64, layout.tail)
        taken(payload, "refused", np.uint8, count)

    here, refused = book.heard(payloads, check)
    settings.check_left(int(here.sum()), members, "have sent a masked update")
    joined = flags(state, "linked", members, count) & ~refused
    total, tail = np.zeros(layout.size, kind), np.zeros(layout.tail, np.int64)
    for number in np.flatnonzero(here).tolist():
        payload = payloads[book.names[number]]
        np.add(total, payload["numbers"], out=total)
        np.add(tail, payload["tail"], out=tail)
    listed = np.packbits(here)
    replies: dict[str, Arrays] = {book.names[number]: {"survivors": listed} for number in np.flatnonzero(here).tolist()}
    after = {name: array for name, array in state.items() if name != "linked"}
    return replies, after | {"numbers": total, "tail": tail, "survivors": listed, "joined": joined.astype(np.uint8)}


def survivors(settings: SecAggSettings, state: Received, payloads: Payloads) -> Given:
    """Hands each survivor what its peers say of the list."""
    book = _Book(settings, state)
    members, count = book.peers.shape
    here, _ = book.heard(payloads, lambda payload: taken(payload, "words", np.uint8, count, TAG))
    here &= np.unpackbits(state["survivors"], count=members) != 0
    words, places = np.zeros((members, count, TAG), np.uint8), places_at_peers(book.peers)
    for number in np.flatnonzero(here).tolist():
        words[number] = payloads[book.names[number]]["words"]
    replies: dict[str, Arrays] = {
        book.names[number]: {"words": words[book.peers[number], places[number]]}
        for number in np.flatnonzero(here).tolist()
    }
    return replies, dict(state)


def unmask(settings: SecAggSettings, state: Received, payloads: Payloads) -> Given:
    """Takes the masks off the sum. All whose masked updates came are in it, also those who have not come this far."""
    book = _Book(settings, state)
    members, count = book.peers.shape
    here, _ = book.heard(payloads, lambda payload: taken(payload, "shares", np.uint8, count, SHARE))
    given = np.zeros((members, count, SHARE), np.uint8)
    for number in np.flatnonzero(here).tolist():
        given[number] = payloads[book.names[number]]["shares"]
    update = Unmasking(book.roster, state, given, here).update()
    inside = np.flatnonzero(np.unpackbits(state["survivors"], count=members)).tolist()
    return {book.names[number]: {} for number in inside}, update.to_arrays()


STEPS: Mapping[str, Callable[[SecAggSettings, Received, Payloads], Given]] = {
    "keys": keys,
    "shares": shares,
    "masked": masked,
    "survivors": survivors,
    "unmask": unmask,
}


class _Book:
    """Who takes part, as the aggregator knows it."""

    def __init__(self, settings: SecAggSettings, state: Received) -> None:
        self.roster = KeyRoster(settings, state["entries"])
        self.peers = self.roster.peers
        self.names = [name.decode() for name in unpacked(state, "names", self.roster.members)]

    def heard(self, payloads: Payloads, check: Check) -> tuple[Flags, Flags]:
        """Who has sent what a step wants, (n,), without those whom others complain about; and which peers each of them
        has refused, (n, k)."""
        here, refused = np.zeros(len(self.names), np.bool_), np.zeros(self.peers.shape, np.bool_)
        for number, name in enumerate(self.names):
            payload = payloads.get(name)
            if payload is not None and _holds(payload, check):
                here[number] = True
                refused[number] = payload["refused"] != 0 if "refused" in payload else False
        among = refused & here[self.peers]
        complaints = zip(np.nonzero(among)[0].tolist(), self.peers[among].tolist(), strict=True)
        here[list(culprits(complaints))] = False
        return here, refused


def _holds(payload: Received, check: Check) -> bool:
    """Whether it has the arrays that a step wants: a child that sends something else is out, and nobody else."""
    try:
        check(payload)
    except ExchangeError:
        return False
    return True


def _has_keys(payload: Received) -> npt.NDArray[Any]:
    return taken(payload, "keys", np.uint8, 2, KEY)


def _text(payload: Received, name: str, longest: int) -> bytes | None:
    array = payload.get(name)
    right = array is not None and array.dtype == np.uint8 and array.ndim == 1 and array.size <= longest
    return array.tobytes() if array is not None and right else None


def _most_common(texts: list[bytes]) -> bytes:
    return Counter(texts).most_common(1)[0][0] if texts else b""
