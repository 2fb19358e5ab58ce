"""Requests and answers over HTTP: JSON, with binary tensors behind it.

The numbers of a tensor are decoded straight from its JSON into a list of the tensor's own type; nothing else in a
request is taken that the structures below do not name.
"""

from __future__ import annotations

import re
import secrets
from typing import Annotated

import msgspec
from msgspec import Meta, Raw

from fogline.decoding import UNREADABLE
from fogline.inference.card import Card, PersonalOrigin, Tensor
from fogline.inference.runtimes.base import NUMPY, Array
from fogline.registry.release import NodeKind
from fogline.serving.protocol.classes import best_classes
from fogline.serving.protocol.errors import ProtocolError, no_shared_memory
from fogline.serving.protocol.messages import InferenceRequest, InferenceResponse, RequestedOutput
from fogline.serving.protocol.signature import ModelSignature
from fogline.serving.protocol.tensors import read_binary, read_json, write_binary, write_json

Name = Annotated[str, Meta(max_length=200)]
Size = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class _InputParameters(msgspec.Struct, frozen=True, gc=False):
    binary_data_size: Size | None = None
    shared_memory_region: Raw = Raw()


class _Input(msgspec.Struct, frozen=True, gc=False):
    name: Name
    shape: Annotated[list[Size], Meta(max_length=16)]
    datatype: Annotated[str, Meta(max_length=20)]
    parameters: _InputParameters = _InputParameters()
    data: Raw = Raw()


class _OutputParameters(msgspec.Struct, frozen=True, gc=False):
    binary_data: bool | None = None
    shared_memory_region: Raw = Raw()
    classification: Annotated[int, Meta(ge=0, le=100_000)] = 0


class _Output(msgspec.Struct, frozen=True, gc=False):
    name: Name
    parameters: _OutputParameters = _OutputParameters()


class _Parameters(msgspec.Struct, frozen=True, gc=False):
    binary_data_output: bool = False


class _Request(msgspec.Struct, frozen=True, gc=False):
    inputs: Annotated[list[_Input], Meta(max_length=1000)]
    outputs: Annotated[list[_Output], Meta(max_length=1000)] = []
    parameters: _Parameters = _Parameters()
    id: Annotated[str, Meta(max_length=1000)] = ""


LARGE = 1 << 14
"""Bytes of a request from which its numbers are worth parting from the rest."""
NEAR = 1 << 12
"""Bytes within which such numbers begin."""

_DATA = re.compile(rb'(?<!\\)"data"\s*:\s*\[')
"""The key, and not the end of a longer one."""
_MARK = b'"%b"' % secrets.token_hex(16).encode()
"""Nobody outside knows it."""
_MARKED = Raw(_MARK)
_decode = msgspec.json.Decoder(_Request).decode
_encode = msgspec.json.Encoder().encode


def read_request(signature: ModelSignature, body: bytes, header: int | None) -> InferenceRequest:
    """The request in a body.

    Args:
        signature: of the model that is asked.
        body: JSON, and binary tensors behind it.
        header: bytes of the JSON; None: all is JSON; 0: there is none, and all is the model's only input.

    Raises:
        ProtocolError: it is none that the model can answer.
    """
    if header == 0:
        return _read_raw(signature, body)
    if header is not None and header > len(body):
        raise ProtocolError(f"The JSON should have {header} bytes, but the whole body has {len(body)}.")
    rest, numbers = _parted(body) if header is None and len(body) > LARGE else (body, b"")
    try:
        request = _decode(rest if header is None else memoryview(body)[:header])
    except UNREADABLE as error:
        raise ProtocolError(f"The request cannot be read: {error}.") from None
    at = len(body) if header is None else header
    inputs = _read_inputs(signature, request.inputs, memoryview(body), at, numbers)
    return InferenceRequest(inputs, _wanted(signature, request), signature.rows(inputs), request.id)


def _parted(body: bytes) -> tuple[bytes, bytes]:
    """A request with a mark instead of its first list of numbers, and that list, so that it is not read twice: once to
    find its end, and once for its numbers. What has no such list stays as it is."""
    key = _DATA.search(body, 0, NEAR)
    if key is None:
        return body, b""
    start = key.end() - 1
    end = body.find(b"]", start) + 1
    if not end or body.find(b"[", start + 1, end) >= 0 or body.find(b'"', start, end) >= 0:
        return body, b""
    return body[:start] + _MARK + body[end:], body[start:end]


