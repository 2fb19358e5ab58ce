"""A number in four bits."""

from __future__ import annotations

from fogline.stages.block_code import BlockCode
from fogline.stages.registry import STAGES

BLOCK, LARGEST = 128, 7


@STAGES.add("int4")
class Int4(BlockCode):
    """Four bits a number: blocks of 128 with a scale each, in 15 steps, rounded at random as ``int8``."""

    @property
    def block_size(self) -> int:
        return BLOCK

    @property
    def top(self) -> int:
        return LARGEST
