"""A device's half of secure aggregation."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from fogline.aggregation import Arrays, Update
from fogline.exchanges.base import AT, OWN, PROOF, ROOT, SEED, ExchangeError, Received
from fogline.exchanges.secagg.layout import Layout, checked
from fogline.exchanges.secagg.packing import Bytes, as_bytes, flags, taken, unpacked
from fogline.exchanges.secagg.roster import ENTRY, TAG, Roster, bound, entry_of, seed_check, tag_of
from fogline.exchanges.secagg.settings import Settings
from fogline.privacy import agreement
from fogline.privacy.agreement import KEY, Agreement, derive
from fogline.privacy.identity import doubt, round_key
from fogline.privacy.masks import Stream, add_mask
from fogline.privacy.sharing import SHARE, split

SEALED = 2 * SHARE + agreement.TAG
"""Bytes of two shares on their way to a peer."""
OWN_MASK, MASK_KEY = 0, 1
"""The two secrets that a device shares: the seed of its own mask, and the key of those that it has with others."""
Given: TypeAlias = tuple[Arrays, Arrays]


def keys(settings: Settings, state: Received, received: Received) -> Given:
    """Shows fresh keys, with the proof of whose they are; and how its update is laid out."""
    if PROOF not in state:
        raise ExchangeError("This device has nothing to show who it is.")
    layout = Layout.of(_update(state))
    kept = {name: array for name, array in state.items() if name != PROOF}
    return {"keys": _public(state), "proof": state[PROOF], "layout": as_bytes(layout.text)}, kept


def shares(settings: Settings, state: Received, received: Received) -> Given:
    """Agrees with each peer on a secret, and gives it a share of its own two, sealed."""
    seed, layout = state[SEED].tobytes(), Layout.of(_update(state))
    roster = _roster(settings, received)
    me = roster.number_of(entry_of(state[OWN].tobytes(), _public(state), layout.text))
    peers = roster.peers[me]
    theirs, count = _Peers(roster, received, len(peers)), len(peers)
    own, secrets = Agreement(round_key(seed)[0]), np.zeros((count, KEY), np.uint8)
    for row, peer in enumerate(peers.tolist()):
        key = theirs.round_key(row, peer, layout.text, state)
        shared = own.with_public(key) if key is not None else None
        if shared is not None:
            pair = bound(roster.context, min(me, peer), max(me, peer))
            secrets[row] = as_bytes(derive(shared, "pair", pair))
    trusted = secrets.any(axis=1)
    _check_peers(settings, roster.members, int(trusted.sum()), "have shown keys that are theirs")
    sealed, tags = _dealt(settings, roster, me, seed, secrets, trusted)
    check = seed_check(roster.context, me, _own_mask(seed))
    sent: Arrays = {"sealed": sealed, "tags": tags, "check": as_bytes(check), "refused": _flags(~trusted)}
    kept = {name: array for name, array in state.items() if name != ROOT}
    kept |= {"roster/context": as_bytes(roster.context), "roster/place": np.array([me, roster.members])}
    return sent, kept | {"peers": peers, "peers/masks": theirs.keys[:, 1], "secrets": secrets}


def masked(settings: Settings, state: Received, received: Received) -> Given:
    """Opens what its peers have sealed for it, and sends its update under a mask with each of them and one of its
    own. From here on it no longer has the update, nor the secrets that make its masks."""
    seed, update = state[SEED].tobytes(), _update(state)
    me, members = state["roster/place"].tolist()
    context, peers = state["roster/context"].tobytes(), state["peers"]
    here = flags(received, "here", len(peers)) & state["secrets"].any(axis=1)
    held = _opened(context, me, state, received, here)
    known = held.any(axis=(1, 2))
    _check_peers(settings, members, int(known.sum()), "have sent this device shares that hold")
    layout = Layout.of(update)
    numbers, tail = layout.encode(update, settings.ring(members), Stream(derive(seed, "rounding", context)))
    add_mask((numbers, tail), derive(_own_mask(seed), "mask", context))
    own, masks = Agreement(_mask_key(seed)), state["peers/masks"]
    for row in np.flatnonzero(known).tolist():
        shared = own.with_public(masks[row].tobytes())
        if shared is None:
            raise ExchangeError("A peer's mask key is none, though its shares hold.")
        add_mask((numbers, tail), derive(shared, "mask", context), negative=me > int(peers[row]))
    sent: Arrays = {"numbers": numbers, "tail": tail, "refused": _flags(here & ~known)}
    names = ("roster/context", "roster/place", "peers", "secrets")
    return sent, {name: state[name] for name in names} | {"held": held, "known": _flags(known)}


def survivors(settings: Settings, state: Received, received: Received) -> Given:
    """Tells each of its peers which list of survivors it was shown."""
    me, members = state["roster/place"].tolist()
    listed = taken(received, "survivors", np.uint8, (members + 7) // 8)
    there, peers = np.unpackbits(listed, count=members) != 0, state["peers"]
    if not there[me]:
        raise ExchangeError("The aggregator says that this device is out.")
    settings.check_members(int(there.sum()), "are left in the sum")
    left = there[peers] & flags(state, "known", len(peers))
    _check_peers(settings, members, int(left.sum()), "are left")
    words = np.zeros((len(peers), TAG), np.uint8)
    for row in np.flatnonzero(left).tolist():
        words[row] = _word(state, row, me, listed)
    return {"words": words}, {**state, "survivors": listed}


def unmask(settings: Settings, state: Received, received: Received) -> Given:
    """Gives what it holds for its peers: a share of the own mask of who is left, and of the mask key of who is not.
    Never of both, because it has one list, and only if enough peers say that they have the same one."""
    members = int(state["roster/place"][1])
    peers, listed = state["peers"], state["survivors"]
    there = np.unpackbits(listed, count=members) != 0
    known, words = flags(state, "known", len(peers)), taken(received, "words", np.uint8, len(peers), TAG)
    agree = sum(
        hmac.compare_digest(words[row].tobytes(), _word(state, row, int(peers[row]), listed).tobytes())
        for row in np.flatnonzero(known & there[peers]).tolist()
    )
    _check_peers(settings, members, agree, "were shown the list of survivors that this device was shown")
    kind = np.where(there[peers], OWN_MASK, MASK_KEY)
    return {"shares": state["held"][np.arange(len(peers)), kind]}, {}


class _Peers:
    """What the aggregator says of a device's peers."""

    def __init__(self, roster: Roster, received: Received, count: int) -> None:
        self.keys: Bytes = taken(received, "keys", np.uint8, count, 2, KEY)
        self._names, self._proofs = unpacked(received, "names", count), unpacked(received, "proofs", count)
        self._roster = roster

    def round_key(self, row: int, peer: int, layout: bytes, state: Received) -> bytes | None:
        """A peer's public key; None if it is not the one of the list, or not shown to be its own."""
        name, both = self._names[row], self.keys[row]
        public = both[0].tobytes()
        if self._roster.entries[peer].tobytes() != entry_of(name, both, layout):
            raise ExchangeError("The aggregator's list and the keys that it hands out do not agree.")
        asked = state[ROOT].tobytes(), float(state[AT][0]), self._proofs[row], name.decode(errors="replace")
        return None if doubt(*asked, public) else public


