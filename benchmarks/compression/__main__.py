"""What codes on links cost in processor time, and what they lose.

    python -m benchmarks.compression --speed [--numbers N] [--rounds R]

``--speed``: for every code there is, with its defaults and some other settings, a vector of float32 is sent and
received in one thread. Of each, in the JSON line:

- ``encode``, ``decode``: GB of float32 a second of processor time, the median of the rounds (without feedback, which
  decodes what it has encoded, and adds twice);
- ``bits``: of a number, header and all; ``zstd_bits``: after the compression that the network tries on each chunk;
- ``lost``: the square of the error's norm over that of the vector's, normal numbers of unequal scales.

``slowest_simple``: the slowest encoding of those that do not turn the vector.
"""

from __future__ import annotations

import argparse

from benchmarks.common import report
from benchmarks.compression.speed import measured
from fogline.stages import make
from fogline.stages.rotated_code import RotatedCode


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compression")
    parser.add_argument("--speed", action="store_true", required=True, help="processor time of every code")
    parser.add_argument("--numbers", type=int, default=1 << 22, help="in the vector")
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    codes = measured(asked.numbers, asked.rounds)
    simple = [code["encode"] for text, code in codes.items() if not isinstance(make(text), RotatedCode)]
    report("compression-speed", {"numbers": asked.numbers, "slowest_simple": min(simple), "codes": codes})


if __name__ == "__main__":
    main()
