"""What the engines of the PyTorch backend share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from fogline.training.local import ClientJob, LocalResult, LocalTraining
from fogline.training.method import LocalMethod, overrides
from fogline.training.task import Engine, Task
from fogline.training.torch.engines.fitness import unfit
from fogline.training.torch.task import TorchTask


class TorchEngine(Engine):
    """An engine for a :class:`TorchTask`.

    What happens in a step, in every engine: the loss and its gradient at the weights (or where ``perturb``
    puts them); clipping to ``clip_norm`` over all trainable parameters; ``adjust_gradient``; the optimizer with
    weight decay. So clipping bounds what the data can do in a step, and the method adjusts after it.

    With ``local.privacy`` (DP-SGD), a step's gradient is the noisy sum of its examples' clipped gradients, divided by
    how many examples are expected in a step; what comes after is the same. The method's hooks on outputs and losses see
    one example at a time.
    """

    clips_examples = True

    def __init__(self, task: TorchTask, method: LocalMethod, local: LocalTraining) -> None:
        self.task = task
        self.method = method
        self.local = local
        self.adjusts_gradient = overrides(method, "adjust_gradient")
        self.perturbs = overrides(method, "perturb")
        self.adjusts_outputs = overrides(method, "adjust_outputs")
        self.adjusts_loss = overrides(method, "adjust_loss")
        self.nests = overrides(method, "step_models")
        self.sees = self.adjusts_outputs or self.adjusts_loss  # What a device's context holds.

    @classmethod
    def refuses(cls, task: Task, method: LocalMethod, local: LocalTraining) -> str | None:
        """Only what is not PyTorch."""
        if not isinstance(task, TorchTask):
            return f"it trains PyTorch models, and this is a {type(task).__name__}."
        if task.gives_several and overrides(method, "adjust_outputs"):
            return (
                "its method changes outputs that are one tensor; this model gives several, or an object that holds it."
            )
        if local.batch_size is not None and local.batch_size < local.smallest_batch:
            return f"batch_size is {local.batch_size}, and the model wants {local.smallest_batch} examples at least."
        if local.privacy is not None and (why := unfit(task, method, local)):
            return why
        return cls.refuses_task(task, method, local)

    @classmethod
    def refuses_task(cls, task: TorchTask, method: LocalMethod, local: LocalTraining) -> str | None:
        """Why it cannot run that PyTorch job; None if it can."""
        return None

    @abstractmethod
    def train(self, jobs: Sequence[ClientJob]) -> list[LocalResult]:
        """Train every device of the cohort."""
