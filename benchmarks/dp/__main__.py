"""Differential privacy: how well models learn under it, how sharp its accountants are, and what it costs to train.

    python -m benchmarks.dp [--quick] [--only accuracy accountant engines]

Each part is a file of this folder. `--quick` only shows that everything
works: its figures mean nothing and are not kept. The last line is JSON.
"""

import argparse
from collections.abc import Callable
from typing import Any

from benchmarks.common import console, report
from benchmarks.dp.accountant import accountant
from benchmarks.dp.accuracy import accuracy
from benchmarks.dp.engines import engines

PARTS: dict[str, Callable[[bool], dict[str, Any]]] = {
    "accuracy": accuracy,
    "accountant": accountant,
    "engines": engines,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a little of everything, to see that it works")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run, in this order")
    options = parser.parse_args()
    result: dict[str, Any] = {"quick": options.quick}
    for part in options.only:
        console.rule(part)
        result |= PARTS[part](options.quick)
    report("dp", result, keep=not options.quick and set(options.only) == set(PARTS))


if __name__ == "__main__":
    main()
