"""What a module's forward pass does beside giving outputs: engines that run it otherwise must know."""

from __future__ import annotations

import random
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fogline.randomness import fingerprint, seeded
from fogline.training.torch.checking.fingerprint import digest_of
from fogline.training.torch.layout import named_tensors

# PyTorch has no public way to ask for these.
_MODULE_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_ALL_MODULES_HOOKS = (
    "_global_forward_pre_hooks",
    "_global_forward_hooks",
    "_global_backward_pre_hooks",
    "_global_backward_hooks",
)


@dataclass(slots=True)
class SideEffects:
    """What was seen, as ends of sentences about the forward pass; None where nothing was."""

    draws: str | None = None
    looks: str | None = None
    """It reads numbers off tensors, and may decide by them."""
    changes: str | None = None

    @property
    def what(self) -> str | None:
        """What the module did beside computing its outputs, in words; None if nothing."""
        return self.draws or self.looks or self.changes


@contextmanager
def watched(module: nn.Module) -> Generator[SideEffects]:
    """Looks at what changes while the module is called, other than its parameters and persistent buffers.

    The generators are put back afterwards.
    """
    seen = SideEffects()
    with seeded():
        drawn, before, reached = fingerprint(), _attributes(module), digest_of(module)
        try:
            with _Looks(seen):
                yield seen
        finally:
            after = _attributes(module)
            changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
            if fingerprint() != drawn:
                seen.draws = "draws random numbers"
            if changed:
                seen.changes = f"changes the module's attribute '{changed[0]}'"
            elif digest_of(module) != reached:
                seen.changes = "changes something that it reaches beside the module's state"


class _Looks(TorchFunctionMode):
    """Takes down whether numbers are read off tensors: also where an error that this raises is caught."""

    def __init__(self, seen: SideEffects) -> None:
        super().__init__()
        self._seen = seen

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called for every function of PyTorch's that Python calls."""
        if getattr(func, "__name__", "") in _READS:
            self._seen.looks = "reads numbers off tensors"
        return func(*args, **(kwargs or {}))


_READS = frozenset(
    {"__bool__", "__float__", "__int__", "__index__", "__array__", "__contains__", "item", "tolist", "numpy", "equal"}
    | {"allclose", "is_nonzero"}
)


def hooks_of(module: nn.Module) -> str | None:
    """The first hook on a module, on one of its parts or on all modules, or a call that was replaced."""
    if any(getattr(nn.modules.module, name) for name in _ALL_MODULES_HOOKS):
        return "all modules have a hook"
    for name, part in module.named_modules():
        if any(getattr(part, hooks) for hooks in _MODULE_HOOKS) or "forward" in vars(part):
            return f"its part '{name}' has a hook" if name else "it has a hook"
    return None


def gradient_hooks_of(module: nn.Module, at_the_end: bool = False) -> str | None:
    """The first parameter with a hook on its gradient; ``at_the_end``: only on the one that is summed up."""
    for name, parameter in module.named_parameters():
        summed: Any = getattr(parameter, "_post_accumulate_grad_hooks", None)
        each: Any = None if at_the_end else parameter._backward_hooks  # pyright: ignore[reportPrivateUsage]
        if summed or each:
            return f"its parameter '{name}' has a hook on its gradient"
    return None


@dataclass(frozen=True, slots=True, eq=False)
class _Mark:
    """A value, kept so that its identity stays its own, and what shows that it was changed in place."""

    value: object
    inside: object

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Mark) and self.value is other.value and self.inside == other.inside

    __hash__ = None  # pyright: ignore[reportAssignmentType]


def _attributes(module: nn.Module) -> dict[str, _Mark]:
    """What modules of one's own hold beside their state, and which of all parts are in training."""
    state = named_tensors(module)
    known = {id(tensor) for tensor in state.values()}
    marks: dict[str, _Mark] = {}
    for name, part in module.named_modules():
        path = f"{name}." if name else ""
        marks[f"{path}training"] = _mark(part.training)
        if type(part).__module__.startswith("torch.nn."):
            continue  # What PyTorch's own layers keep for themselves is no concern of ours.
        buffers = {key: buffer for key, buffer in part._buffers.items() if path + key not in state}  # pyright: ignore[reportPrivateUsage]
        plain = {key: value for key, value in vars(part).items() if key not in _PYTORCHS and id(value) not in known}
        marks.update((path + key, _mark(value)) for key, value in {**buffers, **plain}.items())
    return marks


_PYTORCHS = frozenset(vars(nn.Module()))


def _mark(value: Any, depth: int = 2) -> _Mark:
    """Numbers and texts are not told apart by identity."""
    if isinstance(value, (bool, int, float, complex, str, bytes, type(None))):
        return _Mark(None, (type(value), repr(value)))
    return _Mark(value, _inside(value, depth))


def _inside(value: Any, depth: int) -> object:
    if isinstance(value, Tensor):
        return value._version  # pyright: ignore[reportPrivateUsage]
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, torch.Generator):
        return value.get_state().numpy().tobytes()
    if depth and isinstance(value, dict):
        return [(key, _mark(item, depth - 1)) for key, item in value.items()]
    if depth and isinstance(value, (list, tuple, set)):
        return [_mark(item, depth - 1) for item in value]
    return None
