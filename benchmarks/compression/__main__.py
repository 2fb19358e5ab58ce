"""What codes on links spare, what they cost in processor time, and what they lose.

    python -m benchmarks.compression [--quick] [--seeds N] [--cases NAME ...] [--settings TEXT ...]
    python -m benchmarks.compression --openfl [--seeds N] [--cases NAME ...]
    python -m benchmarks.compression --speed [--numbers N] [--rounds R]
    python -m benchmarks.compression --packing [--cases NAME ...]

The first: the 2NN on mnist and a CNN on fashion_mnist (ten devices of 200 images, Dirichlet(0.3) by class), and a CNN
on uci_har by subject (ten of 21 in a round), with float32 for so many rounds; and with every setting until half a point
of float32's best accuracy is lost, in three times the rounds at most. Ten steps a round in batches of 20; judged every
second round; the accuracy is that of the best round so far, between judgements as if it grew evenly. ``--cases`` and
``--settings`` take some of them. Of each case, in the JSON line, the median of ``float32``'s best accuracy in per cent;
and of each setting (``codes``), the medians over the seeds:

- ``near``, ``far``: times fewer bytes up than float32 takes to its best accuracy less 0.5 points, and less 2 points; 0
  where the code does not get there;
- ``near_total``, ``far_total``: the same of the bytes of both directions;
- ``points``: that the code's best accuracy is above float32's (a run ends at the nearer target);
- ``rounds``: times the rounds that float32 takes to its best accuracy less 0.5 points; 0 where it does not get there.

``uplink_saving``, ``far_uplink_saving``, ``total_saving``, ``far_total_saving``: the least over the cases, of the one
setting (``uplink_setting`` and so on) of which that is the most. ``--quick``: two settings, a fifth of the rounds, a
seed.

``--openfl``: the same of OpenFL 1.9's own pipeline for sparse ternary compression, with its defaults
(`benchmarks/compression/openfl.py`), in as many rounds as float32; and ``bits`` of a number up.

``--speed``: for every code there is, with its defaults and some other settings, a vector of float32 is sent and
received in one thread. Of each, in the JSON line:

- ``encode``, ``decode``: GB of float32 a second of processor time, the median of the rounds (without feedback, which
  decodes what it has encoded, and adds twice);
- ``bits``: of a number, header and all; ``zstd_bits``: after the compression that the network tries on each chunk;
- ``lost``: the square of the error's norm over that of the vector's, normal numbers of unequal scales.

``--packing``: what ten devices' updates of rounds 1, 10 and 19 of float32 take in each code, in bits of a number: as
they are (``bits``), and as zstd, bits by significance and zstd, zlib, or a perfect code of single bytes have them.

``slowest_simple``: the slowest encoding of those that do not turn the vector, nor multiply matrices.
"""

from __future__ import annotations

import argparse

import torch

from benchmarks.common import report
from benchmarks.compression import accuracy, openfl, packing, speed
from fogline.stages import make
from fogline.stages.powersgd import PowerSgd
from fogline.stages.rotated_code import RotatedCode
from fogline.stages.subspace import Subspace


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compression",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--speed", action="store_true", help="processor time of every code")
    parser.add_argument("--openfl", action="store_true", help="OpenFL's compression beside float32")
    parser.add_argument("--packing", action="store_true", help="what a packing after the code would spare")
    parser.add_argument("--numbers", type=int, default=1 << 22, help="in the vector, with --speed")
    parser.add_argument("--rounds", type=int, default=7, help="with --speed")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cases", nargs="+", choices=[case.name for case in accuracy.CASES], help="some of them")
    parser.add_argument("--settings", nargs="+", help="some of them, as the table shows them")
    asked = parser.parse_args()
    if asked.speed:
        codes = speed.measured(asked.numbers, asked.rounds)
        heavy = RotatedCode | Subspace | PowerSgd
        simple = [code["encode"] for text, code in codes.items() if not isinstance(make(text), heavy)]
        report("compression-speed", {"numbers": asked.numbers, "slowest_simple": min(simple), "codes": codes})
        return
    torch.set_num_threads(1)
    cases = [case for case in accuracy.CASES if asked.cases is None or case.name in asked.cases]
    if asked.packing:
        report("compression-packing", packing.measured(cases))
        return
    if asked.openfl:
        report("compression-openfl", openfl.measured(cases, asked.seeds), keep=not asked.cases)
        return
    known = accuracy.QUICK if asked.quick else (*accuracy.SETTINGS, *accuracy.METHODS_OF_THEIR_OWN, *accuracy.BOTH)
    settings = [each for each in known if asked.settings is None or str(each) in asked.settings]
    if not settings:
        parser.error(f"there is no such setting; there are: {', '.join(map(str, known))}")
    seeds, pace = (1, 0.2) if asked.quick else (asked.seeds, 1.0)
    part = asked.quick or asked.cases or asked.settings
    report("compression", accuracy.measured(cases, settings, seeds, pace), keep=not part)


if __name__ == "__main__":
    main()
