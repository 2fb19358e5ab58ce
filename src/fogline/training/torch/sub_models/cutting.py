"""Makes smaller models of a PyTorch task's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from fogline.params import Params, SharedPart, Spec
from fogline.params.low_rank import at_rank, held_names, low_rank_of
from fogline.params.ranges import Axes, ModelRanges
from fogline.training.sub_models import ModelCutter, ReceivedHome, SubModel
from fogline.training.torch.layout import named_tensors
from fogline.training.torch.module import ModuleTask
from fogline.training.torch.outputs.answers import several_of
from fogline.training.torch.sub_models.axes import Axis, UncuttableError, is_free, narrow_size, ranges, size_of
from fogline.training.torch.sub_models.depth import first_outputs
from fogline.training.torch.sub_models.traced import WidthTable
from fogline.training.torch.sub_models.tracing import trace
from fogline.user_code.bugs import attempt

GIVEN = ("out_features", "out_channels")
"""What linear layers and convolutions call the width that they give."""
Make = Callable[[], nn.Module]


class TorchCutter(ModelCutter):
    """Smaller models of a PyTorch task.

    Args:
        task: the whole model.
    """

    def __init__(self, task: ModuleTask) -> None:
        self._task = task
        self._made: dict[object, SubModel] = {}

    @property
    def spec(self) -> Spec:
        return self._task.spec

    def narrow(self, width: float, scaled: bool = False) -> SubModel:
        table, tensors = self._widths
        kept = {name: tuple(ranges(axis, width) for axis in axes) for name, axes in tensors.items()}
        make = partial(narrowed, self._task.complete, table, kept, width, scaled)
        return self._once(("narrow", width, scaled), make, kept, tells_buffers=width >= 1.0)

    @property
    def exits(self) -> int:
        outputs = several_of(self._task.gives())
        if len(outputs) < 2:
            raise ValueError(
                f"the model of task '{self._task.name}' gives one output, and a shallower one wants an output at each "
                "depth: let it return those of its early exits, and its own as the last"
            )
        return len(outputs)

    def shallow(self, exits: int) -> SubModel:
        return self._once(("shallow", exits), partial(shallowed, self._task.complete, exits), {})

    def low_rank(self, rank: int) -> SubModel:
        spec, kept = self.spec, dict[str, Axes]()
        for layer in (layer.at(rank) for layer in low_rank_of(spec)):
            first = ((0, layer.rank),)
            kept[layer.a.name] = first, *(None for _ in layer.a.shape[1:])
            kept[layer.b.name] = None, first, *(None for _ in layer.b.shape[2:])
        counted = [entry for entry in spec.entries if entry.trainable and entry.name not in held_names(spec)]
        all_of_it, cut = sum(entry.count for entry in counted), at_rank(spec, rank)
        own = sum(entry.count for entry in cut.entries if entry.name in {entry.name for entry in counted})
        make = partial(within_ranges, self._task.complete, kept)
        return self._once(("low rank", rank), make, kept, share=own / all_of_it)

    def only(self, names: Iterable[str]) -> SubModel:
        chosen = frozenset(names)
        return self._once(("only", chosen), partial(frozen_but, self._task.complete, chosen), {})

    def _once(
        self,
        key: object,
        make: Make,
        kept: Mapping[str, Axes],
        tells_buffers: bool = True,
        share: float | None = None,
    ) -> SubModel:
        """A smaller model; ``kept``: the ranges of entries of which it may not have everything; ``share``: of what
        trains, where that is not what counts as trained."""
        if key not in self._made:
            self._made[key] = self._cut(make, kept, tells_buffers, share)
        return self._made[key]

    def _cut(self, make: Make, kept: Mapping[str, Axes], tells_buffers: bool, share: float | None) -> SubModel:
        whole = self._task
        task = whole.remade(make)
        wanted, given = _shapes(whole.gives()), attempt(lambda: _shapes(task.gives()))
        if isinstance(given, Exception) or given != wanted[: len(given)]:
            what = "fails" if isinstance(given, Exception) else f"gives outputs {given[-1]} and not {wanted[-1]}"
            raise UncuttableError(
                f"the model of task '{whole.name}' {what} when it is made smaller; let its forward take sizes from "
                "what it is given: x.flatten(1), and not x.view(-1, 320)"
            )
        spec = task.spec
        sends = {e.name: kept.get(e.name, (None,) * len(e.shape)) for e in spec.entries if e.role != "frozen"}
        if any(entry.role == "frozen" for entry in spec.entries):
            task = task.with_home(ReceivedHome(SharedPart(spec, frozenset()), lambda: Params.zeros(spec)))
        # A forward pass, one back to the inputs and one to the weights cost about the same.
        trains = spec.trainable / whole.spec.trainable
        cost = task.cost if spec.floats < whole.spec.floats else whole.cost * (1.0 + 2.0 * trains) / 3.0
        frozen = {entry.name for entry in whole.spec.entries if entry.role == "frozen"}
        received = sum(entry.bytes for entry in spec.entries if entry.name not in frozen)
        part = trains if share is None else share
        return SubModel(whole.spec, task, ModelRanges.of(sends), kept, cost, received, part, tells_buffers)

    @cached_property
    def _widths(self) -> tuple[WidthTable, dict[str, list[Axis]]]:
        """How widths go through the module, and the axes of its tensors by name."""
        self._task.gives()  # If it takes its inputs at all.
        module, name = self._task.complete(), self._task.name
        try:
            table = trace(module, self._task.pair())
        except UncuttableError as error:
            raise UncuttableError(f"the model of task '{name}' cannot be made narrower: {error}") from error
        tensors = {
            key: table.parameters[id(t)][1] for key, t in named_tensors(module).items() if id(t) in table.parameters
        }
        if not any(is_free(axis) for axes in tensors.values() for axis in axes):
            raise UncuttableError(
                f"the model of task '{name}' cannot be made narrower: it has no layer between input and output"
            )
        return table, tensors


class Scaler:
    """Divides what a layer gives in training by the share of its units that it has."""

    def __init__(self, share: float) -> None:
        self._share = share

    def __call__(self, layer: nn.Module, _: Any, outputs: Tensor) -> Tensor:
        return outputs / self._share if layer.training else outputs


def narrowed(
    complete: Make, table: WidthTable, kept: Mapping[str, Axes], width: float, scaled: bool = False
) -> nn.Module:
    """A module with the first of its units.

    Args:
        complete: makes the whole module.
        table: what counts which axes.
        kept: the ranges of every tensor.
        width: the share of the units.
        scaled: whether layers have a scaler.
    """
    module = within_ranges(complete, kept)
    for name, attribute, axes, form in table.cuts:
        layer, sizes = module.get_submodule(name), tuple(narrow_size(axis, width) for axis in axes)
        setattr(layer, attribute, form(sizes))
        if scaled and attribute in GIVEN and sizes[0] < size_of(axes[0]):
            # Widths are rounded up: by the width itself, a layer of few units would give too much.
            layer.register_forward_hook(Scaler(sizes[0] / size_of(axes[0])))
    return module


def within_ranges(complete: Make, kept: Mapping[str, Axes]) -> nn.Module:
    """A module whose tensors have the numbers in these ranges."""
    module = complete()
    cut = {id(tensor): _within(tensor, kept.get(name, ())) for name, tensor in named_tensors(module).items()}
    for owner in module.modules():
        for key, tensor in [*owner.named_parameters(recurse=False), *owner.named_buffers(recurse=False)]:
            if id(tensor) in cut:  # Tied ones stay tied.
                setattr(owner, key, cut[id(tensor)])
    return module


def shallowed(complete: Make, exits: int) -> nn.Module:
    """A module that gives the first of its outputs, and has what they rest on."""
    return first_outputs(complete(), exits)


def frozen_but(complete: Make, names: frozenset[str]) -> nn.Module:
    """A module of which only some parameters train."""
    module = complete()
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and name in names)
    return module


def _within(tensor: Tensor, axes: Axes) -> Tensor:
    """A parameter or buffer with the numbers in these ranges."""
    cut = tensor.detach()
    for place, axis in enumerate(axes):
        if axis is not None:
            cut = torch.cat([cut.narrow(place, first, behind - first) for first, behind in axis], place)
    return nn.Parameter(cut.clone(), tensor.requires_grad) if isinstance(tensor, nn.Parameter) else cut.clone()


def _shapes(outputs: Any) -> list[tuple[int, ...]]:
    return [tuple(output.shape) for output in several_of(outputs)]
