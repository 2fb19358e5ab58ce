"""A number in eight bits."""

from __future__ import annotations

from fogline.codecs.int8 import BLOCK, LARGEST
from fogline.stages.block_code import BlockCode
from fogline.stages.registry import STAGES


@STAGES.add("int8")
class Int8(BlockCode):
    """Eight bits a number: blocks of 256 with a scale each, rounded at random so that nothing is lost on average.

    The scale of a block is its largest magnitude by 127, and a number comes out at most one scale away from what it
    was (QSGD: Alistarh et al., NeurIPS 2017, with the largest magnitude in place of the norm).
    """

    @property
    def block_size(self) -> int:
        return BLOCK

    @property
    def top(self) -> int:
        return LARGEST
