"""What a model takes and gives, ready to check requests against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fogline.inference.card import Card, Tensor
from fogline.inference.runtimes.base import NUMPY, Array
from fogline.serving.protocol.errors import ProtocolError
from fogline.serving.protocol.messages import RequestedOutput

DATATYPES = {dtype: datatype for datatype, dtype in NUMPY.items()}


class ModelSignature:
    """The inputs and outputs of a card."""

    def __init__(self, card: Card) -> None:
        self.inputs: dict[str, Tensor] = {tensor.name: tensor for tensor in card.inputs}
        self.outputs: dict[str, Tensor] = {tensor.name: tensor for tensor in card.answers}
        self.in_json = tuple(RequestedOutput(name) for name in self.outputs)
        """All outputs, as JSON"""
        self.in_binary = tuple(RequestedOutput(name, binary=True) for name in self.outputs)
        """and as binary data."""
        everything = (*card.inputs, *card.outputs)
        self.batched = all(tensor.shape[:1] == (-1,) for tensor in everything)
        """Whether requests may be joined along the first axis of all tensors."""
        self._batches = [tensor.name for tensor in card.inputs if tensor.shape[:1] == (-1,)]

    def check(self, name: str, datatype: str, shape: Sequence[int]) -> None:
        """That an input is one of the model's.

        Raises:
            ProtocolError: it has another name, type or shape.
        """
        tensor = self.inputs.get(name)
        if tensor is None:
            raise ProtocolError(f"The model has no input '{name}'; it takes {_listed(self.inputs)}.")
        if datatype != tensor.datatype:
            raise ProtocolError(f"Input '{name}' is {tensor.datatype}, not {datatype[:20]}.")
        if len(shape) != len(tensor.shape):
            raise self._misshapen(tensor, shape)
        for size, expected in zip(shape, tensor.shape, strict=True):
            if size != expected and (expected != -1 or size < 1):
                raise self._misshapen(tensor, shape)

    def checked(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs that came as arrays.

        Raises:
            ProtocolError: one is none of the model's.
        """
        for name, array in inputs.items():
            self.check(name, DATATYPES.get(array.dtype, ""), array.shape)
        return dict(inputs)

    def rows(self, inputs: Mapping[str, Array]) -> int:
        """Examples in a request, of which every input was checked.

        Raises:
            ProtocolError: an input is missing, or they disagree.
        """
        if len(inputs) != len(self.inputs):
            missing = [name for name in self.inputs if name not in inputs]
            raise ProtocolError(f"The request lacks input {_listed(missing)}.")
        if not self._batches:
            return 1
        rows = inputs[self._batches[0]].shape[0]
        for name in self._batches:
            if inputs[name].shape[0] != rows:
                raise ProtocolError(
                    f"Input '{name}' has {inputs[name].shape[0]} examples, but '{self._batches[0]}' has {rows}."
                )
        return rows

    def check_output(self, name: str) -> None:
        """That the model gives it.

        Raises:
            ProtocolError: it does not.
        """
        if name not in self.outputs:
            raise ProtocolError(f"The model has no output '{name}'; it gives {_listed(self.outputs)}.")

    def _misshapen(self, tensor: Tensor, shape: Sequence[int]) -> ProtocolError:
        return ProtocolError(
            f"Input '{tensor.name}' has shape {list(shape)}; the model takes {list(tensor.shape)}, where -1 is any "
            "length above 0."
        )


def _listed(names: Sequence[str] | Mapping[str, object]) -> str:
    return ", ".join(f"'{name}'" for name in names)
