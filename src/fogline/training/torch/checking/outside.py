"""What a module holds outside its state: buffers that are not kept, tensors and numbers in plain attributes.

The trainer, the judge and the server make the module each for itself, and only the state travels. So all else must come
out the same whenever it is made under one seed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from fogline.training.torch.layout import named_tensors

OWN = frozenset(vars(nn.Module())) - {"training"}
"""Attributes that PyTorch keeps in every module."""
DEEPEST = 8


def differences(one: nn.Module, other: nn.Module) -> list[str]:
    """Attributes outside the state in which two makings of a module differ, by their paths: ``layers.0.mask``."""
    return list(_Comparison(one, other).modules(one, other, "", 0))


class _Comparison:
    """Of two modules, once."""

    def __init__(self, one: nn.Module, other: nn.Module) -> None:
        self._state = {id(tensor) for module in (one, other) for tensor in named_tensors(module).values()}
        self._seen: set[int] = set()

    def modules(self, one: nn.Module, other: nn.Module, path: str, depth: int) -> Iterator[str]:
        if id(one) in self._seen:
            return
        self._seen.add(id(one))
        for part in (one.named_parameters(recurse=False), one.named_buffers(recurse=False)):
            for name, tensor in part:
                yield from self.values(tensor, getattr(other, name, None), f"{path}{name}", depth)
        yield from self._attributes(vars(one), vars(other), path, depth)
        for name, child in one.named_children():
            twin = other._modules.get(name)  # pyright: ignore[reportPrivateUsage]
            if twin is not None:
                yield from self.modules(child, twin, f"{path}{name}.", depth)

    def _attributes(self, one: Mapping[str, Any], other: Mapping[str, Any], path: str, depth: int) -> Iterator[str]:
        for name, value in one.items():
            if name not in OWN:
                yield from self.values(value, other.get(name), f"{path}{name}", depth)

    def values(self, one: Any, other: Any, path: str, depth: int) -> Iterator[str]:
        """The paths below one value that differ."""
        if id(one) in self._state or depth > DEEPEST or type(one) is not type(other):
            return
        if isinstance(one, nn.Module):
            yield from self.modules(one, other, f"{path}.", depth + 1)
        elif isinstance(one, list | tuple):
            pairs = zip(cast("Sequence[Any]", one), cast("Sequence[Any]", other), strict=False)
            for place, (mine, theirs) in enumerate(pairs):
                yield from self.values(mine, theirs, f"{path}[{place}]", depth + 1)
        elif isinstance(one, dict):
            theirs = cast("dict[Any, Any]", other)
            for key, mine in cast("dict[Any, Any]", one).items():
                if key in theirs:
                    yield from self.values(mine, theirs[key], f"{path}[{key!r}]", depth + 1)
        elif _is_plain(one):
            if not _equal(one, other):
                yield path
        elif hasattr(one, "__dict__") and not isinstance(one, type) and not callable(one) and id(one) not in self._seen:
            self._seen.add(id(one))
            yield from self._attributes(vars(one), vars(other), f"{path}.", depth + 1)


def _is_plain(value: Any) -> bool:
    return isinstance(
        value,
        Tensor
        | np.ndarray
        | np.generic
        | int
        | float
        | complex
        | random.Random
        | np.random.Generator
        | np.random.RandomState
        | torch.Generator,
    )


def _equal(one: Any, other: Any) -> bool:
    match one:
        case Tensor():
            if one.shape != other.shape or one.dtype != other.dtype:
                return False
            mine, theirs = one.detach(), other.detach()
            return bool(((mine == theirs) | ((mine != mine) & (theirs != theirs))).all())
        case np.ndarray():
            return np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")
        case random.Random():
            return one.getstate() == other.getstate()
        case np.random.Generator():
            return str(one.bit_generator.state) == str(other.bit_generator.state)
        case np.random.RandomState():
            return str(one.get_state()) == str(other.get_state())
        case torch.Generator():
            return torch.equal(one.get_state(), other.get_state())
        case float():
            return one == other or (math.isnan(one) and math.isnan(other))
        case _:
            return bool(one == other)