def _read_inputs(
    signature: ModelSignature, given: list[_Input], body: memoryview, at: int, numbers: bytes
) -> dict[str, Array]:
    """The inputs; ``at``: where binary tensors begin, ``numbers``: what the mark stands for."""
    inputs: dict[str, Array] = {}
    for tensor in given:
        name, datatype, shape = tensor.name, tensor.datatype, tensor.shape
        signature.check(name, datatype, shape)
        if name in inputs:
            raise ProtocolError(f"Input '{name}' is given twice.")
        size = tensor.parameters.binary_data_size
        if size is None:
            if tensor.parameters.shared_memory_region:
                raise no_shared_memory(name)
            if not tensor.data:
                raise ProtocolError(f"Input '{name}' has no data.")
            inputs[name] = read_json(name, datatype, shape, numbers if tensor.data == _MARKED else tensor.data)
        else:
            inputs[name] = read_binary(name, datatype, shape, body[at : at + size])
            at += size
    if at != len(body):
        raise ProtocolError(f"The binary tensors end at byte {at}, but the body at {len(body)}.")
    return inputs


def _wanted(signature: ModelSignature, request: _Request) -> tuple[RequestedOutput, ...]:
    binary = request.parameters.binary_data_output
    if not request.outputs:
        return signature.in_binary if binary else signature.in_json
    wanted: list[RequestedOutput] = []
    for output in request.outputs:
        signature.check_output(output.name)
        if output.parameters.shared_memory_region:
            raise no_shared_memory(output.name)
        chosen = output.parameters.binary_data
        wanted.append(
            RequestedOutput(output.name, binary if chosen is None else chosen, output.parameters.classification)
        )
    return tuple(wanted)


def _read_raw(signature: ModelSignature, body: bytes) -> InferenceRequest:
    """A body that is nothing but the data of the only input; its length says how many examples there are."""
    if len(signature.inputs) != 1:
        raise ProtocolError(f"A raw request needs a model of one input; this one has {len(signature.inputs)}.")
    (tensor,) = signature.inputs.values()
    shape = [1 if size == -1 else size for size in tensor.shape]
    if tensor.datatype == "BYTES":
        body = len(body).to_bytes(4, "little") + body
    elif tensor.shape[:1] == (-1,) and -1 not in tensor.shape[1:]:
        shape[0] = max(1, len(body) // _row_bytes(tensor))
    array = read_binary(tensor.name, tensor.datatype, shape, body)
    return InferenceRequest({tensor.name: array}, signature.in_binary, signature.rows({tensor.name: array}))


def _row_bytes(tensor: Tensor) -> int:
    size = NUMPY[tensor.datatype].itemsize
    for length in tensor.shape[1:]:
        size *= length
    return max(1, size)


class ResponseWriter:
    """Writes the answers of one version; what is the same in all of them is made once.

    Args:
        card: of the version.
        version: as it is addressed.
        tier: who answers.
        personal: where the part of it comes from that is this device's own; None: none is.
    """

    def __init__(self, card: Card, version: str, tier: NodeKind, personal: PersonalOrigin | None = None) -> None:
        self._card = card
        self._head = b'{"model_name":%b,"model_version":%b' % (_encode(card.model), _encode(version))
        self._mine = _encode(InferenceResponse({}, tier, card.model, card.version, personal=personal).notes())
        self._datatypes = {tensor.name: tensor.datatype for tensor in card.answers}
        self._outputs = {
            tensor.name: b'{"name":%b,"datatype":"%b","shape":' % (_encode(tensor.name), tensor.datatype.encode())
            for tensor in card.answers
        }

    def write(self, ask: InferenceRequest, answer: InferenceResponse) -> tuple[bytes, int | None]:
        """The body, and the bytes of its JSON where binary tensors are behind it.

        Raises:
            ProtocolError: an output cannot be given as it was asked for.
        """
        texts: list[bytes] = []
        behind: list[bytes] = []
        for wanted in ask.wanted:
            texts.append(self._output(wanted, answer.outputs[wanted.name], behind))
        parameters = self._mine if not answer.offloaded and not answer.why else _encode(answer.notes())
        name = b',"id":' + _encode(ask.id) if ask.id else b""
        text = b'%b%b,"parameters":%b,"outputs":[%b]}' % (self._head, name, parameters, b",".join(texts))
        if not behind:
            return text, None
        return b"".join((text, *behind)), len(text)

    def _output(self, wanted: RequestedOutput, array: Array, behind: list[bytes]) -> bytes:
        name, datatype = wanted.name, self._datatypes[wanted.name]
        head = self._outputs[name]
        if wanted.classes:
            array, datatype = best_classes(self._card, name, array, wanted.classes), "BYTES"
            head = b'{"name":%b,"datatype":"BYTES","shape":' % _encode(name)
        shape = str(list(array.shape)).encode()
        if not wanted.binary:
            return b'%b%b,"data":%b}' % (head, shape, write_json(name, datatype, array))
        data = write_binary(datatype, array)
        behind.append(data)
        return b'%b%b,"parameters":{"binary_data_size":%d}}' % (head, shape, len(data))
