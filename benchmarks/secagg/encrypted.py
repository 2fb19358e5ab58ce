"""Homomorphic encryption with TenSEAL: our exchange ``ckks``."""

from __future__ import annotations

from collections.abc import Collection
from time import thread_time
from typing import Any

import numpy as np

from benchmarks.common import median
from benchmarks.secagg.rounds import EXAMPLES, Played, again, play
from fogline.exchanges.ckks import Ckks
from fogline.exchanges.ckks.child import SUM
from fogline.exchanges.ckks.group import CipherGroup
from fogline.privacy.ckks import ROW, SLOTS, CkksSum

SAMPLE = 8
"""Ciphertexts that are opened to know what one takes."""


def small_round(clients: int, gone: Collection[int], size: int) -> Played:
    """One that is played in full."""
    return play(Ckks(weight=EXAMPLES, clip=1.0), clients, gone, size, leave="encrypt")


def costs(played: Played, size: int) -> dict[str, Any]:
    """Of a client and of the server, for updates of that size.

    The steps ``encrypt`` and ``open`` are taken again by some of the clients with updates of that size; the server adds
    one client's ciphertexts, times the clients.
    """
    here = played.clients - played.gone
    encrypting, sent = again(played, "encrypt", size)
    rows = sent["rows"]
    opening = len(rows) * played.exchange.readers / here  # type: ignore[attr-defined]
    client = played.seconds("encrypt", "open") + encrypting + opening * _opening(played, rows)
    up = played.bytes_up("encrypt", "open") + rows.nbytes + opening * SLOTS * 4
    return {
        "sampled": True,
        "client_seconds": client,
        "server_seconds": sum(played.server.values()) + here * _adding(rows),
        "bytes_up": up,
        "bytes_down": played.bytes_down("open") + opening * ROW,
        "bytes_over_plain": up / (4 * size),
        "steps": {step: median(times) for step, times in played.client.items()} | {"encrypt": encrypting},
        "largest_error": played.error,
    }


def _opening(played: Played, rows: np.ndarray) -> float:
    """Seconds for one ciphertext of a sum."""
    state, _ = next(iter(played.before["open"].values()))
    group = CipherGroup(*(state[f"group/{name}"].tobytes() for name in ("context", "secret", "key")))
    members = np.flatnonzero(np.unpackbits(state["survivors"], count=played.clients)).tolist()
    some, begun = rows[:SAMPLE], thread_time()
    group.opened(some, range(len(some)), SUM, members)
    return (thread_time() - begun) / len(some)


def _adding(rows: np.ndarray) -> float:
    """Seconds for the ciphertexts of one client."""
    total = CkksSum(len(rows))
    total.add(rows)
    begun = thread_time()
    total.add(rows)
    return thread_time() - begun
