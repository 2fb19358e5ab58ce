"""The trained model as its own framework runs it: what every exported form is held against."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fogline.data.inputs import Inputs
from fogline.inference.card import Datatype, Dense, Tensor, Units
from fogline.inference.runtimes.base import NUMPY, Array, ModelError
from fogline.params import Params
from fogline.training.backends import backend_of
from fogline.training.task import Task

if TYPE_CHECKING:
    from onnx import ModelProto

INPUT, OUTPUT = "input", "output"
DATATYPES: dict[np.dtype[np.generic], Datatype] = {kind: name for name, kind in NUMPY.items()}  # pyright: ignore[reportAssignmentType]


class ExportError(ModelError):
    """A model cannot be written as a graph; it can still be run where its code is."""


class Original(Protocol):
    """A trained model in the framework that trained it."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    dense: tuple[Dense, ...]
    """The whole model as plain layers; empty where it is none."""

    def feed(self, x: Inputs) -> dict[str, Array]:
        """Examples as clients send them: by the names of the inputs, in their types."""
        ...

    def run(self, x: Inputs) -> dict[str, Array]:
        """Outputs for examples, in people's units.

        Raises:
            ModelError: the model cannot be run.
        """
        ...

    def graph(self) -> ModelProto:
        """ONNX with every tensor of the weights external.

        Raises:
            ExportError: there is no way to write it.
        """
        ...


def original_of(task: Task, params: Params, names: Sequence[str], units: Units | None) -> Original:
    """The model of a task with these weights.

    Args:
        task: PyTorch's or scikit-learn's.
        params: its weights.
        names: of the outputs, for a module that gives a tuple; empty: ``output_0``, ``output_1``, …
        units: in which outputs are told.

    Raises:
        ModelError: tasks of this kind cannot be packaged, or the model cannot be run on an example.
    """
    backend = backend_of(task)
    reader = f"{__package__}.{backend}"  # Called as the backend whose tasks it reads.
    if backend is None or find_spec(reader) is None:
        raise ModelError(f"A {type(task).__name__} cannot be packaged; models of PyTorch and of scikit-learn can.")
    return importlib.import_module(reader).original(task, params, names, units)


def tensor_of(name: str, array: Array) -> Tensor:
    """An input or output as an array of it shows it.

    Raises:
        ModelError: it has a type that no server gives.
    """
    if array.dtype not in DATATYPES:
        raise ModelError(f"'{name}' is {array.dtype}; a served model takes and gives {', '.join(NUMPY)}.")
    return Tensor(name, DATATYPES[array.dtype], (-1, *array.shape[1:]))
