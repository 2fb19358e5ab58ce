"""A trained model becomes a version: a card and the files that it names, exported, checked and measured.

Nothing is taken on trust: whatever a node could run (the graph, the plain layers) answers real examples here and must
give what the original gives. A difference is an error, and nothing is published.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from fogline.inference.card import Asset, Card, Code, Exits, Lineage, Units, Variant
from fogline.inference.cascade import CascadePolicyError
from fogline.inference.exits import UnfittedExits, choose, fitted, settled
from fogline.inference.golden import compare, difference, peak
from fogline.inference.packaging.evaluation import evaluated, write_evaluation
from fogline.inference.packaging.heldout import HeldOut, golden_rows, held_out, outputs_of
from fogline.inference.packaging.judging import agreement, fitted_temperature, judged, scores_of
from fogline.inference.packaging.original import ExportError, Original, original_of
from fogline.inference.packaging.stages import StagesError, stages_of
from fogline.inference.packaging.variants import VariantError, VariantName, variant_of
from fogline.inference.runtimes.base import Array, ModelError, Runtime
from fogline.inference.runtimes.dense import DenseRuntime
from fogline.inference.runtimes.onnx import OnnxRuntime
from fogline.params import Params, map_arrays, save, save_arrays
from fogline.storage.files import hash_file
from fogline.training.figures import metrics_of, sums_on_test
from fogline.training.task import Task

GOLDEN = 16
TOLERANCE = 1e-4
BATCHES = (1, 3, 64)
"""On so many examples at once every form of the model is held against the original."""
STAGED = 32
"""Examples with which its stages begin; half of them leave at every exit."""

Reference = Callable[[Card, Mapping[str, Array], Mapping[str, Array]], bytes]
"""From the card, and held-out inputs and outputs by name, to the bytes of the drift reference."""


@dataclass(frozen=True, slots=True)
class PackageOptions:
    """How a version is made."""

    lineage: Lineage = Lineage()  # noqa: RUF009 - it is frozen
    """Where it came from."""
    metrics: Mapping[str, float] | None = None
    """What is known of it; None: the task's metrics on its test set."""
    personal: tuple[str, ...] = ()
    """Tensors that every device has of its own: the test set says nothing of those in the weights, so the confidence
    is not calibrated."""
    graph: Path | None = None
    """Of an earlier version; used again if it gives what this one gives, which saves the export."""
    code: Code | None = None
    """How a job names the task; for a module that cannot be exported, it lets nodes with the code run it."""
    variants: Sequence[VariantName] = ()
    """Made beside it, with what they lose."""
    outputs: Sequence[str] = ()
    """Names of a module's outputs where it gives a tuple; empty: ``output_0``, ``output_1``, …"""
    exits: Exits | UnfittedExits | None = None
    """Of a module with several complete answers; where they are only wanted, the thresholds are fitted."""
    reference: Reference | None = None
    """Writes the drift reference."""
    golden: int = GOLDEN
    """How many samples nodes test themselves on."""
    tolerance: float = TOLERANCE
    """Largest difference from the original that is right, relative to the output's largest value."""


@dataclass(frozen=True, slots=True)
class Package:
    """A version that is not published yet."""

    card: Card
    """Version 0."""
    files: Mapping[str, Path]
    """By digest: all that the card names."""
    notes: Sequence[str] = ()
    """What people should know: what could not be made, and why."""


def package(
    task: Task,
    params: Params,
    folder: Path,
    model: str,
    options: PackageOptions = PackageOptions(),
) -> Package:
    """Make a version of a trained model.

    Golden samples are data, and they go wherever the model goes. They come from the task's central test set, never
    from a client; where there is none, they are random inputs between the smallest and the largest number of one
    client's inputs.

    Args:
        task: PyTorch's or scikit-learn's. Its test set serves the checks, the metrics, the calibration of the
            confidence and the golden samples.
        params: the trained weights.
        folder: where the files are written; it exists.
        model: the model's name.
        options: what is made beside it, and what is known of it.

    Raises:
        ModelError: the weights are not the task's or not finite; the model cannot be run or, without code, not
            exported; or a form of it gives other outputs than the original. The sentence names the output.
    """
    task, params = task.served(_checked(task, params))
    meaning = task.data.meaning
    scaled = not task.classifies and (meaning.target_scale, meaning.target_offset) != (1.0, 0.0)
    units = Units(meaning.target_scale, meaning.target_offset, meaning.target_unit) if scaled else None
    original, exits = original_of(task, params, options.outputs, units), options.exits
    held, out = held_out(task, original), _OutputFolder(folder)
    save(folder / "weights.safetensors", params)
    card = Card(
        model=model,
        created=time.time(),
        inputs=original.inputs,
        outputs=original.outputs,
        weights=out.take("weights.safetensors"),
        personal=options.personal,
        dense=original.dense,
        units=units,
        exits=_unsure_of_all(exits) if isinstance(exits, UnfittedExits) else exits,
        tolerance=options.tolerance,
        headline=task.headline,
        lineage=options.lineage,
    )
    card = _scored(card, task, held)
    if isinstance(exits, UnfittedExits):
        card = _with_exits(card, exits, held)
    answers = held.outputs
    if card.exits is not None and card.scores is not None:
        chosen = choose(card.exits, card.scores, held.outputs)
        answers = {card.scores.output: chosen.scores}
        left = np.bincount(chosen.exits, minlength=len(card.exits.outputs))
        shares = tuple((left / held.count).tolist())
        card = msgspec.structs.replace(card, exits=msgspec.structs.replace(card.exits, shares=shares))
    found = _metrics(card, task, params, held, answers) if options.metrics is None else {**options.metrics}
    card = msgspec.structs.replace(card, metrics=found)
    card = _with_graph(card, out, original, held, options.graph, options.code)
    if card.exits is not None and card.scores is not None and card.graph is not None:
        card = _with_stages(card, card.exits, out, held)
    if card.dense:
        _hold(card, DenseRuntime(card, out.locate), held, "The plain layers do")
    card = _with_golden(card, out, task, held, options.golden)
    if card.scores is not None and (labels := _labels(card, held)) is not None:
        write_evaluation(folder / "evaluation.safetensors", evaluated(card.scores, answers, labels))
        card = msgspec.structs.replace(card, evaluation=out.take("evaluation.safetensors"))
    for name in options.variants if card.graph else ():
        card = _with_variant(card, out, task, held, answers, name)
    if options.reference is not None:
        data = options.reference(card, held.x, answers)
        card = msgspec.structs.replace(card, reference=out.write("reference.bin", data))
    return Package(card, out.files, out.notes)


