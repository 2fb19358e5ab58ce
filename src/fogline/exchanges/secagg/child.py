"""A device's half of secure aggregation."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import TypeAlias

import msgspec
import numpy as np

from fogline.aggregation import Arrays, Update
from fogline.exchanges.base import OWN, PROOF, SECRET, SEED, TRUST, ExchangeError, Received
from fogline.exchanges.secagg.codes import code_of
from fogline.exchanges.secagg.layout import Layout, checked
from fogline.exchanges.secagg.packing import Bytes, as_bytes, as_rows, flags, taken, unpacked
from fogline.exchanges.secagg.roster import (
    ENTRY,
    MASK_KEY,
    OWN_MASK,
    TAG,
    KeyRoster,
    bound,
    entry_of,
    mask_stream,
    own_mask_stream,
    seed_check,
    tag_of,
)
from fogline.exchanges.secagg.settings import SecAggSettings
from fogline.privacy.agreement import KEY, SEAL, Agreement, derive, lasting, public_key, seal, unseal
from fogline.privacy.graph import Flags, Peers, drawn
from fogline.privacy.identity import Trust
from fogline.privacy.masks import add_masks
from fogline.privacy.sharing import SHARE, split

SEALED = 2 * SHARE + SEAL
"""Bytes of two shares on their way to a peer."""
JOINED = ("peers", "mine", "theirs", "masked", "wanted")
"""What a device keeps of its peers."""
Given: TypeAlias = tuple[Arrays, Arrays]


def keys(settings: SecAggSettings, state: Received, received: Received) -> Given:
    """Shows its lasting key, with the proof of whose it is, a fresh one, and how its update is laid out."""
    if PROOF not in state:
        raise ExchangeError("This device has nothing to show who it is.")
    layout = Layout.of(checked(_update(state), settings))
    public = _public(state)
    kept = {name: array for name, array in state.items() if name != PROOF} | {"public": public}
    return {"keys": public, "proof": state[PROOF], "layout": as_bytes(layout.text)}, kept


def peers(settings: SecAggSettings, state: Received, received: Received) -> Given:
    """Draws the peers that it gives shares to, now that the list of members stands."""
    layout, roster = Layout.of(_update(state)), _roster(settings, received)
    code_of(settings, layout, roster.members)
    me = roster.number_of(entry_of(state[OWN].tobytes(), state["public"], layout.text))
    key = derive(state[SEED].tobytes(), "peers", roster.context)
    mine = drawn(key, roster.members, settings.peers(roster.members), me)
    kept = {"roster/context": as_bytes(roster.context), "roster/place": np.array([me, roster.members])}
    return {"drawn": mine.astype("<i4")}, {**state, **kept, "entries": roster.entries, "drawn": mine}


def shares(settings: SecAggSettings, state: Received, received: Received) -> Given:
    """Agrees with each peer on secrets, and gives those that it has drawn a share of its own two, sealed."""
    me, members = state["roster/place"].tolist()
    context, seed = state["roster/context"].tobytes(), state[SEED].tobytes()
    joined = _joined(settings, members, me, state["drawn"], received)
    pairs, masks = _agreed(context, me, joined, state, received)
    trusted = _filled(pairs)
    _check_peers(settings, members, joined, trusted, "have shown keys that are theirs")
    mine = flags(joined, "mine", len(trusted))
    peers, wanted = joined["peers"][mine], settings.needed(members)
    sealed, tags = _dealt(context, wanted, me, peers, seed, pairs[mine], trusted[mine])
    check = seed_check(context, me, _own_mask(seed))
    sent: Arrays = {"sealed": sealed, "tags": tags, "check": as_bytes(check), "refused": _flags(~trusted)}
    kept = {name: array for name, array in state.items() if name not in (SECRET, TRUST, "public", "entries", "drawn")}
    return sent, {**kept, **joined, "pairs": pairs, "masks": masks}


def masked(settings: SecAggSettings, state: Received, received: Received) -> Given:
    """Opens what its peers have sealed for it, and sends its update under a mask with each of them and one of its
    own. From here on it no longer has the update, nor the secrets that make its masks."""
    seed, update = state[SEED].tobytes(), _update(state)
    me, members = state["roster/place"].tolist()
    context, peers = state["roster/context"].tobytes(), state["peers"]
    here = flags(received, "here", len(peers)) & _filled(state["pairs"])
    held, known = _opened(context, me, state, received, here)
    _check_peers(settings, members, state, known, "have sent this device shares that hold")
    numbers, tail = code_of(settings, Layout.of(update), members, context).encode(update, seed)
    masks = [(own_mask_stream(_own_mask(seed), context), False)]
    for row in np.flatnonzero(known & flags(state, "masked", len(peers))).tolist():
        masks.append((state["masks"][row].tobytes(), me > int(peers[row])))
    add_masks((numbers, tail), masks)
    sent: Arrays = {"numbers": numbers, "tail": tail, "refused": _flags(here & ~known)}
    names = ("roster/context", "roster/place", "pairs", *JOINED)
    return sent, {name: state[name] for name in names} | {"held": held, "known": _flags(known)}


def survivors(settings: SecAggSettings, state: Received, received: Received) -> Given:
    """Tells each of its peers which list of survivors it was shown."""
    me, members = state["roster/place"].tolist()
    listed = taken(received, "survivors", np.uint8, (members + 7) // 8)
    there, peers = np.unpackbits(listed, count=members) != 0, state["peers"]
    if not there[me]:
        raise ExchangeError("The aggregator says that this device is out.")
    settings.check_left(int(there.sum()), members, "are left in the sum")
    left = there[peers] & flags(state, "known", len(peers))
    _check_peers(settings, members, state, left, "are left")
    words = np.zeros((len(peers), TAG), np.uint8)
    for row in np.flatnonzero(left).tolist():
        words[row] = as_bytes(_word(state, row, me, int(peers[row]), listed))
    return {"words": words}, {**state, "survivors": listed}


def unmask(settings: SecAggSettings, state: Received, received: Received) -> Given:
    """Gives what it holds for its peers: a share of the own mask of who is left, and of the mask key of who is not.
    Never of both, because it has one list, and only if enough peers say that they have the same one."""
    me, members = state["roster/place"].tolist()
    peers, listed = state["peers"], state["survivors"]
    there = np.unpackbits(listed, count=members) != 0
    known, words = flags(state, "known", len(peers)), taken(received, "words", np.uint8, len(peers), TAG)
    agree = np.zeros(len(peers), np.bool_)
    for row in np.flatnonzero(known & there[peers]).tolist():
        agree[row] = hmac.compare_digest(words[row].tobytes(), _word(state, row, int(peers[row]), me, listed))
    what = "were shown the list of survivors that this device was shown"
    _check_peers(settings, members, state, agree, what)
    held, dealers = state["held"], peers[flags(state, "theirs", len(peers))]
    kind = np.where(there[dealers], OWN_MASK, MASK_KEY)
    return {"shares": held[np.arange(len(dealers)), kind]}, {}


def _update(state: Received) -> Update:
    return Update.from_arrays(state)


def _mask_key(seed: bytes) -> bytes:
    return derive(seed, "mask key")


def _own_mask(seed: bytes) -> bytes:
    return derive(seed, "own mask")


def _public(state: Received) -> Bytes:
    """The two public keys, (2, 32): the lasting one, and the one of the masks."""
    privates = state[SECRET].tobytes(), _mask_key(state[SEED].tobytes())
    return np.stack([as_bytes(public_key(private)) for private in privates])


def _roster(settings: SecAggSettings, received: Received) -> KeyRoster:
    entries = received.get("entries")
    if entries is None or entries.dtype != np.uint8 or entries.ndim != 2 or entries.shape[1] != ENTRY:
        raise ExchangeError("The aggregator sends no list of members.")
    settings.check_members(len(entries), "take part")
    return KeyRoster(settings, entries)


def _joined(settings: SecAggSettings, members: int, me: int, drawn: Peers, received: Received) -> Arrays:
    """A device's peers, (k,), in rising order: those that it has drawn and that have drawn it, which of them give it
    shares, and with which it has a mask.

    Raises:
        ExchangeError: the aggregator names none, or leaves masks out.
    """
    peers = received.get("peers")
    right = peers is not None and peers.dtype == np.int64 and peers.ndim == 1 and len(peers)
    if peers is None or not right or peers[0] < 0 or peers[-1] >= members or (np.diff(peers) < 1).any() or me in peers:
        raise ExchangeError("The aggregator names no peers.")
    theirs, masked = flags(received, "deals", len(peers)), flags(received, "masked", len(peers))
    wanted = np.isin(peers, drawn[: settings.masked(members)])
    if (wanted & ~masked).any():
        raise ExchangeError("The aggregator leaves out masks with peers that this device has drawn.")
    chosen = {"mine": np.isin(peers, drawn), "theirs": theirs, "masked": masked, "wanted": wanted}
    return {"peers": peers} | {name: _flags(array) for name, array in chosen.items()}


def _check_peers(settings: SecAggSettings, members: int, joined: Received, there: Flags, what: str) -> None:
    """Only those count that the device has drawn itself: nobody else decides who they are."""
    for name, of, wanted in (
        ("mine", settings.peers(members), settings.needed(members)),
        ("wanted", settings.masked(members), settings.needed_masks(members)),
    ):
        count = int((flags(joined, name, len(there)) & there).sum())
        if count < wanted:
            raise ExchangeError(f"{count} of the device's {of} peers {what}; {wanted} are needed.")


def _filled(array: Bytes) -> Flags:
    """Which rows are not all zeros."""
    return array.reshape(len(array), -1).max(axis=1) != 0


def _flags(array: Flags) -> Bytes:
    return array.astype(np.uint8)


def _agreed(context: bytes, me: int, joined: Received, state: Received, received: Received) -> tuple[Bytes, Bytes]:
    """What a device has with each peer: keys to seal texts and to vouch for words, (k, 64), and the key of their mask,
    (k, 32). Zeros where a peer's key is none, or is not shown to be its own.

    A mask's key comes from the fresh keys alone, so that the aggregator can find it with the secret of a device that
    is gone. The others come from the lasting keys as well: nobody but the two ever finds them, and who is not who it
    says that it is does not either.
    """
    peers, layout = joined["peers"].tolist(), Layout.of(_update(state)).text
    keys = taken(received, "keys", np.uint8, len(peers), 2, KEY)
    names, proofs = unpacked(received, "names", len(peers)), unpacked(received, "proofs", len(peers))
    trust = msgspec.msgpack.decode(state[TRUST].tobytes(), type=Trust)
    secret, fresh = state[SECRET].tobytes(), Agreement(_mask_key(state[SEED].tobytes()))
    pairs, masks = [bytes(2 * KEY)] * len(peers), [bytes(KEY)] * len(peers)
    for row, peer in enumerate(peers):
        if state["entries"][peer].tobytes() != entry_of(names[row], keys[row], layout):
            raise ExchangeError("The aggregator's list and the keys that it hands out do not agree.")
        public = keys[row, 0].tobytes()
        if trust.doubt(proofs[row], names[row].decode(errors="replace"), public):
            continue
        long, short = lasting(secret, public), fresh.with_public(keys[row, 1].tobytes())
        if long is not None and short is not None:
            both = bound(context, min(me, peer), max(me, peer))
            pairs[row] = derive(long + short, "pair", both, length=2 * KEY)
            masks[row] = mask_stream(short, context)
    return as_rows(pairs, 2 * KEY), as_rows(masks, KEY)


def _dealt(
    context: bytes, wanted: int, me: int, peers: Peers, seed: bytes, pairs: Bytes, trusted: Flags
) -> tuple[Bytes, Bytes]:
    """The shares of a device's two secrets, sealed for each peer, (k, SEALED), and their tags, (k, 2, 16)."""
    rows = np.flatnonzero(trusted)
    secrets = ((_own_mask(seed), "shares of the own mask"), (_mask_key(seed), "shares of the mask key"))
    points = (peers[rows] + 1).tolist()
    both = [split(secret, wanted, points, derive(seed, purpose, context)) for secret, purpose in secrets]
    sealed, tags = [bytes(SEALED)] * len(peers), [bytes(2 * TAG)] * len(peers)
    for row, *pair in zip(rows.tolist(), *both, strict=True):
        peer, text = int(peers[row]), b"".join([share.tobytes() for share in pair])
        sealed[row] = seal(pairs[row, :KEY].tobytes(), text, bound(context, me, peer), int(me > peer))
        tags[row] = _tagged(context, me, peer, text)
    return as_rows(sealed, SEALED), as_rows(tags, 2, TAG)


