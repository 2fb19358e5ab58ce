"""How a method's hooks are called: on what they can only read, and with a look at what they give.

A hook that raises, writes into what it was given or gives something of another shape or type is a bug of the method
(:class:`fogline.user_code.bugs.CodeError`), whatever the device. NumPy arrays are handed over as read-only views and
states as read-only mappings; a tensor counts how often it was written to, and is asked before and after.
"""

from __future__ import annotations

from bdb import BdbQuit
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np
from numpy.random import Generator

from fogline.training.context import DeviceContext, LocalBatch
from fogline.training.kept_on_device import Home
from fogline.training.local import LocalResult
from fogline.training.method import Array, Arrays, LocalMethod
from fogline.training.reading import read_only
from fogline.user_code.bugs import CodeError, HookNumbersError, blame, is_numeric, line_of_definition

T = TypeVar("T")


def call(method: LocalMethod, hook: str, *given: Any, numeric: bool = True) -> Any:
    """Call a hook.

    Args:
        method: whose.
        hook: which.
        given: its arguments; arrays and mappings among them can only be read.
        numeric: whether errors that numbers can cause pass, for a device to fail by them.

    Raises:
        CodeError: it raised (also what would end a program), or wrote into what it was given.
        HookNumbersError: numbers may have caused what it raised.
    """
    counted = _counted(given)
    versions = _versions(counted)
    result = guarded(method, hook, lambda: getattr(method, hook)(*[read_only(thing) for thing in given]), numeric)
    if counted and _versions(counted) != versions:
        raise wrong(method, hook, "writes into a tensor that it was given, which can only be read; work on a copy")
    return result


def guarded(method: LocalMethod, hook: str, run: Callable[[], T], numeric: bool = True) -> T:
    """What code of a hook gives; see :func:`call`."""
    try:
        return run()
    except (BdbQuit, CodeError):
        raise
    except (Exception, SystemExit) as error:
        wrong_hook = blame(name_of(method, hook), error)
        if not numeric or not isinstance(error, Exception) or not is_numeric(error):
            raise wrong_hook from error
        if isinstance(error, ArithmeticError | np.linalg.LinAlgError):
            raise HookNumbersError(wrong_hook.plain) from error
        raise  # No memory: whoever trains fewer devices at once may have enough.


def wrong(method: LocalMethod, hook: str, what: str) -> CodeError:
    """A bug that a hook did not raise itself: it is found where the hook is defined."""
    return CodeError(f"{name_of(method, hook)} {what}", line_of_definition(getattr(type(method), hook, None)))


def name_of(method: LocalMethod, hook: str) -> str:
    """A hook as people call it."""
    return f"{type(method).__name__}.{hook}"


