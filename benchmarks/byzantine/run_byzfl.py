"""ByzFL's rules on the numbers in a file; runs in an environment that has ByzFL, and knows nothing of Fogline.

    python run_byzfl.py TABLE.npy RESULT.npy

A line of input is JSON: ``calls``, classes of ByzFL's with their parameters, and ``kind``, torch or numpy. They work on
the numbers one after the other; what comes of it is written to the file, and the seconds are printed.
"""

import importlib
import importlib.util
import json
import sys
from time import process_time
from typing import Any

import numpy as np
import torch


def byzfl_rules() -> Any:
    """The module of ByzFL's rules. The package's own face, which wants torchvision and plots, stays unopened.

    Raises:
        ModuleNotFoundError: ByzFL is not installed.
    """
    found = importlib.util.find_spec("byzfl")
    if found is None:
        raise ModuleNotFoundError("There is no byzfl here; install it with pip install --no-deps byzfl.")
    sys.modules.setdefault("byzfl", importlib.util.module_from_spec(found))
    return importlib.import_module("byzfl.aggregators")


def main() -> None:
    rules, table = byzfl_rules(), np.load(sys.argv[1])
    for line in sys.stdin:
        asked = json.loads(line)
        made = [getattr(rules, name)(**parameters) for name, parameters in asked["calls"]]
        vectors: Any = table.copy()  # Clipping writes into it.
        if asked["kind"] == "torch":
            vectors = torch.from_numpy(vectors)
        begun = process_time()
        for rule in made:
            vectors = rule(vectors)
        seconds = process_time() - begun
        np.save(sys.argv[2], np.asarray(vectors, np.float32))
        print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