@dataclass(slots=True)
class _OutputFolder:
    """Where the files come together."""

    folder: Path
    files: dict[str, Path] = field(default_factory=dict[str, Path])
    notes: list[str] = field(default_factory=list[str])

    def take(self, name: str) -> Asset:
        digest, size = hash_file(self.folder / name)
        self.files[digest] = self.folder / name
        return Asset(digest, size)

    def write(self, name: str, data: bytes) -> Asset:
        (self.folder / name).write_bytes(data)
        return self.take(name)

    def locate(self, asset: Asset) -> Path:
        return self.files[asset.digest]


def _checked(task: Task, params: Params) -> Params:
    """The weights in the task's layout."""
    try:
        params = params.laid_out(task.spec)
    except ValueError as error:
        raise ModelError(
            f"These weights are of another model than task '{task.name}': {len(params.spec.entries)} tensors with "
            f"{params.spec.floats} numbers; the task's has {len(task.spec.entries)} with {task.spec.floats}, "
            "or other names and types."
        ) from error
    for name, array in params.arrays().items():
        if not np.isfinite(array).all():
            raise ModelError(f"Tensor '{name}' of the weights is not finite; such a model is not published.")
    return params


def _scored(card: Card, task: Task, held: HeldOut) -> Card:
    """With what its class scores are, calibrated."""
    if card.exits is not None:
        unknown = [name for name in card.exits.outputs if name not in held.outputs]
        if unknown or len(card.exits.thresholds) != len(card.exits.outputs) - 1:
            raise ModelError(
                f"The exits {', '.join(card.exits.outputs)} need a threshold each but the last, and must be among the "
                f"outputs {', '.join(held.outputs)}."
            )
    if not task.classifies:
        return card
    name = _answer(card)
    scores = scores_of(name, held.outputs[name], task)
    if scores is not None and scores.kind == "logits" and (labels := _labels(card, held)) is not None:
        fitted = fitted_temperature(held.outputs[name], labels)
        scores = msgspec.structs.replace(scores, temperature=fitted)
    return msgspec.structs.replace(card, scores=scores)


def _labels(card: Card, held: HeldOut) -> Array | None:
    """What tells how sure the model may be; None where the examples do not."""
    return None if held.y is None or held.y.ndim != 1 or card.personal else held.y


def _unsure_of_all(wanted: UnfittedExits) -> Exits:
    """Exits of which only the last answers, until the others' thresholds are fitted."""
    return Exits(wanted.outputs, tuple(2.0 for _ in wanted.outputs[1:]))


def _with_exits(card: Card, wanted: UnfittedExits, held: HeldOut) -> Card:
    if card.scores is None or held.y is None or held.y.ndim != 1:
        raise ModelError("Early exits need class scores and a test set, to know when an exit is sure enough.")
    try:
        return msgspec.structs.replace(card, exits=fitted(wanted, card.scores, held.outputs, held.y))
    except CascadePolicyError as error:
        raise ModelError(str(error)) from error


def _answer(card: Card) -> str:
    """The output that is the model's answer: the last exit, or the first output."""
    return card.exits.outputs[-1] if card.exits else card.outputs[0].name


def _metrics(card: Card, task: Task, params: Params, held: HeldOut, answers: Mapping[str, Array]) -> dict[str, float]:
    if task.data.test is None or held.y is None:
        return {}
    if len(card.outputs) == 1:
        return metrics_of(task, sums_on_test(task, params, task.data.test))
    return judged(answers[_answer(card)], held.y, task)


