"""Flower's SecAgg+, in an environment of its own: ``python run_flower.py '{"peers": 99, ...}'``.

Its own functions do the work, without its network: those of the client's modifier for one client in all four stages,
whose peers' keys and sealed shares are made beside (untimed), and those that its server calls once for each client and
each mask. A server's seconds are these times how often the workflow calls them. Seconds are the process's, as shares
are made by several threads.

The last line of its output is one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from time import process_time
from typing import Any

import numpy as np
from flwr.common import ndarrays_to_parameters
from flwr.common.secure_aggregation.crypto import shamir, symmetric_encryption
from flwr.common.secure_aggregation.ndarrays_arithmetic import parameters_addition, parameters_subtraction
from flwr.common.secure_aggregation.secaggplus_constants import Key
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen, share_keys_plaintext_concat
from flwr.supercore.primitives import asymmetric

mod = import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")  # Its package gives a function of that name.

EXAMPLES, MAX_WEIGHT, RANGE, MODULUS = 100, 100.0, 1 << 22, 1 << 32


def timed(call: Any) -> tuple[float, Any]:
    begun = process_time()
    made = call()
    return process_time() - begun, made


def client(peers: int, needed: int, gone: int, size: int) -> dict[str, Any]:
    """One client's stages, of whose peers so many go missing before they send their vectors."""
    state = mod.SecAggPlusState()
    state.nid = 0
    setup = {
        Key.SAMPLE_NUMBER: peers + 1, Key.SHARE_NUMBER: peers + 1, Key.THRESHOLD: needed, Key.CLIPPING_RANGE: 1.0,
        Key.TARGET_RANGE: RANGE, Key.MOD_RANGE: MODULUS, Key.MAX_WEIGHT: MAX_WEIGHT,
    }  # fmt: skip
    setting_up, own = timed(lambda: mod._setup(state, setup))
    pairs = {nid: asymmetric.generate_key_pairs() for nid in range(1, peers + 1)}
    public = asymmetric.public_key_to_bytes(pairs[1][1])
    keys: dict[str, Any] = {
        str(nid): [asymmetric.public_key_to_bytes(asymmetric.generate_key_pairs()[1]),
                   asymmetric.public_key_to_bytes(pair[1])]
        for nid, pair in pairs.items()
    }  # fmt: skip
    keys["0"] = [own[Key.PUBLIC_KEY_1], own[Key.PUBLIC_KEY_2]]
    sharing, sealed = timed(lambda: mod._share_keys(state, keys))
    shares = state.rd_seed_share_dict[0], state.sk1_share_dict[0]  # As long as those of a peer.
    texts: list[bytes] = []
    for nid in pairs:
        shared = state.ss2_dict[nid]
        texts.append(symmetric_encryption.encrypt(shared, share_keys_plaintext_concat(nid, 0, *shares)))
    vector = 0.01 * np.random.default_rng(0).standard_normal(size, np.float32)
    parameters = ndarrays_to_parameters([vector])
    masking, masked = timed(
        lambda: mod._collect_masked_vectors(
            state, {Key.CIPHERTEXT_LIST: texts, Key.SOURCE_LIST: list(pairs)}, EXAMPLES, parameters
        )
    )
    alive = {
        Key.ACTIVE_NODE_ID_LIST: list(range(peers + 1 - gone)),
        Key.DEAD_NODE_ID_LIST: list(range(peers + 1 - gone, peers + 1)),
    }
    unmasking, given = timed(lambda: mod._unmask(state, alive))
    sent = [*own.values(), *sealed[Key.CIPHERTEXT_LIST], *masked[Key.MASKED_PARAMETERS], *given[Key.SHARE_LIST]]
    return {
        "client_seconds": setting_up + sharing + masking + unmasking,
        "steps": {"setup": setting_up, "share keys": sharing, "collect masked vectors": masking, "unmask": unmasking},
        "bytes_up": sum(map(len, sent)),
        "bytes_down": sum(len(part) for pair in keys.values() for part in pair) + sum(map(len, texts)),
        "key_bytes": len(public),
    }


def server(clients: int, peers: int, needed: int, gone: int, size: int) -> dict[str, float]:
    """What it takes to add up and to take the masks off."""
    vector = [np.ones(1, np.int64), np.ones(size, np.int64)]
    shapes = [part.shape for part in vector]
    adding, _ = timed(lambda: parameters_addition(vector, vector))
    shares = shamir.create_shares(os.urandom(32), needed, peers + 1)[
        : max(needed, round((peers + 1) * (1 - gone / clients)))
    ]
    combining, _ = timed(lambda: shamir.combine_shares(shares))
    one = asymmetric.generate_key_pairs()[0]
    other = asymmetric.generate_key_pairs()[1]
    agreeing, shared = timed(lambda: symmetric_encryption.generate_shared_key(one, other))
    masking, _ = timed(lambda: parameters_subtraction(vector, pseudo_rand_gen(shared, MODULUS, shapes)))
    here = clients - gone
    whole = here * (adding + combining + masking) + gone * (combining + peers * (agreeing + masking))
    return {"server_seconds": whole, "combine_seconds": combining, "mask_seconds": masking}


def main() -> None:
    given = json.loads(sys.argv[1])
    clients, peers, needed, gone, size = (given[name] for name in ("clients", "peers", "needed", "gone", "size"))
    made = client(peers, needed, round(gone * peers / clients), size)
    print(json.dumps(made | server(clients, peers, needed, gone, size)))


if __name__ == "__main__":
    main()
