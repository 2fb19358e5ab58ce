"""Inputs that are nearly right: structures with something absurd in them, and damaged bytes."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from benchmarks.fuzz.target import Example, Target

ABSURD: tuple[Any, ...] = (
    -1, 0, 1, 2**31, 2**53, 2**63 - 1, 2**64 - 1, -(2**63), 0.5, -1e308, float("nan"), float("inf"), True, None, "",
    "\x00", "a" * 300, "é\u202e", "../../etc/passwd", b"", b"\xff" * 40, [], {}, [[]],
    {"type": "NodeMessage"}, "0" * 64,
)  # fmt: skip


def mutated(rng: random.Random, target: Target, examples: list[Example]) -> bytes:
    """One input."""
    data = rng.choice(examples)
    if target.packed is not None and rng.random() < 0.6:
        try:
            return target.pack(bent(rng, target.packed(data)))
        except (msgspec.MsgspecError, OverflowError, TypeError, ValueError, RecursionError):
            pass  # Not everything absurd can be written down.
    return damaged(rng, data, rng.choice(examples))


def bent(rng: random.Random, value: Any, depth: int = 0) -> Any:
    """The structure with something absurd somewhere in it."""
    if depth > 8 or rng.random() < 0.12:
        return rng.choice(ABSURD)
    if isinstance(value, dict) and value:
        made = dict(value)
        key = rng.choice(list(made))
        how = rng.random()
        if how < 0.1:
            del made[key]
        elif how < 0.2:
            made[rng.choice(["type", "x", "job", key * 2 if isinstance(key, str) else "y"])] = rng.choice(ABSURD)
        else:
            made[key] = bent(rng, made[key], depth + 1)
        return made
    if isinstance(value, list) and value:
        made = list(value)
        place = rng.randrange(len(made))
        made[place] = bent(rng, made[place], depth + 1)
        return made * rng.choice((1, 1, 1, 2, 50)) if rng.random() < 0.2 else made
    if isinstance(value, (str, bytes)) and value and rng.random() < 0.5:
        return value[: rng.randrange(len(value))] + value[rng.randrange(len(value)) :]
    return rng.choice(ABSURD)


def damaged(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """The bytes with some of them wrong."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not made:
            break
        place = rng.randrange(len(made))
        match rng.randrange(8):
            case 0:
                made[place] ^= 1 << rng.randrange(8)
            case 1:
                made[place] = rng.choice((0, 0x7F, 0x80, 0xFF, 0xC1, 0xDD, 0xDF, 0xC6, 0xDB))
            case 2:
                del made[place:]
            case 3:
                del made[place : place + rng.randrange(1, 9)]
            case 4:
                made[place:place] = rng.randbytes(rng.randrange(1, 9))
            case 5:
                made[place : place + 8] = rng.choice((b"\xff" * 8, b"\x00" * 8, (2**62).to_bytes(8, "little")))
            case 6:
                made[place:] = other[rng.randrange(len(other) + 1) :]
            case _:
                made[place:place] = made[place : place + rng.randrange(1, 65)]
    return bytes(made)
