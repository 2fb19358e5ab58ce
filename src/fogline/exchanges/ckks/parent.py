"""The aggregator's half. It has no key: it adds up what it cannot read, and is told the sum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from fogline.aggregation import Arrays
from fogline.exchanges.base import ExchangeError, Received
from fogline.exchanges.ckks.child import LOCKED, SEALED
from fogline.exchanges.ckks.terms import (
    Flags,
    Terms,
    Words,
    blocks_of,
    dealers_of,
    of_numbers,
    of_words,
    parts_in,
    parts_of,
    words_in,
)
from fogline.exchanges.secagg.entering import entrants
from fogline.exchanges.secagg.layout import Layout
from fogline.exchanges.secagg.packing import Bytes, as_bytes, flags, packed, taken, unpacked
from fogline.exchanges.secagg.roster import TAG, KeyRoster
from fogline.privacy.ckks import MOST, ROW, SLOTS, CkksError, CkksSum, rows_of
from fogline.privacy.ring import RingError

Payloads: TypeAlias = Mapping[str, Received]
Given: TypeAlias = tuple[Mapping[str, Arrays], Arrays]
Check: TypeAlias = Callable[[Received], Any]


def keys(terms: Terms, state: Received, payloads: Payloads) -> Given:
    """Makes the list of members, and gives each the keys of those who make keys, and these the keys of all."""
    entering = entrants(terms.settings, payloads)
    names, proofs, entries = entering.names, entering.proofs, entering.entries
    if len(names) > MOST:
        raise ExchangeError(f"{len(names)} devices have sent keys; encrypted sums have room for {MOST}.")
    Layout.read(entering.layout)
    dealers = dealers_of(KeyRoster(terms.settings, entries).context, len(names))

    def reply(rows: list[int]) -> Arrays:
        texts = packed("names", [names[row] for row in rows]) | packed("proofs", [proofs[row] for row in rows])
        return {"entries": entries, "keys": entering.keys[rows]} | texts

    to_dealers, to_others = reply(list(range(len(names)))), reply(dealers)
    replies = {child: to_dealers if number in dealers else to_others for number, child in enumerate(entering.children)}
    return replies, {"entries": entries, "layout": as_bytes(entering.layout)} | packed("names", names)


def deal(terms: Terms, state: Received, payloads: Payloads) -> Given:
    """Takes the key that most members can have, and hands it on."""
    book = _Book(terms, state)
    trusts = np.zeros((book.members, len(book.dealers)), np.bool_)
    for number, name in enumerate(book.names):
        if name in payloads and _holds(payloads[name], lambda payload: flags(payload, "trusts", len(book.dealers))):
            trusts[number] = payloads[name]["trusts"] != 0

    def check(payload: Received) -> None:
        taken(payload, "sealed", np.uint8, book.members, SEALED)
        taken(payload, "locked", np.uint8, LOCKED)

    have: dict[int, Flags] = {}
    for place, dealer in enumerate(book.dealers):
        payload = payloads.get(book.names[dealer])
        if payload is not None and _holds(payload, check):
            have[place] = payload["sealed"].any(axis=1) & trusts[:, place]
            have[place][dealer] = True
    if not have:
        raise ExchangeError(f"None of the {len(book.dealers)} devices that make a key has sent one.")
    place = max(have, key=lambda place: (int(have[place].sum()), -place))
    dealt = payloads[book.names[book.dealers[place]]]
    common: Arrays = {"dealer": np.array([place]), "locked": dealt["locked"]}
    among = np.flatnonzero(have[place]).tolist()
    terms.settings.check_members(len(among), "have a key in common")
    return {book.names[number]: common | {"sealed": dealt["sealed"][number]} for number in among}, dict(state)


def map_out(terms: Terms, state: Received, payloads: Payloads) -> Given:
    """Adds up what devices say, encrypted, of how large their updates are in each block, and has some open it."""
    book = _Book(terms, state)
    here, rows = book.added(payloads, rows_of(blocks_of(book.layout.size)))
    terms.settings.check_members(int(here.sum()), "have sent how large their updates are")
    asked: Arrays = {"rows": rows, "survivors": np.packbits(here)}
    among = np.flatnonzero(here).tolist()
    replies = {book.names[number]: asked if number in among[: terms.readers] else {} for number in among}
    return replies, dict(state)


def rank(terms: Terms, state: Received, payloads: Payloads) -> Given:
    """Tells all which blocks the devices have found to be the largest."""
    book = _Book(terms, state)
    count, said = (blocks_of(book.layout.size) + 7) // 8, Counter[bytes]()

    def check(payload: Received) -> None:
        taken(payload, "blocks", np.uint8, count)
        taken(payload, "word", np.uint8, TAG)

    for payload in payloads.values():
        if _holds(payload, check):
            said[payload["blocks"].tobytes() + payload["word"].tobytes()] += 1
    text = as_bytes(_agreed(terms, said, "The blocks that are to be encrypted"))
    told: Arrays = {"blocks": text[:count], "word": text[count:]}
    return dict.fromkeys(payloads, told), {**state, "blocks": text[:count]}


def encrypt(terms: Terms, state: Received, payloads: Payloads) -> Given:
    """Adds up the encrypted updates, and says whose they are."""
    book = _Book(terms, state)
    hidden = book.hidden
    open_numbers = book.layout.size - int(hidden.sum())

    def check(payload: Received) -> None:
        if not terms.whole:
            taken(payload, "plain", np.int32, open_numbers)

    here, rows = book.added(payloads, book.parts, check)
    terms.settings.check_members(int(here.sum()), "have sent an encrypted update")
    plain = np.zeros(open_numbers, np.int32)
    for number in np.flatnonzero(here).tolist() if not terms.whole else ():
        np.add(plain, payloads[book.names[number]]["plain"], out=plain)
    listed = np.packbits(here)
    replies: dict[str, Arrays] = {book.names[number]: {"survivors": listed} for number in np.flatnonzero(here).tolist()}
    return replies, {**state, "rows": rows, "plain": plain, "survivors": listed}


def survivors(terms: Terms, state: Received, payloads: Payloads) -> Given:
    """Hands each survivor what all say of the list, and the parts of the sum that it is to open."""
    book = _Book(terms, state)
    here = book.heard(payloads, lambda payload: taken(payload, "word", np.uint8, TAG)) & book.inside
    words = np.zeros((book.members, TAG), np.uint8)
    for number in np.flatnonzero(here).tolist():
        words[number] = payloads[book.names[number]]["word"]
    tasks = parts_of(np.flatnonzero(here).tolist(), book.parts, terms.readers)
    replies: dict[str, Arrays] = {
        book.names[number]: {"words": words, "parts": np.array(parts, np.int64), "rows": state["rows"][parts]}
        for number, parts in tasks.items()
    }
    after = {name: array for name, array in state.items() if name != "rows"}
    return replies, after | {"readers": here.astype(np.uint8)}


def open_parts(terms: Terms, state: Received, payloads: Payloads) -> Given:
    """Puts together what devices have opened. All whose encrypted updates came are in it, also those who have not come
    this far."""
    book = _Book(terms, state)
    tasks = parts_of(np.flatnonzero(flags(state, "readers", book.members)).tolist(), book.parts, terms.readers)
    said = [Counter[bytes]() for _ in range(book.parts)]
    for number, parts in tasks.items():
        opened = payloads.get(book.names[number], {}).get("opened")
        if opened is not None and opened.dtype == np.int32 and opened.shape == (len(parts), SLOTS):
            for part, words in zip(parts, opened, strict=True):
                said[part][words.tobytes()] += 1
    found = [_agreed(terms, votes, f"Part {part} of the sum") for part, votes in enumerate(said)]
    update = book.update(np.frombuffer(b"".join(found), np.int32), state["plain"])
    inside = np.flatnonzero(book.inside).tolist()
    return {book.names[number]: {} for number in inside}, update.to_arrays()


STEPS: Mapping[str, Callable[[Terms, Received, Payloads], Given]] = {
    "keys": keys,
    "deal": deal,
    "map": map_out,
    "rank": rank,
    "encrypt": encrypt,
    "survivors": survivors,
    "open": open_parts,
}


class _Book:
    """What the aggregator knows of a round."""

    def __init__(self, terms: Terms, state: Received) -> None:
        self._terms, self._state = terms, state
        self._roster = KeyRoster(terms.settings, state["entries"])
        self.members = self._roster.members
        self.names = [name.decode() for name in unpacked(state, "names", self.members)]
        self.layout = Layout.read(state["layout"].tobytes())

    @property
    def dealers(self) -> list[int]:
        return dealers_of(self._roster.context, self.members)

    @property
    def hidden(self) -> Flags:
        """Which numbers are encrypted."""
        if self._terms.whole:
            return np.ones(self.layout.size, np.bool_)
        blocks = np.unpackbits(self._state["blocks"], count=blocks_of(self.layout.size)) != 0
        return of_numbers(blocks, self.layout.size)

    @property
    def parts(self) -> int:
        """Ciphertexts of an encrypted update."""
        return parts_in(int(self.hidden.sum()), self.layout.tail)

    @property
    def inside(self) -> Flags:
        """Whose updates are in the sum."""
        return np.unpackbits(self._state["survivors"], count=self.members) != 0

    def heard(self, payloads: Payloads, check: Check) -> Flags:
        """Who has sent what a step wants, (n,)."""
        return np.array([name in payloads and _holds(payloads[name], check) for name in self.names])

    def added(self, payloads: Payloads, parts: int, check: Check = lambda _: None) -> tuple[Flags, Bytes]:
        """Whose ciphertexts are added up, (n,), and their sum. Who has sent others is out."""
        total = CkksSum(parts)

        def add(payload: Received) -> None:
            check(payload)
            total.add(taken(payload, "rows", np.uint8, parts, ROW))

        here = self.heard(payloads, add)
        return here, total.rows() if here.any() else np.zeros((0, ROW), np.uint8)

    def update(self, words: Words, plain: Words) -> Any:
        """The mean of the survivors' updates, of what was opened and of what was not encrypted.

        Raises:
            ExchangeError: the sum does not come out.
        """
        hidden, numbers = self.hidden, np.zeros(self.layout.size, "<i4")
        count = int(hidden.sum())
        numbers[hidden], tail = of_words(words[: words_in(count, self.layout.tail)], count, self.layout.tail)
        numbers[~hidden] = plain
        try:
            return self.layout.decode(numbers, tail, self._terms.settings.ring(self.members), int(self.inside.sum()))
        except RingError as error:
            raise ExchangeError(str(error)) from error


def _agreed(terms: Terms, said: Counter[bytes], what: str) -> bytes:
    """What more than half of those who have said something say, at least two unless one is asked.

    Raises:
        ExchangeError: there is no such thing.
    """
    text, count = said.most_common(1)[0] if said else (b"", 0)
    if 2 * count <= said.total() or count < min(2, terms.readers):
        raise ExchangeError(
            f"{what}: {count} of {said.total()} devices that have looked say the same, which is too few."
        )
    return text


def _holds(payload: Received, check: Check) -> bool:
    """Whether it has what a step wants: a child that sends something else is out, and nobody else."""
    try:
        check(payload)
    except (ExchangeError, CkksError):
        return False
    return True
