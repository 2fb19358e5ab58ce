"""Products that do not depend on where a matrix lies in memory.

MKL picks kernels by the alignment of its operands. In a stack of devices that is a device's position, so its last
bits would depend on its company. In MKL's "strict" mode of conditional numerical reproducibility they do not;
no loss of speed was measurable. MKL reads the setting at its first product in a process, so a program that
multiplies before it imports this backend keeps MKL's default. What the environment says already, stays.
"""

from __future__ import annotations

import os

import torch

BRANCHES = {"AVX2": "AVX2,STRICT", "AVX512": "AVX512,STRICT"}


def fix_products() -> None:
    """Ask MKL for products that repeat, where the processor's branch of it can."""
    branch = BRANCHES.get(torch.backends.cpu.get_cpu_capability())
    if branch is not None:
        os.environ.setdefault("MKL_CBWR", branch)
