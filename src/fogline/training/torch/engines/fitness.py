"""Which models and methods DP-SGD can promise something for: those whose steps take examples one by one."""

from __future__ import annotations

from torch import nn

from fogline.randomness import seeded
from fogline.training.local import LocalTraining
from fogline.training.method import LocalMethod, overrides
from fogline.training.torch.engines.mixing import seen_to_mix
from fogline.training.torch.failure import attempt
from fogline.training.torch.layout import named_tensors
from fogline.training.torch.task import TorchTask

ONE_BY_ONE = "[privacy] unit = 'example' clips each example's gradient by itself"


def unfit(task: TorchTask, method: LocalMethod, local: LocalTraining) -> str | None:
    """Why there can be no promise for single examples, as a sentence; None if there can."""
    return _of_method(method, local) or _of_model(task)


def _of_method(method: LocalMethod, local: LocalTraining) -> str | None:
    if overrides(method, "local_round"):
        return f"{ONE_BY_ONE}, and the method trains by itself (local_round), where nothing clips."
    if overrides(method, "phases"):
        return f"{ONE_BY_ONE}, and the method trains in phases, over which nobody accounts for what each one tells."
    if overrides(method, "step_models"):
        return f"{ONE_BY_ONE}, and the method draws a smaller model for a step, which examples by themselves have not."
    if overrides(method, "perturb"):
        return (
            f"{ONE_BY_ONE}, and the method moves the weights by a gradient of the whole batch before it (perturb), "
            "which nothing clips."
        )
    if local.clip_norm is not None:
        return f"{ONE_BY_ONE}, to privacy.clip; leave local.clip_norm out."
    return None


def _of_model(task: TorchTask) -> str | None:
    module = task.untrained()
    for name, layer in module.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):  # pyright: ignore[reportPrivateUsage]
            return (
                f"{ONE_BY_ONE}, and layer '{name}' ({type(layer).__name__}) mixes the examples of a batch; put "
                "GroupNorm or LayerNorm in its place."
            )
    if seen_to_mix(task):
        return f"{ONE_BY_ONE}, and in this model what comes of an example depends on the others of its batch."
    if task.keeps:
        return f"{ONE_BY_ONE}, and the model keeps something of one batch for the next beside its state."
    changed = _changed_buffer(task, module)
    if changed is not None:
        return f"{ONE_BY_ONE}, and buffer '{changed}' takes up numbers of the examples, which nothing clips."
    return None


def _changed_buffer(task: TorchTask, module: nn.Module) -> str | None:
    """The first buffer that an example in training changes; None if there is none, or there is no telling."""
    layout = task.layout
    names = [entry.name for entry in (*layout.buffers, *layout.integers)]
    if not names:
        return None
    before = {name: tensor.clone() for name, tensor in named_tensors(module).items() if name in names}
    with seeded(task.seed):
        attempt(lambda: task.forward(module.train(), task.pair()))
    after = named_tensors(module)
    return next((name for name in names if not after[name].equal(before[name])), None)
