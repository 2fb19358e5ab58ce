"""What of a model goes along with a request: all of it or differences, and what is sent to a node once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from fogline.nodes.messages import Key, model_key
from fogline.nodes.versions import DIFFERENCE, chain, lacked, useful, version_of
from fogline.simulation.fleet.counters import Traffic
from fogline.simulation.fleet.scenario import LinkSizes, Sizes
from fogline.simulation.fleet.seats import Seat
from fogline.simulation.profiles import Link


class LinkLoad(NamedTuple):
    """What goes along with a request."""

    size: int
    """Bytes."""
    begins: float
    """When the sender has all of it."""
    earliest: float
    """When the receiver has what it needs beside it, so that it is of no use before."""


class Delivery:
    """Knows what every node has of the models that are sent down.

    Args:
        sizes: bytes of what travels.
        traffic: counts what an aggregator has to fetch for its children.
        links: between aggregators and their parents.
    """

    def __init__(self, sizes: Sizes, traffic: Traffic, links: Link) -> None:
        self._sizes = sizes
        self._traffic = traffic
        self._links = links
        self._held: dict[str, Key] = {}
        """By node, the model that it got last;"""
        self._there: dict[str, float] = {}
        """and when it is there."""
        self._frozen_there: dict[str, float] = {}
        """When nodes have the frozen entries, which came with their first model."""
        self._pieces: dict[str, set[Key]] = {}
        """By aggregator that hands models on, the models and the differences that it has."""
        self._chains: dict[str, tuple[Key, list[Key]]] = {}
        """By the node whose model it is, the latest that was asked for, and the versions that differences lead to."""

    def load(self, seat: Seat, to: Seat, model: Key, whole: int, now: float) -> LinkLoad:
        """What goes from an aggregator to a child.

        Args:
            seat: the aggregator.
            to: the child.
            model: what it is to have.
            whole: bytes of the model.
            now: the time.
        """
        between, name = self._sizes.of(seat.tier, 0), to.name
        size, begins, earliest = whole, now, self._frozen_there.get(name, 0.0)
        if between.difference:
            links = self._links_to(model, between)
            pieces = self._lacks(to, model, links)
            sizes = {piece: between.difference if piece.endswith(DIFFERENCE) else between.down for piece in pieces}
            begins += self._fetched(seat, model, sizes)
            self._keep(to, model, pieces, links)
            size = max(self._sizes.control, sum(sizes.values()))
            if model not in pieces:
                earliest = max(earliest, self._there.get(name, 0.0))
        return LinkLoad(size + self._traffic.frozen_for(name), begins, earliest)

    def arrives(self, to: Seat, at: float) -> None:
        """What was sent to a child is there at that time."""
        self._there[to.name] = at
        if self._sizes.frozen:
            self._frozen_there.setdefault(to.name, at)

    def _links_to(self, model: Key, between: LinkSizes) -> list[Key]:
        """The versions up to that model which differences lead to, as a parent keeps them."""
        node, version = model.partition("@")[0], version_of(model)
        known = self._chains.get(node)
        if known is None or known[0] != model:
            made = [model_key(node, one) for one in range(version - version % between.every + 1, version + 1)]
            links = chain(model, {one + DIFFERENCE for one in made})
            links = useful(links, dict.fromkeys(links, between.difference), between.down)
            self._chains[node] = known = model, links
        return known[1]

    def _lacks(self, to: Seat, model: Key, links: list[Key]) -> list[Key]:
        """What a child has to get, to have a model: differences, or the model whole."""
        if to.hands_on:  # It gets the newest; the rest when a child of it asks.
            has = self._pieces.get(to.name, set[Key]())
            wanted = links[-1] + DIFFERENCE if links else model
            return [] if wanted in has else [wanted]
        held = self._held.get(to.name)
        if held == model:
            return []
        way = None if held is None else lacked(links, (held,))
        return [model] if way is None else [link + DIFFERENCE for link in way]

    def _keep(self, to: Seat, model: Key, pieces: list[Key], links: list[Key]) -> None:
        if to.hands_on:
            current = {model, *(link + DIFFERENCE for link in links)}
            self._pieces[to.name] = current.intersection((*self._pieces.get(to.name, ()), *pieces))
        else:
            self._held[to.name] = model

    def _fetched(self, seat: Seat, model: Key, sizes: Mapping[Key, int]) -> float:
        """Seconds until an aggregator has what a child asks it for: it fetches, once, what it has not."""
        if not seat.hands_on or seat.parent is None:
            return 0.0
        has = self._pieces.setdefault(seat.name, set())
        missing = {piece: size for piece, size in sizes.items() if piece not in has}
        if not missing:
            return 0.0
        has.update(missing)
        self._traffic.down[seat.parent.tier] += (total := sum(missing.values()))
        return self._fetched(seat.parent, model, missing) + self._links.seconds(total, False)
