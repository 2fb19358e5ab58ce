"""The server is given a version in the form that its trial found to be the fastest here, and loads nothing else."""

from __future__ import annotations

from msgspec.structs import replace

from fogline.inference.card import read_card


def narrowed(card: bytes, runtime: str) -> bytes:
    """A card that offers one runtime only: plain layers need no ONNX Runtime, which takes 28 MB of memory.

    Args:
        card: as it was published.
        runtime: ``dense``, ``onnx``, ``staged``, ``onnx/int8`` …; another, or none, leaves the card as it is.
    """
    found = read_card(card)
    match runtime.partition("/")[0]:
        case "dense":
            return replace(found, graph=None, variants=()).encoded()
        case "onnx":
            whole = None if found.exits is None else replace(found.exits, stages=())
            return replace(found, dense=(), exits=whole).encoded()
        case "staged":
            return replace(found, dense=(), graph=None, variants=()).encoded()
        case _:
            return card
