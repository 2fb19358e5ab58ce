"""A device's half."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import msgspec
import numpy as np

from fogline.aggregation import Arrays, Update
from fogline.exchanges.base import OWN, PROOF, SECRET, SEED, TRUST, ExchangeError, Received
from fogline.exchanges.ckks.group import CipherGroup
from fogline.exchanges.ckks.terms import (
    Flags,
    Tail,
    Terms,
    Words,
    blocks_of,
    dealers_of,
    largest,
    magnitudes,
    of_numbers,
    to_words,
)
from fogline.exchanges.secagg.layout import Layout, checked
from fogline.exchanges.secagg.packing import Bytes, as_bytes, taken, unpacked
from fogline.exchanges.secagg.roster import ENTRY, TAG, KeyRoster, bound, entry_of
from fogline.privacy.agreement import KEY, SEAL, Agreement, derive, lasting, public_key, seal, unseal
from fogline.privacy.ckks import LOCKER, MOST, ROW, make_key, rows_of
from fogline.privacy.identity import Trust
from fogline.privacy.masks import Stream

SEALED, LOCKED = KEY + SEAL, LOCKER + SEAL
"""Bytes of a secret, and of a key, on their way to a device."""
MAP, SUM = "map", "sum"
"""What is encrypted."""
Given: TypeAlias = tuple[Arrays, Arrays]


def keys(terms: Terms, state: Received, received: Received) -> Given:
    """Shows its lasting key, with the proof of whose it is, a fresh one, and how its update is laid out."""
    if PROOF not in state:
        raise ExchangeError("This device has nothing to show who it is.")
    layout = Layout.of(checked(Update.from_arrays(state), terms.settings))
    kept = {name: array for name, array in state.items() if name != PROOF}
    return {"keys": _public(state), "proof": state[PROOF], "layout": as_bytes(layout.text)}, kept


def deal(terms: Terms, state: Received, received: Received) -> Given:
    """Agrees with those who make keys on secrets, and says whose it believes; each of them makes a key, and seals its
    secret for every member."""
    layout = Layout.of(Update.from_arrays(state))
    roster = _roster(terms, received)
    me = roster.number_of(entry_of(state[OWN].tobytes(), _public(state), layout.text))
    dealers = dealers_of(roster.context, roster.members)
    peers = range(roster.members) if me in dealers else dealers
    pairs = _agreed(roster, me, peers, layout.text, state, received)
    kept = {name: array for name, array in state.items() if name not in (SECRET, TRUST)}
    kept |= {"roster/context": as_bytes(roster.context), "roster/place": np.array([me, roster.members])}
    with_dealers = pairs[dealers] if me in dealers else pairs
    sent: Arrays = {"trusts": np.asarray(with_dealers.any(axis=1), np.uint8)}
    if me not in dealers:
        return sent, kept | {"pairs": with_dealers}
    secret = derive(state[SEED].tobytes(), "secret of the group", roster.context)
    group = CipherGroup(roster.context, secret, make_key())
    sealed = np.zeros((roster.members, SEALED), np.uint8)
    for peer in np.flatnonzero(pairs.any(axis=1)).tolist():
        text = seal(pairs[peer].tobytes(), secret, bound(roster.context, me, peer), int(me > peer))
        sealed[peer] = as_bytes(text)
    return sent | {"sealed": sealed, "locked": group.locked()}, kept | {"pairs": with_dealers} | _of(group)


def map_out(terms: Terms, state: Received, received: Received) -> Given:
    """Sends how large its update is in each block, encrypted. From here on it has the update as whole numbers."""
    group, (me, members) = _joined(state, received), state["roster/place"].tolist()
    numbers, tail = _encoded(terms, state, members)
    sent: Arrays = {"rows": group.encrypted(magnitudes(numbers), MAP, me)}
    return sent, {"roster/place": state["roster/place"], "numbers": numbers, "tail": tail} | _of(group)


def rank(terms: Terms, state: Received, received: Received) -> Given:
    """Opens the sum of what all have sent, if it is asked, and says which blocks are the largest."""
    members = int(state["roster/place"][1])
    rows, size = received.get("rows"), state["numbers"].size
    if rows is None:
        return {}, dict(state)
    parts = rows_of(blocks_of(size))
    rows, there = taken(received, "rows", np.uint8, parts, ROW), _listed(terms, received, members)
    group = _group(state)
    opened = group.opened(rows, range(parts), MAP, np.flatnonzero(there).tolist())
    blocks = np.packbits(largest(opened.reshape(-1)[: blocks_of(size)], terms.chosen(size)))
    return {"blocks": blocks, "word": group.word("blocks", 0, blocks.tobytes())}, dict(state)


def encrypt(terms: Terms, state: Received, received: Received) -> Given:
    """Sends its update encrypted, or the blocks of it that the devices have found to be the largest. From here on it
    no longer has it."""
    me, members = state["roster/place"].tolist()
    sent: Arrays = {}
    if terms.whole:
        group = _joined(state, received)
        numbers, tail = _encoded(terms, state, members)
    else:
        group = _group(state)
        hidden = of_numbers(_blocks(terms, group, received, state["numbers"].size), state["numbers"].size)
        sent["plain"] = state["numbers"][~hidden]
        numbers, tail = state["numbers"][hidden], state["tail"]
    sent["rows"] = group.encrypted(to_words(numbers, tail), SUM, me)
    return sent, {"roster/place": state["roster/place"]} | _of(group)


def survivors(terms: Terms, state: Received, received: Received) -> Given:
    """Tells the others which list it was shown of whose updates are in the sum."""
    me, members = state["roster/place"].tolist()
    if not _listed(terms, received, members)[me]:
        raise ExchangeError("The aggregator says that this device is out.")
    listed = received["survivors"]
    return {"word": _group(state).word("list", me, listed.tobytes())}, {**state, "survivors": listed}


def open_parts(terms: Terms, state: Received, received: Received) -> Given:
    """Opens parts of the sum, if more than half of all say that they were shown the same list."""
    members, listed, group = int(state["roster/place"][1]), state["survivors"], _group(state)
    there = np.flatnonzero(np.unpackbits(listed, count=members)).tolist()
    words = taken(received, "words", np.uint8, members, TAG)
    agree = sum(
        hmac.compare_digest(words[member].tobytes(), group.word("list", member, listed.tobytes()).tobytes())
        for member in there
    )
    if not terms.enough(agree, members):
        raise ExchangeError(f"{agree} of {members} devices were shown the list that this one was shown: too few.")
    parts = received.get("parts")
    if parts is None or parts.dtype != np.int64 or parts.ndim != 1 or ((parts < 0) | (parts >= 1 << 31)).any():
        raise ExchangeError("The aggregator does not say which parts of the sum to open.")
    rows = taken(received, "rows", np.uint8, parts.size, ROW)
    return {"opened": group.opened(rows, parts.tolist(), SUM, there)}, {}


def _public(state: Received) -> Bytes:
    """The two public keys, (2, 32): the lasting one, and the fresh one."""
    privates = state[SECRET].tobytes(), _fresh(state)
    return np.stack([as_bytes(public_key(private)) for private in privates])


def _fresh(state: Received) -> bytes:
    return derive(state[SEED].tobytes(), "fresh key")


def _roster(terms: Terms, received: Received) -> KeyRoster:
    entries = received.get("entries")
    if entries is None or entries.dtype != np.uint8 or entries.ndim != 2 or entries.shape[1] != ENTRY:
        raise ExchangeError("The aggregator sends no list of members.")
    terms.settings.check_members(len(entries), "take part")
    if len(entries) > MOST:
        raise ExchangeError(f"{len(entries)} devices take part; encrypted sums have room for {MOST}.")
    return KeyRoster(terms.settings, entries)


def _agreed(
    roster: KeyRoster, me: int, peers: Sequence[int], layout: bytes, state: Received, received: Received
) -> Bytes:
    """The keys with which a device and each of its peers seal texts for each other, (peers, 32). Zeros for itself, and
    where a peer's key is none, or is not shown to be its own."""
    keys = taken(received, "keys", np.uint8, len(peers), 2, KEY)
    names, proofs = unpacked(received, "names", len(peers)), unpacked(received, "proofs", len(peers))
    trust = msgspec.msgpack.decode(state[TRUST].tobytes(), type=Trust)
    secret, fresh = state[SECRET].tobytes(), Agreement(_fresh(state))
    pairs = np.zeros((len(peers), KEY), np.uint8)
    for row, peer in enumerate(peers):
        if roster.entries[peer].tobytes() != entry_of(names[row], keys[row], layout):
            raise ExchangeError("The aggregator's list and the keys that it hands out do not agree.")
        public = keys[row, 0].tobytes()
        if peer == me or trust.doubt(proofs[row], names[row].decode(errors="replace"), public):
            continue
        long, short = lasting(secret, public), fresh.with_public(keys[row, 1].tobytes())
        if long is not None and short is not None:
            both = bound(roster.context, min(me, peer), max(me, peer))
            pairs[row] = as_bytes(derive(long + short, "pair", both))
    return pairs


