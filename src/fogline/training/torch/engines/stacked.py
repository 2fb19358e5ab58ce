"""Engines that hold the weights of several devices in one tensor and step them together."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from fogline.randomness import seeded
from fogline.training.example_privacy import ExamplePrivacy
from fogline.training.local import ClientJob, LocalResult, LocalTraining
from fogline.training.method import LocalMethod, overrides
from fogline.training.shuffling import Shuffler
from fogline.training.torch.checking.side_effects import gradient_hooks_of, watched
from fogline.training.torch.engines.base import TorchEngine
from fogline.training.torch.engines.mixing import mixes_examples
from fogline.training.torch.engines.tables import shared_table
from fogline.training.torch.failure import attempt, failed, results, too_few
from fogline.training.torch.features import Features
from fogline.training.torch.kernels import Graph
from fogline.training.torch.layout import as_tensor
from fogline.training.torch.outputs.answers import several_of
from fogline.training.torch.outputs.losses import IGNORED
from fogline.training.torch.steps.affine import affine
from fogline.training.torch.steps.by_example import Clipping, GhostClipping, NoisySteps, SingleClipping
from fogline.training.torch.steps.cohort import GATHERED, Batch, Cohort, DeviceExamples, labels_of
from fogline.training.torch.steps.elsewhere import DeviceElsewhere, Elsewhere, SharedElsewhere
from fogline.training.torch.steps.loss_gradient import Gradient, Head, Terms, Vectors, losses_of
from fogline.training.torch.steps.nested_steps import NestedSteps
from fogline.training.torch.steps.optimizers import Collect, Fused, Resting, Sink, clip, optimizer
from fogline.training.torch.steps.program import Program, TracedProgram
from fogline.training.torch.steps.stacked_weights import Blocks, flat, rows_of, split_rows, stack_rows
from fogline.training.torch.steps.step_device import StepDevice
from fogline.training.torch.sub_models.nested import nested_models
from fogline.training.torch.task import ENGINES, TorchTask

FILLED = 1024
"""Examples up to which a batch is filled up to the job's size, however few devices have: then a device's last bits do
not depend on what others have. A larger one is no larger than the largest device."""


@ENGINES.add("stacked", "Many devices at once: one batched product for all; for small models, and for GPUs.")
class Stacked(TorchEngine):
    """Many devices at once, with one batched product for all of them.

    A model of known layers runs on hand-written kernels, into whose weight gradients plain SGD is fused; any
    other module runs under ``vmap``. On kernels and a CPU, a device's numbers do not depend, to the bit, on
    which others train beside it (see ``repeatable``). Under ``vmap`` and on a GPU their last bits may, and
    dropout under ``vmap`` (and under other weights) is drawn for the chunk as a whole: there a run repeats
    only with the same chunks, which is why the chunk belongs to the job.
    """

    together = True
    single = False

    def __init__(self, task: TorchTask, method: LocalMethod, local: LocalTraining) -> None:
        super().__init__(task, method, local)
        self.graph = Graph.of(task, self.single)
        if self.single and self.adjusts_loss and self.graph is not None and self.graph.draws:
            self.graph = None  # The forward pass elsewhere draws from the stream of the module's own draws.
        if self.nests and self.graph is not None and self.graph.draws:
            self.graph = None  # All models of a step draw from one stream.
        self.program: Program = self.graph or TracedProgram(task, self.single, self.sees)
        self.head = Head(task, method, self.single)
        nested = nested_models(task) if self.nests else []
        several = len(nested) > 1  # The smallest model has none within it: all its steps are plain.
        self.nested = NestedSteps(task, self.program, method, self.head, nested, self._smaller) if several else None
        self.elsewhere = self._elsewhere() if self.sees else None
        largest = int(task.data.sizes().max())
        self._most = max(largest, FILLED)
        self._width = min(local.batch_size or largest, self._most)
        mixes = self.graph is None and not self.single and mixes_examples(task)
        whole = mixes or local.smallest_batch > 1
        self._fills = not self.single and (local.privacy is not None or not whole)
        self.clipping = self._clipping(local.privacy) if local.privacy is not None else None
        self._shuffler = Shuffler()
        self._kept: dict[int, Blocks] = {}
        self._table = shared_table(task)

    def _smaller(self, task: TorchTask) -> Program:
        """A model within the task's own."""
        graph = Graph.of(task, self.single) if self.graph is not None else None
        return graph or TracedProgram(task, self.single, False)

    def _elsewhere(self) -> Elsewhere:
        module = self.task.untrained().train()
        kernels = Graph.of(self.task, self.single) if self.graph is not None and not self.graph.draws else None
        return Elsewhere(self.task, module, Features(module), kernels)

    def _clipping(self, privacy: ExamplePrivacy) -> Clipping:
        if self.graph is not None and _tells_norms(self.graph, self.head):
            return GhostClipping(self.graph, self.head, privacy.clip)
        several = Graph.of(self.task, False) or TracedProgram(self.task, False, self.sees)
        return SingleClipping(several, Head(self.task, self.method, False), privacy.clip)

    @classmethod
    def refuses_task(cls, task: TorchTask, method: LocalMethod, local: LocalTraining) -> str | None:
        """Models of mixed or half precision, and what ``vmap`` cannot run or would run for all devices at once."""
        return (
            _refuses_method(method)
            or _refuses_model(task)
            or _refuses_nested(task, method)
            or (None if Graph.of(task, cls.single) else _refuses_vmap(task))
            or (_refuses_norms(task, method) if local.privacy else None)
        )

    @property
    def fuses(self) -> bool:
        """Whether the update can be made where the gradient is."""
        local = self.local
        plain = local.optimizer == "sgd" and not local.momentum and local.clip_norm is None and local.privacy is None
        return plain and not self.perturbs and self.nested is None and (not self.adjusts_gradient or self.method.affine)

    def train(self, jobs: Sequence[ClientJob]) -> list[LocalResult]:
        """Train devices that can step together together."""
        return self._trained(jobs, moved=False)

    def moved(self, jobs: Sequence[ClientJob]) -> list[LocalResult]:
        """Subtracts where it takes the models out, and looks at the distances only."""
        return self._trained(jobs, moved=True)

    def _trained(self, jobs: Sequence[ClientJob], moved: bool) -> list[LocalResult]:
        done: list[LocalResult | None] = [None] * len(jobs)
        parts = {i: attempt(lambda job=job: self._part(job)) for i, job in enumerate(jobs)}
        groups: dict[object, list[int]] = defaultdict(list)
        for i, part in parts.items():
            if isinstance(part, Exception):
                done[i] = failed(self.task, jobs[i], part, 0)
            elif few := too_few(part.size, self.local):
                done[i] = failed(self.task, jobs[i], few, part.size)
            else:
                groups[self._group(i, jobs[i], part)].append(i)
        for members in groups.values():
            members.sort(key=lambda i: -jobs[i].steps)
            some = [part for i in members if isinstance(part := parts[i], DeviceExamples)]
            for i, trained in zip(members, self._train_safely([jobs[i] for i in members], some, moved), strict=True):
                done[i] = trained
        return [trained for trained in done if trained is not None]

    def _part(self, job: ClientJob) -> DeviceExamples:
        if self._table is not None:
            rows = self.task.data.rows(job.client)
            return DeviceExamples(*self._table, len(rows), rows)
        passes = self.local.passes(job.steps, job.batch_size)
        examples, size = self.task.data.passes(job.client, job.seed, passes)
        return DeviceExamples(self.task.inputs(examples.array), self.task.targets(examples.y), size)

    def _group(self, index: int, job: ClientJob, part: DeviceExamples) -> object:
        """Devices with the same key step together: one rate, one batch, the same that trains, one kind of state, one
        kind of what was received; one size if batches stay ragged."""
        if self.single:
            return index
        local, received = (tuple([(n, v.shape) for n, v in state.items()]) for state in (job.local, job.received))
        return (job.learning_rate, job.batch_size, job.only, local, received, 0 if self._fills else part.size)

    def _train_safely(self, jobs: list[ClientJob], parts: list[DeviceExamples], moved: bool) -> list[LocalResult]:
        """A failure of the whole is traced to its device by training one after the other."""
        trained = attempt(lambda: self._train_group(jobs, parts, moved))
        if not isinstance(trained, Exception):
            return trained
        if len(jobs) == 1:
            return [failed(self.task, jobs[0], trained, parts[0].size)]
        pairs = zip(jobs, parts, strict=True)
        return [self._train_safely([job], [part], moved)[0] for job, part in pairs]

    def _train_group(self, jobs: list[ClientJob], parts: list[DeviceExamples], moved: bool) -> list[LocalResult]:
        low, wrong = self._check_targets(parts)
        if wrong:
            raise ValueError(wrong)
        fill = self._fills
        width = min(jobs[0].batch_size or self._width, self._most if fill else parts[0].size)
        targets, smallest = self.head.targets(low < 0), self.local.smallest_batch
        noisy = self._noisy(jobs, parts)
        samples = noisy.samples if noisy is not None else None
        cohort = Cohort(jobs, parts, width, fill, targets, self._shuffler, smallest, samples)
        # Kernels draw from generators of their own; a module draws from those that all share.
        draws = self.graph is None or self.elsewhere is not None
        with torch.no_grad(), seeded(jobs[0].seed) if draws else nullcontext():
            return StackedGroup(self, jobs, cohort, noisy).train(self._weights(parts, low), moved)

    def _noisy(self, jobs: list[ClientJob], parts: list[DeviceExamples]) -> NoisySteps | None:
        if self.clipping is None:
            return None
        return NoisySteps(self.clipping, self.local, jobs, parts)

    def _weights(self, parts: list[DeviceExamples], low: float) -> list[int]:
        """What the devices' updates count."""
        if low >= 0 and self.task.fit.ignored in ((), (IGNORED,)):
            return [part.size for part in parts]
        return [self.task.weight(part.own) * part.size // part.held for part in parts]

    def _check_targets(self, parts: list[DeviceExamples]) -> tuple[float, str | None]:
        if not self.task.classifies:
            return 0.0, None
        return self.task.wrong_targets(labels_of(parts))

    def blocks(self, clients: int) -> Blocks:
        """Memory for that many devices' weights, kept for the next cohort of as many."""
        if clients not in self._kept:
            self._kept = {} if len(self._kept) > 2 else self._kept
            layout = self.task.layout
            self._kept[clients] = Blocks(layout.trainable, clients, self.task.dtype, self.task.device)
        return self._kept[clients]


@ENGINES.add("flat", "One device at a time on a flat vector, hand-written kernels, update fused into the gradient.")
class Flat(Stacked):
    """One device at a time, on one flat vector: what ``stacked`` does, for a stack of one."""

    together = False
    single = True

    @classmethod
    def refuses_task(cls, task: TorchTask, method: LocalMethod, local: LocalTraining) -> str | None:
        """Models of mixed or half precision, and gradients that are looked at where they are summed up."""
        hook = gradient_hooks_of(task.untrained(), at_the_end=True)
        return (
            _refuses_method(method)
            or _refuses_model(task)
            or _refuses_nested(task, method)
            or (hook and f"{hook}, and it does not sum them up in the parameters.")
            or (_refuses_vmap(task) if local.privacy and Graph.of(task, False) is None else None)
        )


class StackedGroup:
    """Devices that step together, under way."""

    def __init__(self, engine: Stacked, jobs: list[ClientJob], cohort: Cohort, noisy: NoisySteps | None = None) -> None:
        self._engine, self._jobs, self._cohort, self._noisy = engine, jobs, cohort, noisy
        layout, device = engine.task.layout, engine.task.device
        head = layout.spec.trainable
        self._blocks = engine.blocks(len(jobs))
        self._starts = starts = stack_rows([job.start for job in jobs], device).to(engine.task.dtype)
        self._blocks.fill(starts[..., :head])
        only, entries = jobs[0].only, layout.trainable
        self._resting = frozenset(i for i, entry in enumerate(entries) if only is not None and entry.name not in only)
        self._vectors = Vectors(
            starts[..., :head],
            {n: stack_rows([job.local[n] for job in jobs], device) for n in jobs[0].local},
            {n: stack_rows([job.received[n] for job in jobs], device) for n in jobs[0].received},
            len(jobs),
        )
        self._shared: SharedElsewhere | None = None
        self._devices = self._as_seen(engine.elsewhere) if engine.elsewhere is not None else []
        buffers = stack_buffers(engine.task, jobs, starts)
        engine.program.begin([job.seed for job in jobs], self._blocks.tensors, buffers)
        if engine.clipping is not None:
            engine.clipping.begin(buffers)
        if engine.nested is not None:
            engine.nested.begin(jobs)

    def _as_seen(self, elsewhere: Elsewhere) -> list[StepDevice]:
        """The devices as the hooks of a step see them."""
        task, program, devices = self._engine.task, self._engine.program, list[StepDevice]()
        handed = [self._vectors.start, *self._vectors.received.values()]
        if len(self._jobs) > 1:
            self._shared = SharedElsewhere(elsewhere, [rows for rows in handed if rows.ndim == 1])
        for i, job in enumerate(self._jobs):

            def own(i: int = i) -> dict[str, Tensor]:
                return {name: buffer[i] for name, buffer in program.buffers().items()}

            functions = DeviceElsewhere(task, elsewhere, own, self._shared, i)
            devices.append(StepDevice(task, job, *self._vectors.of(i), functions))
        return devices

    def train(self, sizes: list[int], moved: bool) -> list[LocalResult]:
        """All steps, then the results: where the devices came to, or how far they ``moved``."""
        advance = self._fused() if self._engine.fuses else self._collected()
        losses = self._table([advance(batch) for batch in self._cohort.batches()])
        ends, counters = self._ends(moved)
        return results(self._engine.task, self._jobs, ends, counters, sizes, losses, moved)

    def _table(self, terms: list[Terms]) -> Tensor:
        """Losses (T, K) by steps and devices, zero after a device's last step. Added up here once for many steps."""
        table = torch.zeros(len(terms), len(self._jobs), dtype=torch.float64, device=self._engine.task.device)
        first = 0
        for losses in losses_of(terms):
            table[first : first + len(losses), : losses.shape[1]] = losses
            first += len(losses)
        return table

    def _fused(self) -> Callable[[Batch], Terms]:
        """A step in which every weight is moved as soon as its gradient is known; gives the terms of the losses."""
        engine, tensors = self._engine, self._blocks.tensors
        adjustment = affine(engine.method, self._vectors, tensors) if engine.adjusts_gradient else None
        sink: Sink = Fused(tensors, self._jobs[0].learning_rate, engine.local.weight_decay, adjustment)
        if self._resting:
            sink = Resting(sink, self._resting)
        return lambda batch: self._differentiate(batch, self._blocks.first(batch.x.shape[0]), sink).terms

    def _collected(self) -> Callable[[Batch], Terms]:
        """A step that gathers the whole gradient first."""
        engine, method = self._engine, self._engine.method
        rule = optimizer(self._blocks.tensors, engine.local, self._jobs[0].learning_rate)
        gather = self._gathering() if self._noisy is None else self._noisy.bind(self._devices)

        def advance(batch: Batch) -> Terms:
            clients = batch.x.shape[0]
            weights = self._blocks.first(clients)
            terms, gradients = gather(batch, weights)
            if engine.adjusts_gradient:
                vectors = self._vectors.first(clients)
                adjusted = method.adjust_gradient(
                    rows_of(gradients), rows_of(weights), vectors.start, vectors.local, vectors.received
                )
                gradients = split_rows(adjusted, weights)
            rule.step(gradients, self._resting)
            return terms

        return advance

    def _gathering(self) -> Callable[[Batch, list[Tensor]], tuple[Terms, list[Tensor]]]:
        """The terms of the losses and the gradients, clipped."""
        engine, collect = self._engine, Collect(len(self._blocks.tensors))
        sink = Resting(collect, self._resting, self._blocks.tensors) if self._resting else collect

        def gather(batch: Batch, weights: list[Tensor]) -> tuple[Terms, list[Tensor]]:
            if engine.nested is not None:
                terms, gradients = engine.nested(batch, weights)
            else:
                terms = self._differentiate(batch, weights, sink).terms
                if engine.perturbs:
                    moved = engine.method.perturb(rows_of(weights), rows_of(collect.taken()))
                    self._differentiate_elsewhere(batch, weights, moved, sink)
                gradients = collect.taken()
            norm = engine.local.clip_norm
            return terms, gradients if norm is None else clip(gradients, norm)

        return gather

    def _differentiate(self, batch: Batch, weights: list[Tensor], sink: Sink) -> Gradient:
        engine = self._engine
        outputs, features = engine.program.forward(weights, batch.x, batch.counts)
        if self._shared is not None:
            self._shared.step(batch.x)
        gradient = engine.head(outputs, batch, self._devices, features)
        engine.program.backward(gradient.outputs, gradient.features, sink)
        return gradient

    def _differentiate_elsewhere(self, batch: Batch, weights: list[Tensor], moved: Tensor, sink: Sink) -> None:
        """Take the gradient where the method ``moved`` the weights to, and put them back."""
        before = [weight.clone() for weight in weights]
        for weight, target in zip(weights, split_rows(moved, weights), strict=True):
            weight.copy_(target)
        self._differentiate(batch, weights, sink)
        for weight, value in zip(weights, before, strict=True):
            weight.copy_(value)

    def _ends(self, moved: bool) -> tuple[Tensor, Tensor]:
        """Vectors (K, floats), or how far they ``moved``, and counters (K, integers) after training."""
        layout, clients, buffers = self._engine.task.layout, len(self._jobs), self._engine.program.buffers()
        parts = self._blocks.parts()
        parts += [flat(buffers[e.name]).to(self._engine.task.dtype) for e in layout.buffers]
        ends = self._room(clients, layout.spec.floats)
        if moved and ends.numel() > GATHERED:
            widths = [part.shape[1] for part in parts]
            starts = self._starts.split(widths, -1)
            for part, start, room in zip(parts, starts, ends.split(widths, 1), strict=True):
                torch.sub(part, start, out=room)
        else:
            torch.cat(parts, 1, out=ends)
            if moved:  # A second pass over what lies in the processor's cache takes less than many operations.
                ends.sub_(self._starts)
        integers = [flat(buffers[e.name]).long() for e in layout.integers]
        counters = torch.cat(integers, 1) if integers else torch.zeros(clients, 0, dtype=torch.int64)
        return ends, counters

    def _room(self, clients: int, floats: int) -> Tensor:
        """(K, floats) to be written."""
        task = self._engine.task
        if task.device.type != "cpu":
            return torch.empty(clients, floats, dtype=task.dtype, device=task.device)
        memory = self._engine.memory(clients * floats, str(task.dtype).removeprefix("torch."))
        return torch.from_numpy(memory).view(clients, floats)


def stack_buffers(task: TorchTask, jobs: Sequence[ClientJob], starts: Tensor) -> dict[str, Tensor]:
    """The devices' buffers and counters by name, (K, *shape) each, in their own types."""
    layout = task.layout
    if not layout.buffers and not layout.integers:
        return {}
    counters = torch.stack([as_tensor(job.counters, task.device) for job in jobs])
    rows = starts.expand(len(jobs), -1)
    stacked: dict[str, Tensor] = {}
    for entry in [*layout.buffers, *layout.integers]:
        source = rows if entry.is_float else counters
        values = source[:, layout.spec.slices[entry.name]].reshape(len(jobs), *entry.shape)
        stacked[entry.name] = values.to(getattr(torch, entry.dtype), copy=True)
    return stacked


def _refuses_method(method: LocalMethod) -> str | None:
    if overrides(method, "local_round"):
        return "its method trains by itself (local_round), which only 'loop' lets it do."
    return None


def _refuses_nested(task: TorchTask, method: LocalMethod) -> str | None:
    if not overrides(method, "step_models"):
        return None
    layout = task.layout
    if layout.buffers or layout.integers or task.keeps or task.gives_several:
        return (
            "its method draws a smaller model for a step, and this model has buffers, frozen parameters or several "
            "outputs, or keeps something beside its state."
        )
    return None


def _tells_norms(graph: Graph, head: Head) -> bool:
    """Whether one backward pass gives the norm of each example's gradient."""
    return graph.by_example and head.by_example and not head.adjusts_loss


def _refuses_model(task: TorchTask) -> str | None:
    if task.gives_several and not _stand_side_by_side(task):
        return (
            "it trains models that give one tensor, or several of one shape by cross_entropy of labels; this one gives "
            "others, or an object that holds it."
        )
    if task.takes_several:
        return "it trains models that take one array; this one takes several."
    types = {entry.dtype for entry in task.spec.entries if entry.is_float}
    if len(types) == 1 and types <= {"float32", "float64"}:
        return None
    return f"it trains models that are float32 or float64 throughout; this one has {', '.join(sorted(types))}."


def _stand_side_by_side(task: TorchTask) -> bool:
    """Whether several answers can be one tensor, whose loss is the mean over them."""
    labelled = task.loss == "cross_entropy" and not task.has_shares and not task.gives_logits
    return labelled and len({tuple(answer.shape) for answer in several_of(task.gives())}) == 1


def _refuses_norms(task: TorchTask, method: LocalMethod) -> str | None:
    graph = Graph.of(task, False)
    if graph is not None and _tells_norms(graph, Head(task, method, False)):
        return None
    return (
        "it clips the examples of several devices by the norms that layers with kernels give, and this model, loss or "
        "method goes past them."
    )


def _refuses_vmap(task: TorchTask) -> str | None:
    """Tries the model on two examples of two devices."""
    program = TracedProgram(task, False, False)
    hook = gradient_hooks_of(program.module)
    if hook:
        return f"{hook}, and it trains other parameters than the module's own."
    start = task.initial(0)
    job = ClientJob(0, start.vector, start.counters, 1, 0.0, 0)
    rows = torch.as_tensor(start.vector, device=task.device).expand(2, -1)
    blocks = Blocks(task.layout.trainable, 2, task.dtype, task.device)
    blocks.fill(rows[:, : task.spec.trainable])
    x = task.pair()

    def once() -> None:
        program.begin([0, 0], blocks.tensors, stack_buffers(task, [job, job], rows))
        outputs, _ = program.forward(blocks.tensors, torch.stack([x, x]))
        program.backward(torch.zeros_like(outputs), None, Collect(len(blocks.tensors)))

    with watched(program.module) as seen, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")  # Whether it pays is measured.
        error = attempt(once)
    if isinstance(error, Exception):
        reason = str(error).strip().splitlines()[0]
        return f"the model has layers without a stacked kernel, and vmap cannot run it ({reason})."
    if seen.what:
        return f"the model's forward pass {seen.what}, and devices that step together would share that."
    return None