class Watched(LocalMethod):
    """A method as engines see it: every hook is called with care, and gives what it must.

    Hooks see the shared part of a model; what is private trains as if there were no method.

    Args:
        method: the method itself.
        home: what of the model stays on devices.
    """

    def __init__(self, method: LocalMethod, home: Home | None = None) -> None:
        self.watched = method
        self._shared = None if home is None or home.part.trained.all else home.part.trained

    @property
    def affine(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the method says that its adjustment is affine."""
        return self.watched.affine

    def adjust_gradient(self, gradient: Array, weights: Array, start: Array, local: Arrays, received: Arrays) -> Array:
        """Of the gradient's shape; or, for one row, of as many rows as the other vectors have."""
        seen, shared = (gradient, weights, start), self._shared
        if shared is not None:
            seen = shared.cut(gradient), shared.cut(weights), shared.cut(start)
        adjusted = call(self.watched, "adjust_gradient", *seen, local, received)
        rows = gradient.ndim == 2 and gradient.shape[0] == 1
        self._same("adjust_gradient", adjusted, seen[0], rows)
        return adjusted if shared is None else shared.put(adjusted, gradient)

    def perturb(self, weights: Array, gradient: Array) -> Array:
        """The method's perturbation, checked to have the weights' shape."""
        shared = self._shared
        seen = weights if shared is None else shared.cut(weights)
        moved = call(self.watched, "perturb", seen, gradient if shared is None else shared.cut(gradient))
        self._same("perturb", moved, seen)
        return moved if shared is None else shared.put(moved, weights)

    def adjust_outputs(self, outputs: Array, batch: LocalBatch, device: DeviceContext) -> Array:
        """The method's adjusted outputs, checked to have the outputs' shape."""
        adjusted = call(self.watched, "adjust_outputs", outputs, batch, device)
        self._same("adjust_outputs", adjusted, outputs)
        if getattr(outputs, "requires_grad", False) and not getattr(adjusted, "requires_grad", True):
            raise wrong(self.watched, "adjust_outputs", "gives outputs that do not depend on the weights any more")
        return adjusted

    def adjust_loss(self, loss: Array, batch: LocalBatch, device: DeviceContext) -> Array:
        """One number, along which a gradient can be taken."""
        adjusted = call(self.watched, "adjust_loss", loss, batch, device)
        self._same("adjust_loss", adjusted, loss)
        if not getattr(adjusted, "requires_grad", True):
            raise wrong(self.watched, "adjust_loss", "gives a loss that does not depend on the weights any more")
        return adjusted

    def step_models(self, nested: int, rng: Generator) -> Sequence[int]:
        """Places of models that there are, each once."""
        places = tuple(call(self.watched, "step_models", nested, rng))
        if not places or len({*places}) < len(places) or not {*places} <= {*range(nested)}:
            what = f"gives {list(places)}; it must give one or more of the places 0 to {nested - 1}, each once"
            raise wrong(self.watched, "step_models", what)
        return places

    def taught_loss(self, loss: Array, outputs: Array, teacher: Array) -> Array:
        """One number, along which a gradient can be taken."""
        taught = call(self.watched, "taught_loss", loss, outputs, teacher)
        self._same("taught_loss", taught, loss)
        return taught

    def local_round(self, device: DeviceContext) -> LocalResult:
        """What the method trained by itself."""
        trained = call(self.watched, "local_round", device)
        if not isinstance(trained, LocalResult):
            raise wrong(self.watched, "local_round", f"gives {a(trained)}; it must give device.trained(module)")
        return trained

    def _same(self, hook: str, result: Array, like: Array, rows: bool = False) -> None:
        if not isinstance(result, type(like)):
            raise wrong(self.watched, hook, f"gives {a(result)}; it must give {a(like)} of shape {tuple(like.shape)}")
        if result.shape != like.shape and not (rows and result.shape[-1:] == like.shape[-1:]):
            shapes = f"shape {tuple(result.shape)} where {tuple(like.shape)} is wanted"
            raise wrong(self.watched, hook, f"gives {shapes}")
        if result.dtype is not like.dtype and "complex" in str(result.dtype):
            raise wrong(self.watched, hook, "gives complex numbers where real ones are wanted")


def watched(method: LocalMethod, home: Home | None = None) -> Watched:
    """A method as engines are to see it."""
    return method if isinstance(method, Watched) else Watched(method, home)


def a(thing: object) -> str:
    """A thing's kind, with its article."""
    name = type(thing).__name__
    return "nothing" if thing is None else f"{'an' if name[0].lower() in 'aeio' else 'a'} {name}"


def _counted(given: tuple[Any, ...]) -> list[Any]:
    """The tensors, which count how often they were written to."""
    things: list[Any] = []
    for thing in given:
        if isinstance(thing, dict):
            things += cast("dict[str, Any]", thing).values()
        elif isinstance(thing, LocalBatch | DeviceContext):
            things += thing.arrays()
        elif not isinstance(thing, np.ndarray):
            things.append(thing)
    return [thing for thing in things if hasattr(thing, "_version")]


def _versions(tensors: list[Any]) -> list[int]:
    return [tensor._version for tensor in tensors]