def _joined(state: Received, received: Received) -> CipherGroup:
    """The group that the aggregator has taken the key of."""
    me, members = state["roster/place"].tolist()
    context, place = state["roster/context"].tobytes(), int(taken(received, "dealer", np.int64, 1)[0])
    dealers = dealers_of(context, members)
    if not 0 <= place < len(dealers):
        raise ExchangeError("The aggregator takes a key of a device that makes none.")
    dealer = dealers[place]
    if dealer == me:
        return _group(state)
    sealed, locked = taken(received, "sealed", np.uint8, SEALED), taken(received, "locked", np.uint8, LOCKED)
    pair = state["pairs"][place]
    text = (
        unseal(pair.tobytes(), sealed.tobytes(), bound(context, dealer, me), int(dealer > me)) if pair.any() else None
    )
    if text is None:
        raise ExchangeError("The secret that is sealed for this device does not open.")
    return CipherGroup.unlocked(context, text, locked.tobytes())


def _of(group: CipherGroup) -> Arrays:
    parts = {"context": group.context, "secret": group.secret, "key": group.key}
    return {f"group/{name}": as_bytes(text) for name, text in parts.items()}


def _group(state: Received) -> CipherGroup:
    return CipherGroup(*(state[f"group/{name}"].tobytes() for name in ("context", "secret", "key")))


