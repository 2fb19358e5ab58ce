"""The aggregator's half of secure aggregation. It can read none of the updates, only their sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fogline.aggregation import Arrays
from fogline.exchanges.base import ExchangeError, Received
from fogline.exchanges.secagg.child import SEALED
from fogline.exchanges.secagg.codes import code_of
from fogline.exchanges.secagg.entering import entrants
from fogline.exchanges.secagg.layout import Layout
from fogline.exchanges.secagg.packing import as_bytes, flags, packed, taken, unpacked
from fogline.exchanges.secagg.roster import TAG, KeyRoster
from fogline.exchanges.secagg.settings import SecAggSettings
from fogline.exchanges.secagg.unmasking import Unmasking
from fogline.privacy.agreement import KEY
from fogline.privacy.graph import Flags, PeerGraph, culprits, with_enough_peers
from fogline.privacy.sharing import SHARE

Payloads: TypeAlias = Mapping[str, Received]
Given: TypeAlias = tuple[Mapping[str, Arrays], Arrays]
Check: TypeAlias = Callable[[int, Received], None]


def keys(settings: SecAggSettings, state: Received, payloads: Payloads) -> Given:
    """Makes the list of members, and shows it to all."""
    entering = entrants(settings, payloads)
    code_of(settings, Layout.read(entering.layout), len(entering.children))
    entries, texts = entering.entries, packed("names", entering.names) | packed("proofs", entering.proofs)
    kept = {"entries": entries, "keys": entering.keys, "layout": as_bytes(entering.layout)}
    return {child: {"entries": entries} for child in entering.children}, kept | texts


def peers(settings: SecAggSettings, state: Received, payloads: Payloads) -> Given:
    """Gives each member the keys of those that it has drawn, and of those that have drawn it."""
    names, members = _names(state), len(state["entries"])
    count, draws = settings.peers(members), np.full((members, settings.peers(members)), -1, np.int64)
    for number, name in enumerate(names):
        drawn = payloads.get(name, {}).get("drawn")
        if drawn is not None and drawn.dtype == np.int32 and _are_peers(drawn, members, count, number):
            draws[number] = drawn
    here = draws.min(axis=1) >= 0
    settings.check_members(int(here.sum()), "have drawn their peers")
    graph, proofs = PeerGraph.of(draws, settings.masked(members)), unpacked(state, "proofs", members)
    replies: dict[str, Arrays] = {}
    for number in np.flatnonzero(here).tolist():
        row = graph.row(number)
        peers = graph.peers[row]
        deals, masked = graph.deals[graph.twins[row]], graph.masks[row]
        reply: Arrays = {"peers": peers, "deals": deals.astype(np.uint8), "masked": masked.astype(np.uint8)}
        reply["keys"] = state["keys"][peers]
        reply |= packed("names", [names[peer].encode() for peer in peers.tolist()])
        replies[names[number]] = reply | packed("proofs", [proofs[peer] for peer in peers.tolist()])
    kept = {name: array for name, array in state.items() if not name.startswith("proofs")}
    return replies, kept | {"draws": draws}


def shares(settings: SecAggSettings, state: Received, payloads: Payloads) -> Given:
    """Hands each member what its peers have sealed for it."""
    book = _Book(settings, state)
    graph, members, pairs = book.graph, book.graph.members, len(book.graph.peers)

    def check(number: int, payload: Received) -> None:
        count = len(graph.dealt_by(number))
        taken(payload, "sealed", np.uint8, count, SEALED)
        taken(payload, "tags", np.uint8, count, 2, TAG)
        taken(payload, "check", np.uint8, KEY)

    here, refused = book.heard(payloads, check, complaints=True)
    here = with_enough_peers(graph, here, settings.needed(members))
    settings.check_members(int(here.sum()), "have dealt out their shares")
    sealed, tags = np.zeros((pairs, SEALED), np.uint8), np.zeros((pairs, 2, TAG), np.uint8)
    checks = np.zeros((members, KEY), np.uint8)
    for number in np.flatnonzero(here).tolist():
        payload, dealt = payloads[book.names[number]], graph.dealt_by(number)
        sealed[dealt], tags[dealt], checks[number] = payload["sealed"], payload["tags"], payload["check"]
    linked = here[graph.owners] & here[graph.peers] & ~refused & ~refused[graph.twins]
    replies: dict[str, Arrays] = {}
    for number in np.flatnonzero(here).tolist():
        dealt = graph.twins[graph.dealt_to(number)]
        shown = linked[graph.row(number)].astype(np.uint8)
        replies[book.names[number]] = {"here": shown, "sealed": sealed[dealt], "tags": tags[dealt]}
    return replies, {**state, "tags": tags, "checks": checks, "linked": linked.astype(np.uint8)}


def masked(settings: SecAggSettings, state: Received, payloads: Payloads) -> Given:
    """Sums the masked updates, and says whose they are."""
    book = _Book(settings, state)
    members = book.graph.members
    layout = Layout.read(state["layout"].tobytes())
    kind = code_of(settings, layout, members).kind

    def check(number: int, payload: Received) -> None:
        taken(payload, "numbers", kind, layout.size)
        taken(payload, "tail", np.int64, layout.tail)

    here, refused = book.heard(payloads, check, complaints=True)
    settings.check_left(int(here.sum()), members, "have sent a masked update")
    joined = flags(state, "linked", len(refused)) & ~refused
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
    graph = book.graph

    def check(number: int, payload: Received) -> None:
        taken(payload, "words", np.uint8, len(graph.peers[graph.row(number)]), TAG)

    here, _ = book.heard(payloads, check)
    here &= np.unpackbits(state["survivors"], count=graph.members) != 0
    words = np.zeros((len(graph.peers), TAG), np.uint8)
    for number in np.flatnonzero(here).tolist():
        words[graph.row(number)] = payloads[book.names[number]]["words"]
    replies: dict[str, Arrays] = {
        book.names[number]: {"words": words[graph.twins[graph.row(number)]]} for number in np.flatnonzero(here).tolist()
    }
    return replies, dict(state)


def unmask(settings: SecAggSettings, state: Received, payloads: Payloads) -> Given:
    """Takes the masks off the sum. All whose masked updates came are in it, also those who have not come this far."""
    book = _Book(settings, state)
    graph = book.graph

    def check(number: int, payload: Received) -> None:
        taken(payload, "shares", np.uint8, len(graph.dealt_to(number)), SHARE)

    here, _ = book.heard(payloads, check)
    given = np.zeros((len(graph.peers), SHARE), np.uint8)
    for number in np.flatnonzero(here).tolist():
        given[graph.twins[graph.dealt_to(number)]] = payloads[book.names[number]]["shares"]
    update = Unmasking(book.roster, graph, state, given, here).update()
    inside = np.flatnonzero(np.unpackbits(state["survivors"], count=graph.members)).tolist()
    return {book.names[number]: {} for number in inside}, update.to_arrays()


STEPS: Mapping[str, Callable[[SecAggSettings, Received, Payloads], Given]] = {
    "keys": keys,
    "peers": peers,
    "shares": shares,
    "masked": masked,
    "survivors": survivors,
    "unmask": unmask,
}


class _Book:
    """Who takes part, as the aggregator knows it."""

    def __init__(self, settings: SecAggSettings, state: Received) -> None:
        self.roster = KeyRoster(settings, state["entries"])
        self.names = _names(state)
        self.graph = PeerGraph.of(state["draws"], settings.masked(self.roster.members))

    def heard(self, payloads: Payloads, check: Check, complaints: bool = False) -> tuple[Flags, Flags]:
        """Who has sent what a step wants, (n,), without those whom others complain about; and which of their peers
        members have refused, for each pair.

        Args:
            payloads: by child.
            check: raises where a member's payload is not what the step wants.
            complaints: whether members say in it whom they refuse.
        """
        graph = self.graph
        here, refused = np.zeros(len(self.names), np.bool_), np.zeros(len(graph.peers), np.bool_)
        for number, name in enumerate(self.names):
            payload, row = payloads.get(name), graph.row(number)
            if payload is None or not _holds(lambda number=number, sent=payload: check(number, sent)):
                continue
            if complaints:
                said = payload.get("refused")
                if said is None or said.dtype != np.uint8 or said.shape != refused[row].shape:
                    continue
                refused[row] = said != 0
            here[number] = True
        among = refused & here[graph.peers]
        accused = zip(graph.owners[among].tolist(), graph.peers[among].tolist(), strict=True)
        here[list(culprits(accused))] = False
        return here, refused


def _names(state: Received) -> list[str]:
    """What members are called, by their numbers."""
    return [name.decode() for name in unpacked(state, "names", len(state["entries"]))]


def _are_peers(drawn: npt.NDArray[Any], members: int, count: int, number: int) -> bool:
    """Whether a member may have drawn these: so many others, each once."""
    if drawn.shape != (count,) or not 0 <= int(drawn.min(initial=0)) <= int(drawn.max(initial=0)) < members:
        return False
    return len(np.unique(drawn)) == count and number not in drawn


def _holds(check: Callable[[], Any]) -> bool:
    """Whether it has the arrays that a step wants: a child that sends something else is out, and nobody else."""
    try:
        check()
    except ExchangeError:
        return False
    return True