def _update(state: Received) -> Update:
    return checked(Update.from_arrays(state))


def _mask_key(seed: bytes) -> bytes:
    return derive(seed, "mask key")


def _own_mask(seed: bytes) -> bytes:
    return derive(seed, "own mask")


def _public(state: Received) -> Bytes:
    """The two public keys, (2, 32): of the round, and of the masks."""
    seed = state[SEED].tobytes()
    return np.stack([as_bytes(round_key(seed)[1]), as_bytes(agreement.public_key(_mask_key(seed)))])


def _roster(settings: Settings, received: Received) -> Roster:
    entries = received.get("entries")
    if entries is None or entries.dtype != np.uint8 or entries.ndim != 2 or entries.shape[1] != ENTRY:
        raise ExchangeError("The aggregator sends no list of members.")
    settings.check_members(len(entries), "take part")
    settings.ring(len(entries))
    return Roster(settings, entries)


def _check_peers(settings: Settings, members: int, count: int, what: str) -> None:
    wanted = settings.needed(members)
    if count < wanted:
        raise ExchangeError(f"{count} of the device's {settings.peers(members)} peers {what}; {wanted} are needed.")


def _flags(array: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Bytes:
    return array.astype(np.uint8)


def _dealt(
    settings: Settings, roster: Roster, me: int, seed: bytes, secrets: Bytes, trusted: np.ndarray
) -> tuple[Bytes, Bytes]:
    """The shares of a device's two secrets, sealed for each peer, (k, SEALED), and their tags, (k, 2, 16)."""
    context, peers, wanted = roster.context, roster.peers[me], settings.needed(roster.members)
    rows = np.flatnonzero(trusted).tolist()
    points = [int(peers[row]) + 1 for row in rows]
    both = [
        split(secret, wanted, points, derive(seed, purpose, context))
        for secret, purpose in (
            (_own_mask(seed), "shares of the own mask"),
            (_mask_key(seed), "shares of the mask key"),
        )
    ]
    sealed, tags = np.zeros((len(peers), SEALED), np.uint8), np.zeros((len(peers), 2, TAG), np.uint8)
    for row, *pair in zip(rows, *both, strict=True):
        to = bound(context, me, int(peers[row]))
        key = derive(secrets[row].tobytes(), "shares", to)
        sealed[row] = as_bytes(agreement.seal(key, b"".join(pair), to))
        for kind, share in enumerate(pair):
            tags[row, kind] = as_bytes(tag_of(context, me, int(peers[row]), kind, share))
    return sealed, tags


def _opened(context: bytes, me: int, state: Received, received: Received, here: np.ndarray) -> Bytes:
    """The two shares from each peer, (k, 2, 33); zeros where there are none that hold."""
    peers, secrets = state["peers"].tolist(), state["secrets"]
    sealed = taken(received, "sealed", np.uint8, len(peers), SEALED)
    tags = taken(received, "tags", np.uint8, len(peers), 2, TAG)
    held = np.zeros((len(peers), 2, SHARE), np.uint8)
    for row in np.flatnonzero(here).tolist():
        to = bound(context, peers[row], me)
        text = agreement.unseal(derive(secrets[row].tobytes(), "shares", to), sealed[row].tobytes(), to)
        if text is None or len(text) != 2 * SHARE:
            continue
        pair = text[:SHARE], text[SHARE:]
        if all(tag_of(context, peers[row], me, kind, pair[kind]) == tags[row, kind].tobytes() for kind in (0, 1)):
            held[row] = as_bytes(text).reshape(2, SHARE)
    return held


def _word(state: Received, row: int, sender: int, listed: Bytes) -> Bytes:
    """What a device says to a peer of the list of survivors, (16,) bytes; only the two can say it."""
    context, receiver = state["roster/context"].tobytes(), state["roster/place"][0]
    other = int(state["peers"][row])
    to = other if sender != other else int(receiver)
    text = b"survivors" + bound(context, sender, to) + listed.tobytes()
    return as_bytes(hmac.digest(state["secrets"][row].tobytes(), text, "sha256")[:TAG])


STEPS: Mapping[str, Callable[[Settings, Received, Received], Given]] = {
    "keys": keys,
    "shares": shares,
    "masked": masked,
    "survivors": survivors,
    "unmask": unmask,
}
