"""What secure aggregation costs a client and the server, in processor time and in bytes.

``python -m benchmarks.secagg`` plays whole rounds of the exchange by hand, without nodes: every step of every client,
and the aggregator's half, with 0, 10 and 30 % of 100 clients, and 10 % of 1,000, gone before they send their masked
update. Time is that of this thread. A client's is the median over the first 50 that took all steps.

- ``client_over_cipher``: a client's seconds, over those of one pass of the cipher and one addition of the vector for
  each peer that it has a mask with. The largest over all settings. It has met its peers before: whose their lasting
  keys are, and what it has in common with them, is kept from round to round.
- ``first_over_cipher``: the same where it meets all of them (by a signature of the kind that simulations have; a
  node's certificates take longer).
- ``bytes_over_plain``: what a client sends, over its update as it is. The largest.
- ``server_seconds``: of all steps, the last one once.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection
from time import thread_time
from typing import Any

import numpy as np

from benchmarks.common import console, median, report
from fogline.aggregation import Arrays, Update
from fogline.compute.exchange import child_step, combined, parent_step, simulated_state
from fogline.exchanges.secagg import SecAgg
from fogline.privacy import identity
from fogline.privacy.agreement import derive, lasting
from fogline.privacy.masks import add_mask

SIZE = 200_000
EXAMPLES = 100.0
TIMED = 50


def update_of(i: int) -> Update:
    vector = 0.01 * np.random.default_rng(i).standard_normal(SIZE, np.float32)
    return Update({"delta": vector}, {"delta": EXAMPLES})


def nbytes(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())


def cipher_seconds(peers: int) -> float:
    """One pass of the cipher and one addition of the vector for each peer."""
    numbers, begun = np.zeros(SIZE, "<i4"), thread_time()
    for peer in range(peers):
        add_mask((numbers,), derive(bytes(32), "peer", peer.to_bytes(4, "big")))
    return thread_time() - begun


def play(exchange: SecAgg, clients: int, gone: Collection[str]) -> dict[str, float]:
    """A round: what it takes a client, the server, and whether its sum is right."""
    names = [f"client-{i}" for i in range(clients)]
    states = {name: simulated_state(exchange, update_of(i).to_arrays(), name, 0, name) for i, name in enumerate(names)}
    received: dict[str, Arrays] = {name: {} for name in names}
    seconds, up, down = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    first, meets = dict(seconds), dict(seconds)
    peers, cipher = exchange._settings.peers(clients), list[float]()  # type: ignore[reportPrivateUsage]
    masks = list[int]()
    timed = [name for name in names if name not in gone][:TIMED]
    server, state, last = 0.0, dict[str, Any](), len(exchange.steps) - 1
    for number, step in enumerate(exchange.steps):
        payloads: dict[str, Arrays] = {}
        for child in received:
            if step == "masked" and child in gone:
                continue
            if step == "shares" and child in timed:
                identity._stood_in.cache_clear()  # type: ignore[reportPrivateUsage]
                lasting.cache_clear()
                begun = thread_time()
                child_step(exchange, number, states[child], received[child])
                meets[child] = thread_time() - begun
            if step == "masked" and child in timed:  # By turns: a busy machine slows both.
                masks.append(int(np.count_nonzero(states[child]["masked"])))
                cipher.append(cipher_seconds(masks[-1]))
            begun = thread_time()
            payload, after = child_step(exchange, number, states[child], received[child])
            taken = thread_time() - begun
            seconds[child] += taken
            first[child] += meets[child] if step == "shares" and child in timed else taken
            payloads[child], states[child] = payload.arrays, after.arrays
            up[child] += nbytes(payload.arrays)
        begun = thread_time()
        if number == last:
            done = combined(exchange, state, payloads)
        else:
            replies, told = parent_step(exchange, number, state, payloads)
            received, state = {child: reply.arrays for child, reply in replies.items()}, told.arrays
        server += thread_time() - begun
        down |= {child: down[child] + nbytes(received[child]) for child in received if number < last}
        console.print(f"{clients} clients, {len(gone)} gone: {step}")
    inside = [i for i, name in enumerate(names) if name not in gone]
    wanted = np.mean([update_of(i).vectors["delta"] for i in inside], axis=0)
    assert isinstance(done.result, Update)
    error = float(np.abs(done.result.vectors["delta"] - wanted).max())
    if error > 1e-5:
        raise AssertionError(f"The sum is off by {error}.")
    client, meeting = median(seconds[name] for name in timed), median(first[name] for name in timed)
    return {
        "peers": peers,
        "masks": median(masks),
        "cipher_seconds": median(cipher),
        "client_seconds": client,
        "first_seconds": meeting,
        "client_over_cipher": client / median(cipher),
        "first_over_cipher": meeting / median(cipher),
        "server_seconds": server,
        "bytes_up": median(up[name] for name in timed),
        "bytes_down": median(down[name] for name in timed),
        "largest_error": error,
    }


def measured(clients: int, share: float) -> dict[str, float]:
    # A sparse graph for rounds in which three in ten are gone needs a threshold that lets them.
    exchange = SecAgg(threshold=0.5 if clients > 100 else 0.6, weight=EXAMPLES, clip=1.0)
    rng = np.random.default_rng(0)
    gone = {f"client-{i}" for i in rng.choice(clients, round(share * clients), replace=False).tolist()}
    played = play(exchange, clients, gone)
    plain = 4 * SIZE
    return {
        "clients": clients,
        "gone": share,
        **played,
        "bytes_over_plain": played["bytes_up"] / plain,
        "both_ways_over_plain": (played["bytes_up"] + played["bytes_down"]) / plain,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="100 clients only; the result is not saved")
    quick = parser.parse_args().quick
    settings = [(100, 0.0), (100, 0.1), (100, 0.3)] + ([] if quick else [(1000, 0.1)])
    rows = [measured(clients, share) for clients, share in settings]
    result: dict[str, Any] = {
        "parameters": SIZE,
        "client_over_cipher": max(row["client_over_cipher"] for row in rows),
        "first_over_cipher": max(row["first_over_cipher"] for row in rows),
        "bytes_over_plain": max(row["bytes_over_plain"] for row in rows),
        "rows": rows,
    }
    report("secagg", result, keep=not quick)


if __name__ == "__main__":
    main()
