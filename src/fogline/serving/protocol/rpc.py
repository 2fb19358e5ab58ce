"""Requests and answers over gRPC: tensors as raw bytes, or as lists of numbers of their type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fogline.inference.card import Card
from fogline.inference.runtimes.base import Array
from fogline.serving.protocol.classes import best_classes
from fogline.serving.protocol.errors import ProtocolError, no_shared_memory
from fogline.serving.protocol.inference_pb2 import InferTensorContents, ModelInferRequest, ModelInferResponse
from fogline.serving.protocol.messages import InferenceRequest, InferenceResponse, RequestedOutput
from fogline.serving.protocol.signature import ModelSignature
from fogline.serving.protocol.tensors import read_binary, read_values, write_binary

FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Where the elements of each datatype stand; those of FP16 only travel raw."""
SHARED = "shared_memory_region"


def read_request(signature: ModelSignature, request: ModelInferRequest) -> InferenceRequest:
    """The request in a message. It is answered in the form that it has: raw, or as numbers.

    Raises:
        ProtocolError: it is none that the model can answer.
    """
    for tensor in (*request.inputs, *request.outputs):
        if SHARED in tensor.parameters:
            raise no_shared_memory(tensor.name)
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise ProtocolError(f"There are {len(raw)} raw contents for {len(request.inputs)} inputs.")
    inputs: dict[str, Array] = {}
    for place, tensor in enumerate(request.inputs):
        signature.check(tensor.name, tensor.datatype, tensor.shape)
        if tensor.name in inputs:
            raise ProtocolError(f"Input '{tensor.name}' is given twice.")
        if raw:
            inputs[tensor.name] = read_binary(tensor.name, tensor.datatype, tensor.shape, raw[place])
        else:
            inputs[tensor.name] = read_values(tensor.name, tensor.datatype, tensor.shape, _elements(tensor))
    wanted = _wanted(signature, request, bool(raw))
    return InferenceRequest(inputs, wanted, signature.rows(inputs), request.id)


def write_answer(card: Card, version: str, ask: InferenceRequest, answer: InferenceResponse) -> ModelInferResponse:
    """The message of an answer.

    Raises:
        ProtocolError: an output cannot be given as it was asked for.
    """
    response = ModelInferResponse(model_name=card.model, model_version=version, id=ask.id)
    _note(response, answer)
    datatypes: dict[str, str] = {tensor.name: tensor.datatype for tensor in card.answers}
    raw = any(wanted.binary or datatypes[wanted.name] == "FP16" for wanted in ask.wanted)
    for wanted in ask.wanted:
        array, datatype = answer.outputs[wanted.name], datatypes[wanted.name]
        if wanted.classes:
            array, datatype = best_classes(card, wanted.name, array, wanted.classes), "BYTES"
        tensor = response.outputs.add(name=wanted.name, datatype=datatype, shape=array.shape)
        if raw:
            response.raw_output_contents.append(write_binary(datatype, array))
        else:
            tensor.contents.CopyFrom(InferTensorContents(**{FIELDS[datatype]: array.ravel().tolist()}))
    return response


def _elements(tensor: ModelInferRequest.InferInputTensor) -> Sequence[Any]:
    field = FIELDS.get(tensor.datatype)
    if field is None:
        raise ProtocolError(f"Input '{tensor.name}' of {tensor.datatype} can only be sent in raw_input_contents.")
    return getattr(tensor.contents, field)


def _wanted(signature: ModelSignature, request: ModelInferRequest, raw: bool) -> Sequence[RequestedOutput]:
    if not request.outputs:
        return signature.in_binary if raw else signature.in_json
    for output in request.outputs:
        signature.check_output(output.name)
    return tuple(
        RequestedOutput(output.name, raw, max(0, output.parameters["classification"].int64_param))
        for output in request.outputs
    )


def _note(response: ModelInferResponse, answer: InferenceResponse) -> None:
    for name, value in answer.notes().items():
        if isinstance(value, str):
            response.parameters[name].string_param = value
        else:
            response.parameters[name].int64_param = value
