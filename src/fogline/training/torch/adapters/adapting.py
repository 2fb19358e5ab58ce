"""Puts adapters into a module, by the names of its layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeVar

from torch import nn

from fogline.training.torch.adapters.layers import (
    BottleneckLinear,
    LoraConv1d,
    LoraConv2d,
    LoraEmbedding,
    LoraLayer,
    LoraLinear,
)

M = TypeVar("M", bound=nn.Module)
LORA: Mapping[type[nn.Module], type[LoraLayer]] = {
    kind.plain: kind for kind in (LoraLinear, LoraEmbedding, LoraConv1d, LoraConv2d)
}


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters: a weight W counts as W + (alpha / rank) B A (Hu et al., 2022, arXiv 2106.09685).

    Args:
        rank: r, of B (rows, r) and A (r, columns).
        alpha: numerator of the scale.
        names: patterns of the names of linear, embedding and convolution layers that get one.
        train: patterns of the names of other parameters that train as well (``("head.*",)``).
        dropout: of what goes into A, in training.
    """

    rank: int = 8
    alpha: float = 16.0
    names: tuple[str, ...] = ("*",)
    train: tuple[str, ...] = ()
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank is {self.rank}; it must be 1 or more.")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout is {self.dropout}; it must be at least 0 and below 1.")

    def takes(self, layer: nn.Module) -> bool:
        """Whether a layer can have one."""
        if isinstance(layer, nn.Conv1d | nn.Conv2d) and layer.groups > 1:
            return False  # Its weight is several matrices.
        if isinstance(layer, nn.Embedding) and (layer.max_norm is not None or layer.sparse or layer.scale_grad_by_freq):
            return False
        return type(layer) in LORA

    def put_into(self, layer: nn.Module) -> None:
        """Make a layer that it takes one with the adapter."""
        layer.__class__ = LORA[type(layer)]
        assert isinstance(layer, LoraLayer)
        layer.insert(self.rank, self.alpha, self.dropout)


@dataclass(frozen=True)
class Bottleneck:
    """Bottleneck adapters behind linear layers (Houlsby et al., ICML 2019, arXiv 1902.00751).

    Args:
        width: numbers in the middle.
        names: patterns of the names of linear layers that get one.
        train: patterns of the names of other parameters that train as well.
    """

    width: int = 16
    names: tuple[str, ...] = ("*",)
    train: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width is {self.width}; it must be 1 or more.")

    def takes(self, layer: nn.Module) -> bool:
        """Whether a layer can have one."""
        return type(layer) is nn.Linear

    def put_into(self, layer: nn.Module) -> None:
        """Make a layer that it takes one with the adapter."""
        layer.__class__ = BottleneckLinear
        assert isinstance(layer, BottleneckLinear)
        layer.insert(self.width)


def adapt(module: M, adapter: Lora | Bottleneck) -> M:
    """The module itself, with adapters, which train; all else in it is frozen, and so travels once.

    Names of parameters stay as they are, and new ones stand beside: ``q.weight``, ``q.lora_A``, ``q.lora_B``. What the
    module computes does not change until they train.

    Args:
        module: with the weights that it shall start from.
        adapter: what kind, how large, and where.

    Raises:
        ValueError: a pattern names no layer that can have one, or one whose weight another layer shares; a sentence.
    """
    layers = dict(_chosen(module, adapter))
    uses = Counter(id(parameter) for _, parameter in module.named_parameters(remove_duplicate=False))
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    for name, layer in layers.items():
        if uses[id(layer.weight)] > 1:
            raise ValueError(f"layer '{name}' shares its weight with another, which an adapter cannot: name others.")
        try:
            adapter.put_into(layer)
        except ValueError as error:
            raise ValueError(f"layer '{name}' cannot have an adapter: {error}.") from error
    held = {f"{name}.weight" for name in layers} if isinstance(adapter, Lora) else set[str]()
    for pattern in adapter.train:
        fits = {name: p for name, p in module.named_parameters() if fnmatchcase(name, pattern)}
        if not fits or held & fits.keys():
            why = f"'{min(held & fits.keys())}' has an adapter in its place" if fits else "there is none of that name"
            raise ValueError(f"train names '{pattern}', and {why}.")
        for name, parameter in fits.items():
            if not name.endswith(".lora_scale"):
                parameter.requires_grad_()
    return module


def _chosen(module: nn.Module, adapter: Lora | Bottleneck) -> Iterator[tuple[str, nn.Module]]:
    """Layers that get an adapter, by name."""
    able = {name: layer for name, layer in module.named_modules() if adapter.takes(layer)}
    for pattern in adapter.names:
        if not any(fnmatchcase(name, pattern) for name in able):
            there = f"there are {', '.join(able)}" if able else "it has none"
            raise ValueError(f"no layer that can have an adapter is called '{pattern}'; {there}.")
    for name, layer in able.items():
        if any(fnmatchcase(name, pattern) for pattern in adapter.names):
            yield name, layer
