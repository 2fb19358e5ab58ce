"""What an engine must know of an algorithm: how it adjusts a local step.

The hooks are pure functions of arrays. They work on the last axis: an engine may call them with one client's
vectors (P,) or with a stacked cohort's (K, P), where P counts the trainable parameters. They use only operators
and methods that numpy arrays and PyTorch tensors share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from numpy.random import Generator

from fogline.params import State, Vector
from fogline.training.context import DeviceContext, LocalBatch, RoundContext
from fogline.training.local import LocalResult
from fogline.training.phase import Phases, TrainingPhase
from fogline.training.plan import Plan

Array = Any
"""A numpy array or a tensor of the backend, on the engine's device."""

Arrays = dict[str, Any]


class LocalMethod:
    """Plain local training: every hook at its neutral element.

    An engine looks at which hooks a subclass overrides (:func:`overrides`) and takes the faster path where
    one is left alone.
    """

    affine: ClassVar[bool] = False
    """Declares that ``adjust_gradient`` is ``gradient + a * weights + b`` with a and b free of both (a scalar
    or per parameter), so that engines may fuse it: b is read at zero gradient and zero weights, a from
    weights of one."""

    def work(self, plan: Plan, device: RoundContext) -> Plan:
        """How much a device trains in a round: ``plan`` as the job has it, or another (``plan.replace(...)``).

        Asked before the model comes, so that the virtual clock knows how long it takes.
        """
        return plan

    def prepare(self, device: DeviceContext) -> State:
        """The device's state before training."""
        return device.local

    def begin(self, device: DeviceContext) -> Vector:
        """Where training starts, (P,)."""
        return device.model

    def phases(self, device: DeviceContext) -> Phases:
        """Local training in several parts: ``end = yield TrainingPhase(...)``, as often as wanted, in any engine.

        Returns what the device keeps, as ``report`` sees it. The steps of all phases together are those of the plan: a
        method that takes more says so in ``work``.
        """
        yield TrainingPhase()

    def fine_tune(self, device: DeviceContext) -> Phases:
        """The training after which a device is judged, where the job asks for some (``evaluation.fine_tune``): nothing
        of it is kept or sent."""
        yield TrainingPhase()

    def local_round(self, device: DeviceContext) -> LocalResult:
        """A whole local round instead of the engine's steps, in plain PyTorch, on the reference engine.

        It trains ``device.module(weights)`` on ``device.batches()``, and gives ``device.trained(module)``. The hooks
        of a step are not called, so a method that has any of them beside it is refused.
        """
        raise RuntimeError("where local_round is left alone, engines train step by step")

    # The hooks of a step: see STEP_HOOKS.

    def adjust_gradient(self, gradient: Array, weights: Array, start: Array, local: Arrays, received: Arrays) -> Array:
        """The gradient that the optimizer sees, (..., P)."""
        return gradient

    def perturb(self, weights: Array, gradient: Array) -> Array:
        """Where the gradient is taken, (..., P), if not at the weights (sharpness-aware methods)."""
        return weights

    def adjust_outputs(self, outputs: Array, batch: LocalBatch, device: DeviceContext) -> Array:
        """One device's outputs (B, ..., classes) before the loss."""
        return outputs

    def adjust_loss(self, loss: Array, batch: LocalBatch, device: DeviceContext) -> Array:
        """The loss of one device's batch, a scalar tensor.

        ``batch.outputs`` are those that the loss was taken of.
        """
        return loss

    def step_models(self, nested: int, rng: Generator) -> Sequence[int]:
        """Which models within a device's own a step trains: 0 is its own, ``nested - 1`` the smallest.

        The gradients of all that are named add up. Loss and metrics are those of the first, which teaches the others
        (see ``taught_loss``). ``rng`` is seeded by job, device and round.
        """
        return (0,)

    def taught_loss(self, loss: Array, outputs: Array, teacher: Array) -> Array:
        """The loss of a model that ``step_models`` names after the first: of its outputs (B, ..., classes), where
        ``teacher`` are those of the first, without gradient."""
        return loss


STEP_HOOKS = ("adjust_gradient", "perturb", "adjust_outputs", "adjust_loss", "step_models", "taught_loss")
"""What engines call in every step."""


def overrides(method: LocalMethod, hook: str) -> bool:
    """Whether an algorithm adjusts that hook."""
    kind = type(getattr(method, "watched", method))  # An engine's view of a method overrides them all.
    return getattr(kind, hook) is not getattr(LocalMethod, hook)
