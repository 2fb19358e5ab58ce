"""Whether a method is what it means to be: its hooks can be called, and no name only looks like one."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from types import CodeType
from typing import Any, cast, get_args

from fogline.algorithms.base import DEVICE_HOOKS, Algorithm
from fogline.modes import Mode
from fogline.plugins import nearest, suggest
from fogline.settings import LocalSettings
from fogline.training.method import STEP_HOOKS

HOOKS = (
    *DEVICE_HOOKS,
    "broadcast",
    "receive",
    "server_update",
    "inner_update",
    "evaluation_model",
    "group_update",
    "staleness_weight",
)
"""What a method may override."""
ADJUSTING = tuple(hook for hook in HOOKS if hook.startswith("adjust_"))
ALIKE = 0.75
"""How alike a name must be to a hook's to be taken for a slip of the pen."""
TELLING = 3
"""Parameters that a function must have at least for a hook to be known by them, whatever the function is called."""


def check_method(method: type[Algorithm]) -> None:
    """Refuse a method whose hooks cannot be called, that defines what looks like a hook and is none, or whose settings
    are none.

    Raises:
        ValueError: one sentence that names the class and the function.
    """
    if method.mode not in get_args(Mode):
        raise ValueError(f"{method.__name__}.mode is {method.mode!r}; there are {', '.join(get_args(Mode))}")
    buffer = cast("object", method.buffer)  # Of a class that no type checker has seen.
    if buffer is not None and not (isinstance(buffer, int) and buffer > 0):
        raise ValueError(
            f"{method.__name__}.buffer is {method.buffer!r}; it must be a number of reports, 1 or more, or None"
        )
    _check_own_round(method)
    _check_steps(method)
    own = [kind for kind in method.__mro__ if kind not in Algorithm.__mro__]
    for kind in own:
        for name, thing in vars(kind).items():
            if name in HOOKS:
                _check_hook(kind, name, thing)
            elif not name.startswith("_") and not hasattr(Algorithm, name) and not _is_called(name, own):
                _check_name(kind, name, thing)


def _check_own_round(method: type[Algorithm]) -> None:
    """A local round of one's own takes the place of the engine's steps, and so of what is called in them."""
    if method.local_round is Algorithm.local_round:
        return
    instead = (*STEP_HOOKS, "phases")
    lost = next((hook for hook in instead if getattr(method, hook) is not getattr(Algorithm, hook)), None)
    if lost is not None:
        raise ValueError(
            f"{method.__name__} trains by itself (local_round), so that its {lost} would never be called: do in "
            f"local_round what it does, and leave it out ({lost} = FedAvg.{lost}, if it is inherited)"
        )


def _check_steps(method: type[Algorithm]) -> None:
    """Where a step trains several models, there are no outputs, loss or weights that are the step's."""
    if method.step_models is Algorithm.step_models:
        return
    others = ("perturb", "adjust_outputs", "adjust_loss")
    lost = next((hook for hook in others if getattr(method, hook) is not getattr(Algorithm, hook)), None)
    if lost is not None:
        raise ValueError(
            f"{method.__name__} names the models of a step (step_models), of which its {lost} would see none; leave "
            f"one of the two out (taught_loss changes the loss of smaller models)"
        )


def check_plain_sgd(local: LocalSettings, why: str) -> None:
    """Refuse local training that is not plain SGD.

    Raises:
        ValueError: it has another optimizer, or momentum; ``why``: what of the method rests on it.
    """
    if local.optimizer != "sgd" or local.momentum:
        has = f"optimizer is '{local.optimizer}'" if local.optimizer != "sgd" else f"momentum is {local.momentum:g}"
        raise ValueError(f"local.{has}, but the method wants plain SGD without momentum: {why}")


def _check_hook(kind: type, name: str, thing: Any) -> None:
    subject, wanted = f"{kind.__name__}.{name}", _parameters(getattr(Algorithm, name))
    bound = thing.__get__(object(), kind) if hasattr(thing, "__get__") else thing
    if not callable(bound):
        raise ValueError(f"{subject} is {bound!r}, but {name} is a hook: def {name}(self, {', '.join(wanted)})")
    try:
        taken = inspect.signature(bound)
        taken.bind(*wanted)
    except TypeError:
        raise ValueError(
            f"{subject} takes {_listed(inspect.signature(bound))}, but is called with ({', '.join(wanted)}): "
            f"def {name}(self, {', '.join(wanted)})"
        ) from None
    for own, theirs in zip(taken.parameters, wanted, strict=False):
        if own != theirs and own in wanted:
            raise ValueError(
                f"{subject} takes '{own}' where '{theirs}' is handed over: def {name}(self, {', '.join(wanted)})"
            )


def _check_name(kind: type, name: str, thing: Any) -> None:
    if not (inspect.isfunction(thing) or isinstance(thing, staticmethod | classmethod)):
        return
    meant = _taking_the_same(thing, kind)
    if nearest(name, HOOKS, ALIKE) or name.startswith("adjust_"):
        meant = ADJUSTING if name.startswith("adjust_") else HOOKS
    if meant:
        raise ValueError(
            f"{kind.__name__}.{name} looks like a hook, and there is none of that name (a function of your own may be "
            f"called _{name}){suggest(name, meant, ALIKE)}"
        )


def _is_called(name: str, kinds: Iterable[type]) -> bool:
    """Whether another function of a method calls one of that name: it is a helper, and no slip of the pen."""
    others = (thing for kind in kinds for own, thing in vars(kind).items() if own != name)
    return any(name in _names(getattr(getattr(thing, "__func__", thing), "__code__", None)) for thing in others)


def _names(code: Any) -> set[str]:
    """What the code of a function looks up by name, also in functions within it."""
    if not isinstance(code, CodeType):
        return set()
    return set(code.co_names).union(*map(_names, code.co_consts))


def _taking_the_same(thing: Any, kind: type) -> tuple[str, ...]:
    """Hooks that take what a function takes, by the same names: it was meant for one of them, under another name."""
    if not inspect.isfunction(getattr(thing, "__func__", thing)):
        return ()  # What is written in C does not say what it takes.
    taken = list(inspect.signature(thing.__get__(object(), kind)).parameters)
    if len(taken) < TELLING:
        return ()
    return tuple(hook for hook in HOOKS if _parameters(getattr(Algorithm, hook)) == taken)


def _parameters(hook: Any) -> list[str]:
    return list(inspect.signature(hook).parameters)[1:]


def _listed(signature: inspect.Signature) -> str:
    return f"({', '.join(signature.parameters)})"