def _opened(context: bytes, me: int, state: Received, received: Received, here: Flags) -> tuple[Bytes, Flags]:
    """The two shares from each peer that gives some, (k, 2, SHARE), zeros where they do not hold; and which peers are
    here without such a fault."""
    rows = np.flatnonzero(flags(state, "theirs", len(here))).tolist()
    sealed = taken(received, "sealed", np.uint8, len(rows), SEALED)
    tags = taken(received, "tags", np.uint8, len(rows), 2, TAG)
    held, known = [bytes(2 * SHARE)] * len(rows), here.copy()
    for place, row in enumerate(rows):
        if not here[row]:
            continue
        peer, key = int(state["peers"][row]), state["pairs"][row, :KEY].tobytes()
        text = unseal(key, sealed[place].tobytes(), bound(context, peer, me), int(peer > me))
        known[row] = text is not None and _tagged(context, peer, me, text) == tags[place].tobytes()
        if text is not None and known[row]:
            held[place] = text
    return as_rows(held, 2, SHARE), known


def _tagged(context: bytes, dealer: int, holder: int, text: bytes) -> bytes:
    """The tags of two shares; none where there are not two."""
    if len(text) != 2 * SHARE:
        return b""
    shares = (text[kind * SHARE :][:SHARE] for kind in (OWN_MASK, MASK_KEY))
    return b"".join(tag_of(context, dealer, holder, kind, share) for kind, share in enumerate(shares))


def _word(state: Received, row: int, sender: int, receiver: int, listed: Bytes) -> bytes:
    """What a device says to a peer of the list of survivors, (16,) bytes; only the two can say it."""
    said = bound(state["roster/context"].tobytes(), sender, receiver) + listed.tobytes()
    return hmac.digest(state["pairs"][row, KEY:].tobytes(), said, "sha256")[:TAG]


STEPS: Mapping[str, Callable[[SecAggSettings, Received, Received], Given]] = {
    "keys": keys,
    "peers": peers,
    "shares": shares,
    "masked": masked,
    "survivors": survivors,
    "unmask": unmask,
}
