"""The card of a model version: what it takes and gives, which files it is made of, and where it came from.

A card is immutable and named by the sha256 of its bytes. Everything else that belongs to a version (weights, graph,
golden samples, drift reference) is a file named by its own sha256 in the card, so who trusts a card's digest can check
all of it.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from fogline.decoding import UNREADABLE
from fogline.errors import InputError

FORMAT = 1
LARGEST = 1 << 20
"""Bytes of the largest card that is read."""

Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"
]
"""Types of tensors, as the Open Inference Protocol names them."""

Digest = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Size = Annotated[int, Meta(ge=0, le=2**53)]
ModelName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?\Z")]
"""Safe in paths, in URLs and in logs."""


class Tensor(msgspec.Struct, frozen=True):
    """An input or output. The first axis of ``shape`` is the batch; -1 stands for any length."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


class Asset(msgspec.Struct, frozen=True):
    """A file, by its content."""

    digest: Digest
    size: Size


class WeightsDelta(msgspec.Struct, frozen=True):
    """The weights as a difference from those of another version."""

    codec: str
    """Of :mod:`fogline.codecs`."""
    base: Digest
    """Of the weights file that it is added to."""
    asset: Asset


Activation = Literal["", "relu", "tanh", "sigmoid", "softmax", "pair"]
"""What follows a layer's sums. ``pair``: the score z of the second of two classes becomes those of both, (0, z)."""


class Dense(msgspec.Struct, frozen=True):
    """A layer of a plain network: ``activation(x @ weight.T + bias)``, by the names of the tensors in the weights."""

    weight: str
    """Shape (outputs, inputs), or (inputs,) for one output."""
    bias: str = ""
    """Shape (outputs,); empty: none."""
    activation: Activation = ""


class Variant(msgspec.Struct, frozen=True):
    """The same model in fewer bits: a graph with its own weights in it."""

    name: Literal["int8", "fp16"]
    graph: Asset
    agreement: float
    """Share of the reference examples on which it gives the original's class; for numbers, the explained variance."""
    metrics: dict[str, float] = {}
    """The headline metric (and others) of the variant, beside the card's own."""
    tolerance: float = 1.0
    """As the card's, for this variant."""


class Units(msgspec.Struct, frozen=True):
    """Outputs are in people's units: what was learned, times ``scale``, plus ``offset``.

    The graph has both in it; where plain layers or PyTorch run the model, the runtime applies them.
    """

    scale: float
    offset: float
    unit: str = ""


class Code(msgspec.Struct, frozen=True):
    """The task whose PyTorch module runs the model, as a job names it."""

    task: str
    """``module:attribute``, in a folder that the node has."""
    parameters: dict[str, Any] = {}
    seed: Annotated[int, Meta(ge=0)] = 0
    """Of the job: the module is made under it, so that what it holds outside its weights is what was trained with."""


class Point(msgspec.Struct, frozen=True):
    """One threshold of a cascade, as measured on held-out examples."""

    threshold: float
    offloaded: float
    """Share of examples that go up."""
    accuracy: float
    """Of the pair."""


class Cascade(msgspec.Struct, frozen=True):
    """When a tier asks the one above it."""

    to: ModelName
    """The larger model's name."""
    threshold: float
    """An example whose confidence is below it goes up."""
    curve: tuple[Point, ...] = ()
    """All that was measured, by rising threshold."""
    budget: float = 1.0
    """Largest share of examples that people let go up; later versions of the model keep to it."""


class Exits(msgspec.Struct, frozen=True):
    """A model with several outputs, each a complete answer: the first sure one is given (early exit)."""

    outputs: tuple[str, ...]
    """Cheapest first."""
    thresholds: tuple[float, ...]
    """Least confidence of all exits but the last, which always answers."""
    shares: tuple[float, ...] = ()
    """Of the held-out examples, the share that each exit answers."""
    stages: tuple[Asset, ...] = ()
    """The graph in parts, one for each exit: each takes the inputs and what those before it computed, so that nothing
    beyond the exit that answers an example need be run for it. Empty: the whole model runs for every example."""


class Scores(msgspec.Struct, frozen=True):
    """Which output holds class scores, of shape (batch, classes), and how they become probabilities."""

    output: str
    kind: Literal["logits", "probabilities"] = "logits"
    temperature: float = 1.0
    """Logits are divided by it before the softmax, so that confidence is calibrated (Guo et al., 2017)."""
    labels: tuple[str, ...] = ()