def _with_graph(
    card: Card, out: _OutputFolder, original: Original, held: HeldOut, earlier: Path | None, code: Code | None
) -> Card:
    """The earlier version's graph if it is this model's as well, or else a new one; or the code, if there is none."""
    path = out.folder / "graph.onnx"
    if earlier is not None:
        path.write_bytes(earlier.read_bytes())
        reused = msgspec.structs.replace(card, graph=out.take(path.name))
        try:
            _hold(reused, OnnxRuntime(reused, out.locate), held, "The earlier graph does")
        except ModelError as error:
            out.notes.append(f"The model was exported anew. {error}")
            del out.files[reused.assets()["graph"].digest]
        else:
            return reused
    try:
        path.write_bytes(original.graph().SerializeToString(deterministic=True))
    except ExportError as error:
        if code is None and not card.dense:
            raise
        out.notes.append(f"{error} It runs {'as plain layers' if card.dense else 'in PyTorch, with its code'} only.")
        return card if card.dense else msgspec.structs.replace(card, code=code)
    card = msgspec.structs.replace(card, graph=out.take(path.name))
    _hold(card, OnnxRuntime(card, out.locate), held, "The exported graph does")
    return card


def _hold(card: Card, runtime: Runtime, held: HeldOut, what: str) -> None:
    """Hold a form of the model against the original, on real examples and batches of several sizes."""
    peaks = {name: peak(array) for name, array in held.outputs.items()}
    try:
        for size in BATCHES:
            rows = np.arange(size) % held.count
            given = runtime.run(held.rows(rows))
            compare({name: array[rows] for name, array in held.outputs.items()}, given, card.tolerance, peaks)
    except ModelError as error:
        raise ModelError(f"{what} not answer as the trained model does. {error}") from error
    finally:
        runtime.close()


def _with_stages(card: Card, exits: Exits, out: _OutputFolder, held: HeldOut) -> Card:
    """With its graph in parts, if they give what the whole gives for some of the examples."""
    assert card.graph is not None
    assert card.weights is not None
    weights, before = map_arrays(out.locate(card.weights)), dict(out.files)
    try:
        parts = stages_of(out.locate(card.graph).read_bytes(), weights, held.x, exits.outputs)
        stages = tuple(out.write(f"stage-{place}.onnx", part) for place, part in enumerate(parts))
        staged = msgspec.structs.replace(card, exits=msgspec.structs.replace(exits, stages=stages))
        _hold_stages(exits, OnnxRuntime(staged, out.locate, staged=True), card.tolerance, held)
    except (StagesError, ModelError) as error:
        out.notes.append(f"Early exits spare no work: all of the model is run for every example. {error}")
        out.files = before
        return card
    return staged


def _hold_stages(exits: Exits, runtime: Runtime, tolerance: float, held: HeldOut) -> None:
    """Hold stages against the original, while fewer and fewer examples stay."""
    peaks = {name: peak(array) for name, array in held.outputs.items()}
    rows = np.arange(STAGED) % held.count
    values = held.rows(rows)
    try:
        for name, stage in zip(exits.outputs, runtime.stages, strict=True):
            values |= stage(values)
            compare({name: held.outputs[name][rows]}, values, tolerance, peaks)
            rows, values = rows[::2], {name: array[::2] for name, array in values.items()}
    finally:
        runtime.close()


def _with_golden(card: Card, out: _OutputFolder, task: Task, held: HeldOut, count: int) -> Card:
    rows = golden_rows(held, task.data.classes, count)
    samples = {f"input/{name}": array for name, array in held.rows(rows).items()}
    samples |= {f"output/{name}": array[rows] for name, array in held.outputs.items()}
    save_arrays(out.folder / "golden.safetensors", samples)
    return msgspec.structs.replace(card, golden=out.take("golden.safetensors"))


def _with_variant(
    card: Card, out: _OutputFolder, task: Task, held: HeldOut, answers: Mapping[str, Array], name: VariantName
) -> Card:
    """With a variant and what it loses."""
    assert card.graph is not None
    assert card.weights is not None
    path = out.folder / f"{name}.onnx"
    weights = map_arrays(out.locate(card.weights))
    try:
        path.write_bytes(variant_of(name, out.locate(card.graph).read_bytes(), weights, held.x))
    except VariantError as error:
        out.notes.append(str(error))
        return card
    variant = Variant(name, out.take(path.name), 0.0)
    runtime = OnnxRuntime(msgspec.structs.replace(card, variants=(variant,)), out.locate, variant=name)
    given, output = outputs_of(runtime, held), _answer(card)
    runtime.close()
    loss = max(difference(right, given[n], peak(right)) for n, right in held.outputs.items())
    answer = settled(card, given)[output]
    variant = msgspec.structs.replace(
        variant,
        agreement=agreement(answers[output], answer, task),
        metrics={} if held.y is None else judged(answer, held.y, task),
        tolerance=max(2 * loss, card.tolerance),
    )
    return msgspec.structs.replace(card, variants=(*card.variants, variant))
