"""Between a PyTorch module and the flat vector: which tensor lies where, in which order."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from fogline.params import Counters, Entry, Params, Role, Spec, Vector

CPU = torch.device("cpu")


class TensorLayout:
    """The tensors of a module's kind, in the order of its spec.

    Parameters and persistent buffers count, tied weights once; parameters that want no gradient are frozen. Entries
    keep the module's types; the vector is float32 (float64 if any tensor is).
    """

    def __init__(self, module: nn.Module) -> None:
        self.spec = Spec.of(
            Entry(name, tuple(tensor.shape), _type_name(tensor), _role_of(tensor))
            for name, tensor in named_tensors(module).items()
        )
        self.trainable = [entry for entry in self.spec.entries if entry.trainable]
        self.buffers = [entry for entry in self.spec.entries if entry.is_float and not entry.trainable]
        """What steps leave alone, frozen weights too: to an engine both are what the module reads beside."""
        self.integers = [entry for entry in self.spec.entries if not entry.is_float]

    def load(self, module: nn.Module, vector: Vector | Tensor, counters: Counters | Tensor) -> None:
        """Copy numbers into a module; each tensor keeps its own type."""
        with torch.no_grad():
            for entry, tensor in self._pairs(module):
                part = (vector if entry.is_float else counters)[self.spec.slices[entry.name]]
                source = part if isinstance(part, Tensor) else as_tensor(part, CPU)
                tensor.copy_(source.view(entry.shape))

    def read(self, module: nn.Module) -> Params:
        """Copy a module's numbers out."""
        params = Params.zeros(self.spec)
        for entry, tensor in self._pairs(module):
            if tuple(tensor.shape) != entry.shape:
                raise ValueError(
                    f"'{entry.name}' had shape {entry.shape} and now has {tuple(tensor.shape)}: what is part of the "
                    "state must keep its shape; register_buffer(..., persistent=False) leaves it out"
                )
            target = params.vector if entry.is_float else params.counters
            wide = tensor.detach().to("cpu", torch.float64 if entry.dtype == "float64" else None)
            wide = wide.float() if wide.dtype in (torch.float16, torch.bfloat16) else wide
            target[self.spec.slices[entry.name]] = wide.numpy().ravel()
        return params

    def _pairs(self, module: nn.Module) -> list[tuple[Entry, Tensor]]:
        tensors = named_tensors(module)
        return [(entry, tensors[entry.name]) for entry in self.spec.entries]


def named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters (tied ones once) and persistent buffers, by name."""
    kept = module.state_dict(keep_vars=True).keys()
    tensors: dict[str, Tensor] = dict(module.named_parameters())
    tensors.update((name, buffer) for name, buffer in module.named_buffers() if name in kept)
    return tensors


def as_tensor(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """An array as a tensor on a device, without a copy where it can be helped."""
    # A read-only array (a memory map, a frozen buffer) is copied: a tensor over it could write to it.
    return torch.as_tensor(array if array.flags.writeable else array.copy(), device=device)


def _role_of(tensor: Tensor) -> Role:
    if tensor.requires_grad:
        return "trained"
    return "frozen" if isinstance(tensor, nn.Parameter) else "buffer"


def _type_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