class Lineage(msgspec.Struct, frozen=True):
    """Where a version came from."""

    job: str = ""
    task: str = ""
    algorithm: str = ""
    rounds: int = 0
    data: tuple[str, ...] = ()
    """Names or tags of the data."""
    bundle: str = ""
    """Digest of the signed code that trained it."""
    by: str = ""
    """Who submitted the job."""
    privacy: dict[str, float] = {}
    """Budget spent (``epsilon``, ``delta``); empty where no mechanism was used."""
    approved: tuple[str, ...] = ()
    """Who approved it; the offline key's names for a stable version."""
    parent: int = 0
    """The version that its weights were published as a difference from; 0 for none."""
    origin: str = ""
    """Digest of the card that it was imported with; empty for a version that was trained here."""


class PersonalOrigin(msgspec.Struct, frozen=True):
    """Where the part of a model comes from that a device has of its own (:mod:`fogline.inference.personal`)."""

    job: str
    rounds: int
    """Of the job, after which the device was judged with it."""

    def __str__(self) -> str:
        return f"round {self.rounds} of job {self.job}"


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to know of a version of a model: its files, inputs, outputs and where it came from."""

    model: ModelName
    version: int = 0
    """Counts up from 1 for each model; 0 before it is published."""
    created: float
    """Unix time."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    weights: Asset | None = None
    """safetensors: every tensor that training changes, by its name; None where the graph holds its own weights."""
    personal: tuple[str, ...] = ()
    """Tensors that every device has of its own: those of the weights were never trained, and a node without its own
    cannot serve the version."""
    deltas: tuple[WeightsDelta, ...] = ()
    graph: Asset | None = None
    """ONNX. Its initialisers that have a name of the weights' tensors are external: they are taken from there."""
    dense: tuple[Dense, ...] = ()
    """The whole model as plain layers, where it is so simple; input and output are the first of each."""
    code: Code | None = None
    """Where there is neither graph nor layers: a module that could not be exported."""
    units: Units | None = None
    """Of all outputs; None: they are what was learned."""
    variants: tuple[Variant, ...] = ()
    golden: Asset | None = None
    """safetensors with ``input/NAME`` and ``output/NAME``: a few samples and what the model must answer."""
    tolerance: float = 1e-4
    """Largest difference from a golden output, relative to the largest absolute value of that output."""
    reference: Asset | None = None
    """Distribution of inputs and of confidence at training time (:mod:`fogline.inference.sketches`)."""
    evaluation: Asset | None = None
    """safetensors: on the held-out examples, how sure the model was (``confidence``) and whether it was right
    (``correct``). Cascades are fitted on it; no node needs it."""
    scores: Scores | None = None
    cascade: Cascade | None = None
    exits: Exits | None = None
    headline: str = ""
    metrics: dict[str, float] = {}
    lineage: Lineage = Lineage()
    format: int = FORMAT

    def encoded(self) -> bytes:
        """The card as bytes of JSON, as it is signed and sent."""
        return msgspec.json.encode(self)

    @property
    def digest(self) -> str:
        """What the card is named by."""
        return hashlib.sha256(self.encoded()).hexdigest()

    @property
    def answers(self) -> tuple[Tensor, ...]:
        """The outputs that clients are given: of a classifier with early exits only the last one, which holds the
        first sure answer."""
        if self.exits is None or self.scores is None:
            return self.outputs
        return tuple(tensor for tensor in self.outputs if tensor.name == self.scores.output)

    def assets(self) -> dict[str, Asset]:
        """Files that a node needs to serve it in full precision, by what they are."""
        named = {"weights": self.weights, "graph": self.graph, "golden": self.golden, "reference": self.reference}
        if self.exits is not None:
            named |= {
                f"graph to {name}": part for name, part in zip(self.exits.outputs, self.exits.stages, strict=False)
            }
        return {name: asset for name, asset in named.items() if asset is not None}

    def files(self) -> tuple[Asset, ...]:
        """Every file that it names: those of :meth:`assets`, of the variants and of the deltas."""
        more = [self.evaluation] if self.evaluation is not None else list[Asset]()
        more += [*(variant.graph for variant in self.variants), *(delta.asset for delta in self.deltas)]
        return (*self.assets().values(), *more)


class CardError(InputError, ValueError):
    """What should be a card is none; the text is a sentence."""


_DECODER = msgspec.json.Decoder(Card)


def read_card(data: bytes) -> Card:
    """The card of these bytes.

    Raises:
        CardError: they are none, or of another format.
    """
    if len(data) > LARGEST:
        raise CardError(f"A model card of {len(data)} bytes is refused; the largest has {LARGEST}.")
    try:
        card = _DECODER.decode(data)
    except UNREADABLE as error:
        raise CardError(f"The model card cannot be read: {error}.") from None
    if card.format != FORMAT:
        raise CardError(f"The model card has format {card.format}; this version of Fogline reads {FORMAT}.")
    return card
