"""Our secure aggregation, and a plain sum."""

from __future__ import annotations

import math
from collections.abc import Collection
from time import thread_time
from typing import Any

import numpy as np

from benchmarks.common import median
from benchmarks.secagg.rounds import EXAMPLES, Played, again, play, update_of
from fogline.aggregation.rules import make_rule
from fogline.exchanges.secagg import SecAgg
from fogline.privacy.agreement import derive
from fogline.privacy.masks import add_masks

TURNS = 3


def exchange_for(clients: int) -> SecAgg:
    """A sparse graph for rounds in which three in ten are gone needs a threshold that lets them."""
    return SecAgg(threshold=0.5 if clients > 100 else 0.6, weight=EXAMPLES, clip=1.0)


def masks_of(played: Played) -> int:
    """Masks that a client has with others."""
    counts: list[int] = []
    for state, _ in played.before["masked"].values():
        with_mask = state["masks"].any(axis=1)
        counts.append(int((with_mask & (state["masked"] != 0) if "masked" in state else with_mask).sum()))
    return round(median(counts))


def small_round(clients: int, gone: Collection[int], size: int) -> Played:
    """One that is played in full."""
    return play(exchange_for(clients), clients, gone, size, leave="masked")


def masks_seconds(size: int, count: int) -> float:
    """So many passes of the cipher, and as many additions of the vector."""
    numbers, begun = np.zeros(size, "<i4"), thread_time()
    add_masks((numbers,), [(derive(bytes(32), "mask", mask.to_bytes(4, "big")), False) for mask in range(count)])
    return thread_time() - begun


def costs(played: Played, size: int) -> dict[str, Any]:
    """Of a client and of the server, for updates of that size.

    Where the round was played with smaller ones, the step that has the update in it is taken again with a larger one,
    by the same clients, and to the server's seconds come what so many additions and masks of that size take.
    """
    peers = masks_of(played)
    here = played.clients - played.gone
    if size == played.size:
        # By turns with the cipher: a busy machine slows both.
        pairs = [(again(played, "masked", size), masks_seconds(size, peers)) for _ in range(TURNS)]
        sampled, server = False, sum(played.server.values())
    else:
        pairs = [
            (again(played, "masked", size), masks_seconds(size, peers)) for _ in range(TURNS if size < 10**6 else 2)
        ]
        one, more = masks_seconds(size, 8) / 8, here + played.gone * peers * here / played.clients
        added = add_seconds(size)
        sampled, server = True, sum(played.server.values()) + here * added + more * one
    masked, sent = median(mine for (mine, _), _ in pairs), pairs[0][0][1]
    rest, cipher = played.seconds("masked"), median(other for _, other in pairs)
    up = played.bytes_up("masked") + sum(array.nbytes for array in sent.values())
    client = rest + masked
    return {
        "peers": peers,
        "sampled": sampled,
        "client_seconds": client,
        "first_seconds": client + median(played.meeting) - median(played.client["shares"]),
        "cipher_seconds": cipher,
        "client_over_cipher": client / cipher,
        "server_seconds": server,
        "bytes_up": up,
        "bytes_down": played.bytes_down(),
        "bytes_over_plain": up / (4 * size),
        "steps": {step: median(times) for step, times in played.client.items()} | {"masked": masked},
        "largest_error": played.error,
    }


def add_seconds(size: int) -> float:
    """One addition of a vector in the ring."""
    total, vector, begun = np.zeros(size, np.int32), np.ones(size, np.int32), thread_time()
    for _ in range(10):
        np.add(total, vector, out=total)
    return (thread_time() - begun) / 10


def plain(clients: int, size: int) -> dict[str, Any]:
    """A weighted mean of updates that the server reads; of many, some stand for all."""
    count = min(clients, math.ceil(2 * 10**7 / size))
    updates = [update_of(i, size) for i in range(count)]
    begun = thread_time()
    fold = make_rule("mean").fold()
    for update in updates:
        fold.add(update)
    fold.finish()
    return {"server_seconds": (thread_time() - begun) * clients / count, "bytes_up": 4 * size}
