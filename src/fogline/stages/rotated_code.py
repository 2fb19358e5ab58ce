"""What the stages share that turn vectors by a random rotation, after which all are alike, and round what comes out."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fogline.codecs import bits, blocks
from fogline.params import Vector
from fogline.params.pieces import Extent
from fogline.privacy.rotation import sylvester
from fogline.stages.base import Layout, Named
from fogline.stages.vector_code import VectorCode

WIDEST, NARROWEST = 4096, 128
"""Numbers in a block, a power of two: a wide one has little to say beside them, and a narrow one is not yet normal."""
GROUP = 8
"""Blocks that are worked on at once: what is made of them on the way fits in a processor's cache."""
UNIT = 64
"""Centroids are whole multiples of its inverse, so that turning them back is exact (:func:`sylvester`)."""
CENTROIDS = {1: (51,), 2: (29, 97), 3: (16, 48, 86, 138), 4: (8, 25, 42, 60, 80, 104, 132, 175)}
"""By bits, the magnitudes that normal numbers are rounded to with the least square error (Max, IRE Transactions on
Information Theory 6, 1960), times ``UNIT``."""
Rows = npt.NDArray[np.float32]
SIGNS: Rows = 1 - 2 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32)
"""(256, 8): of each byte."""


class RotatedCode(VectorCode):
    """Base: blocks of 4,096 numbers, the last of the next power of two, are turned and rounded to centroids.

    The rotation is drawn from a seed that goes along. It is two Walsh-Hadamard transforms, each after random signs:
    after a single one the numbers of a sparse vector have few values, and their code a bias.
    """

    @property
    def width(self) -> int:
        """Bits of a number, 1 to 4."""
        raise NotImplementedError

    def scales(self, turned: Rows, rounded: Rows) -> npt.NDArray[Any]:
        """What centroids are multiplied with, (blocks,); turned numbers and their centroids: (blocks, n)."""
        raise NotImplementedError

    def encode(self, vector: Vector, rng: np.random.Generator) -> Named:
        seed = rng.integers(2**63, size=1)
        codes = np.empty(_coded(vector.size), np.uint8)
        scales = np.empty(blocks.count_of(vector.size, WIDEST), np.float32)
        with np.errstate(all="ignore"):  # What is not finite stays so, by its block's scale.
            for piece, (first, second) in zip(_pieces(vector.size), _signs(seed, vector.size), strict=True):
                rows = blocks.in_rows(vector[piece.numbers].astype(np.float32, copy=False), piece.width)
                turned = sylvester(sylvester(rows * first) * second)
                code = _code(turned, self.width)
                codes[piece.codes] = code.reshape(-1)
                scales[piece.blocks] = self.scales(turned, np.take(_table(self.width), code))
        return {"codes": bits.pack(codes, self.width), "scales": scales, "seed": seed}

    def decode(self, parts: Named, extent: Extent) -> Vector:
        codes = bits.unpack(parts["codes"], _coded(extent.count), self.width)
        vector = np.empty(extent.count, extent.dtype)
        for piece, (first, second) in zip(_pieces(extent.count), _signs(parts["seed"], extent.count), strict=True):
            rows = np.take(_table(self.width), codes[piece.codes]).reshape(-1, piece.width)
            rows = sylvester(sylvester(rows) * second) * first
            rows *= parts["scales"][piece.blocks, None]
            vector[piece.numbers] = rows.reshape(-1)[: vector[piece.numbers].size]
        return vector

    def parts(self, extent: Extent) -> Layout:
        return {
            "codes": Extent(np.dtype(np.uint8), bits.packed_size(_coded(extent.count), self.width)),
            "scales": Extent(np.dtype(np.float32), blocks.count_of(extent.count, WIDEST)),
            "seed": Extent(np.dtype(np.int64), 1),
        }


class Piece(NamedTuple):
    """Some blocks of one width: where their numbers, their codes and they themselves stand among all."""

    numbers: slice
    codes: slice
    blocks: slice
    width: int


def _pieces(size: int) -> Iterator[Piece]:
    whole = size - size % WIDEST
    for start in range(0, whole, GROUP * WIDEST):
        place = slice(start, min(start + GROUP * WIDEST, whole))
        yield Piece(place, place, slice(place.start // WIDEST, place.stop // WIDEST), WIDEST)
    if whole < size:
        yield Piece(slice(whole, size), slice(whole, _coded(size)), slice(whole // WIDEST, None), _coded(size) - whole)


def _coded(size: int) -> int:
    """Codes of a vector of that size: as many as it has numbers, the last block filled up."""
    rest = size % WIDEST
    return size - rest + (max(NARROWEST, 1 << (rest - 1).bit_length()) if rest else 0)


def _signs(seed: npt.NDArray[np.int64], size: int) -> Iterator[tuple[Rows, Rows]]:
    """Of each piece, (blocks, width): those before the first transform, and those before the second.

    The latter are divided by the width, so that the two transforms keep the norm.
    """
    source = np.random.Generator(np.random.PCG64(int(seed.view(np.uint64)[0])))
    for piece in _pieces(size):
        drawn = np.frombuffer(source.bytes((piece.codes.stop - piece.codes.start) // 4), np.uint8).reshape(2, -1)
        first, second = np.take(SIGNS, drawn[0], axis=0), np.take(SIGNS / piece.width, drawn[1], axis=0)
        yield first.reshape(-1, piece.width), second.reshape(-1, piece.width)


def _code(turned: Rows, width: int) -> npt.NDArray[np.uint8]:
    """The place of each number's centroid; the highest bit is its sign."""
    code = np.signbit(turned).astype(np.uint8) << np.uint8(width - 1)
    centroids = np.array(CENTROIDS[width], np.float32)
    if centroids.size > 1:
        steps = np.sqrt(squares(turned) / turned.shape[1]) / UNIT
        magnitudes = np.abs(turned)
        for between in (centroids[1:] + centroids[:-1]) / 2:
            code += (magnitudes > (between * steps).astype(np.float32)[:, None]).view(np.uint8)
    return code


def squares(rows: Rows) -> npt.NDArray[np.float64]:
    """The square of each row's L2 norm, (blocks,); in double precision, where the smallest numbers have one."""
    return np.einsum("ij,ij->i", rows, rows, dtype=np.float64)


@cache
def _table(width: int) -> Rows:
    """Centroids by code."""
    centroids = np.array(CENTROIDS[width], np.float32)
    return np.concatenate([centroids, -centroids])