def _encoded(terms: Terms, state: Received, members: int) -> tuple[Words, Tail]:
    """The update in whole numbers, rounded at random."""
    update = Update.from_arrays(state)
    noise = Stream(derive(state[SEED].tobytes(), "rounding", state["roster/context"].tobytes()))
    return Layout.of(update).encode(update, terms.settings.ring(members), noise)


def _listed(terms: Terms, received: Received, members: int) -> Flags:
    """Whose updates are in a sum, (members,)."""
    there = np.unpackbits(taken(received, "survivors", np.uint8, (members + 7) // 8), count=members) != 0
    terms.settings.check_members(int(there.sum()), "are left in the sum")
    return there


def _blocks(terms: Terms, group: CipherGroup, received: Received, size: int) -> Flags:
    """Which blocks are encrypted: as many as there must be, and the devices have said it."""
    packed = taken(received, "blocks", np.uint8, (blocks_of(size) + 7) // 8)
    word = taken(received, "word", np.uint8, TAG)
    if not hmac.compare_digest(word.tobytes(), group.word("blocks", 0, packed.tobytes()).tobytes()):
        raise ExchangeError("No device has said that these blocks are to be encrypted.")
    blocks = np.unpackbits(packed, count=blocks_of(size)) != 0
    if int(blocks.sum()) != terms.chosen(size):
        raise ExchangeError(f"{int(blocks.sum())} blocks are to be encrypted; it must be {terms.chosen(size)}.")
    return blocks


STEPS: Mapping[str, Callable[[Terms, Received, Received], Given]] = {
    "keys": keys,
    "deal": deal,
    "map": map_out,
    "rank": rank,
    "encrypt": encrypt,
    "survivors": survivors,
    "open": open_parts,
}
