"""What it takes to bring 20 rounds' models to nodes, and what accuracy arrives.

    python -m benchmarks.delivery [--quick]

`codecs`: an MLP of 50,890 weights (784-64-10) is trained on non-IID MNIST, and every round's model is released in full
and as deltas; see `benchmarks/delivery/codecs.py` for what is counted.
`links`: the last of the same models through a real tree, with one device and with 20 below its fog, in full and with
each codec, and every byte on its links; see `benchmarks/delivery/links.py`.
"""

import argparse
from typing import Any

from benchmarks.common import report
from benchmarks.delivery import codecs, links

ROUNDS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="6 rounds instead of 20; the result is not saved")
    quick = parser.parse_args().quick
    # Each part is a file of this folder and a key of the result.
    result: dict[str, Any] = {
        "codecs": codecs.measure(6 if quick else ROUNDS),
        "links": links.measure(),
    }
    report("delivery", result | {"quick": quick}, keep=not quick)


if __name__ == "__main__":
    main()
