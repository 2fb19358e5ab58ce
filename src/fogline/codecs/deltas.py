"""A model as its difference from another of the same layout.

============ ===================================================================================================
``lossless`` every number, to the bit
``int8``     differences in eight bits, a scale for every 256
``sparse``   the tenth of the differences that is largest in size, in eight bits
============ ===================================================================================================

The last two only touch what is trained. Buffers (running means and variances) and counters are few, and a variance
that is slightly wrong can be zero or negative, so they go along to the bit. Where a difference is not finite, a lossy
codec gives way to the lossless one.

Models are taken as their files have them: a half-precision tensor is rounded before it is compared. Whether the base
was the right one shows in the digest of the result's file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fogline.codecs import int8, lossless, sparse
from fogline.codecs.payload import DeltaError, Streams, pack
from fogline.params import Params, Vector, as_stored

__all__ = ["CODECS", "LOSSLESS", "DeltaError", "Encoded", "PublishedVersion", "against", "apply", "encode"]

LOSSLESS = "lossless"
WORTHWHILE = 0.95
"""Share of the full model above which a delta is not worth its trouble."""


class Codec(Protocol):
    """Turns a vector into streams of bytes, given another of its length, and back."""

    def encode(self, base: Vector, target: Vector, /) -> Sequence[npt.NDArray[Any]]:
        """The streams that lead from one vector to another."""
        ...

    def apply(self, base: Vector, streams: Streams, /) -> Vector:
        """The vector that the streams lead to.

        Raises:
            DeltaError: they do not fit the base.
        """
        ...


CODECS: dict[str, Codec] = {LOSSLESS: lossless, "int8": int8, "sparse": sparse}


@dataclass(frozen=True, slots=True)
class Encoded:
    """A delta, and what it leads to."""

    codec: str
    """Which was used."""
    payload: bytes
    params: Params
    """What a receiver will have, to the bit."""


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """A version as everybody will have it, and short ways to it."""

    params: Params
    """The version's weights."""
    deltas: tuple[Encoded | None, ...]
    """From the parent, if there is one, and from each older version; None where the full file is as good."""


def encode(codec: str, base: Params, target: Params) -> Encoded:
    """The difference of two models.

    Raises:
        DeltaError: there is no such codec, or the layouts differ.
    """
    coder, base, target = _codec(codec), as_stored(base), as_stored(target)
    if base.spec.digest != target.spec.digest:
        raise DeltaError("There is no delta between models of different layouts; send the full model.")
    trained = target.spec.trainable
    if codec != LOSSLESS and not _finite_difference(base.vector[:trained], target.vector[:trained]):
        return encode(LOSSLESS, base, target)
    streams = [
        *coder.encode(base.vector[:trained], target.vector[:trained]),
        *lossless.encode(base.vector[trained:], target.vector[trained:]),
        *lossless.encode(base.counters, target.counters),
    ]
    payload = pack(codec, target.spec.digest, streams)
    return Encoded(codec, payload, target if codec == LOSSLESS else apply(codec, base, payload))


def apply(codec: str, base: Params, payload: bytes) -> Params:
    """The model that a delta leads to. It takes memory for a few models of the base's layout, whatever the payload.

    Raises:
        DeltaError: there is no such codec, or the payload is damaged, or does not fit the codec or the layout.
    """
    coder, base = _codec(codec), as_stored(base)
    streams = Streams(payload, codec, base.spec.digest)
    trained = base.spec.trainable
    head = coder.apply(base.vector[:trained], streams)
    tail = lossless.apply(base.vector[trained:], streams)
    counters = lossless.apply(base.counters, streams)
    streams.end()
    return as_stored(Params(base.spec, np.concatenate([head, tail]), counters))


def against(params: Params, parent: Params | None, older: Sequence[Params], codec: str) -> PublishedVersion:
    """A version, published as a difference from its parent.

    With a lossy codec the version is what the difference leads to, so that all who take it have the same bits,
    whichever way they came. What was lost is not lost for long: the next version's difference is taken from the
    published one, and makes up for it. Differences from older versions are lossless.

    Args:
        params: the model as it was trained.
        parent: the version before, as published; None: there is none.
        older: other versions that nodes may have, as published.
        codec: for the difference from the parent.

    Raises:
        DeltaError: there is no such codec.
    """
    _codec(codec)
    canonical, deltas = as_stored(params), list[Encoded | None]()
    if parent is not None:
        first = _worthwhile(codec, parent, canonical)
        canonical = canonical if first is None else first.params
        deltas.append(first)
    deltas += [_worthwhile(LOSSLESS, version, canonical) for version in older]
    return PublishedVersion(canonical, tuple(deltas))


def _worthwhile(codec: str, base: Params, target: Params) -> Encoded | None:
    """A delta that saves something; None where there is none."""
    if base.spec.digest != target.spec.digest:
        return None
    encoded = encode(codec, base, target)
    return encoded if len(encoded.payload) < WORTHWHILE * target.spec.bytes else None


def _finite_difference(base: Vector, target: Vector) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(target - base).all())


def _codec(name: str) -> Codec:
    if name not in CODECS:
        raise DeltaError(f"There is no codec '{name[:40]}' for models; there are {', '.join(CODECS)}.")
    return CODECS[name]
