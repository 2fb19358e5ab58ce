"""ByzFL's rules on the numbers in a file; runs in an environment that has ByzFL, and knows nothing of Fogline.

    python run_byzfl.py TABLE.npy RESULT.npy

A line of input is JSON: ``calls``, classes of ByzFL's with their parameters, and ``kind``, torch or numpy. They work on
the numbers one after the other; what comes of it is written to the file, and the seconds are printed.
"""

import json
import sys
from time import perf_counter

import byzfl
import numpy as np
import torch


def main() -> None:
    table = np.load(sys.argv[1])
    for line in sys.stdin:
        asked = json.loads(line)
        made = [getattr(byzfl, name)(**parameters) for name, parameters in asked["calls"]]
        vectors = table.copy()  # Clipping writes into it.
        if asked["kind"] == "torch":
            vectors = torch.from_numpy(vectors)
        begun = perf_counter()
        for rule in made:
            vectors = rule(vectors)
        seconds = perf_counter() - begun
        np.save(sys.argv[2], np.asarray(vectors, np.float32))
        print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
