"""A digest of code and what it reaches: of modules, losses and methods, as they are in memory now.

Two that have the same digest do the same. The reverse need not hold: what cannot be told for sure has no digest.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor  # PyTorch has no public way to ask.

import fogline.training

KNOWN = frozenset({"torch", "numpy", "fogline", "builtins", *sys.stdlib_module_names}) - {"__main__"}
"""Packages whose code is told by their version."""
MOST = 20_000
"""Values that are looked at; what reaches more has no digest."""
PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), Enum, torch.dtype, torch.device, np.generic)
UNTOLD = ("__dict__", "__weakref__", "__doc__", "__annotations__", "__dataclass_fields__", "_abc_impl", "__module__")
"""What a class holds that does not change what it does."""


class UntoldError(Exception):
    """Something is reached of which nobody can tell what it does."""


def digest_of(*values: object) -> str | None:
    """Of modules, functions, classes and plain values; None where it cannot be told."""
    walk = _Walk()
    try:
        for value in (_versions(), *values):
            walk.take(value)
    except UntoldError:
        return None
    return walk.digest.hexdigest()


class _Walk:
    """Takes in a value and what it reaches, everything once."""

    def __init__(self) -> None:
        self.digest = hashlib.blake2b(digest_size=16)
        self._places: dict[int, int] = {}
        self._kept: list[object] = []

    def take(self, value: Any) -> None:
        """Take in anything."""
        if isinstance(value, PLAIN):
            self._put(f"{type(value).__name__} {value!r}")
        elif id(value) in self._places:
            self._put(f"seen {self._places[id(value)]}")
        elif len(self._kept) >= MOST:
            raise UntoldError
        else:
            self._places[id(value)] = len(self._kept)
            self._kept.append(value)  # Its identity must stay its own.
            self._put(type(value).__qualname__)
            self._look_into(value)

    def _put(self, text: str) -> None:
        self.digest.update(text.encode("utf-8", "backslashreplace") + b"\0")

    def _many(self, values: Iterable[Any]) -> None:
        for value in values:
            self.take(value)
        self._put(".")

    def _named(self, values: Mapping[Any, Any], skipped: Iterable[str] = ()) -> None:
        for name, value in values.items():
            if name not in skipped:
                self._many((name, value))

    def _look_into(self, value: Any) -> None:
        for kinds, look in self._looks():
            if isinstance(value, kinds):
                look(value)
                return
        self._object(value)

    def _looks(self) -> Iterable[tuple[Any, Callable[[Any], None]]]:
        yield (list, tuple), self._many
        yield dict, self._named
        yield (set, frozenset), lambda value: self._many(sorted(value, key=repr))
        yield Tensor, self._tensor
        yield np.ndarray, self._array
        yield FunctionType, self._function
        yield MethodType, lambda value: self._many((value.__func__, value.__self__))
        yield BuiltinFunctionType, self._builtin
        yield functools.partial, lambda value: self._many((value.func, value.args, value.keywords))
        yield (staticmethod, classmethod), lambda value: self.take(value.__func__)
        yield property, lambda value: self._many((value.fget, value.fset, value.fdel))
        yield type, self._class
        yield ModuleType, self._file
        yield nn.Module, self._module

    def _tensor(self, value: Tensor) -> None:
        if value.is_sparse or value.is_quantized or type(value) not in (Tensor, nn.Parameter):
            raise UntoldError
        if is_functorch_wrapped_tensor(value):  # A forward pass has kept it beyond the end of vmap: it has no numbers.
            raise UntoldError
        self._described(value)
        self.digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())

    def _described(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UntoldError  # As where a module was traced that replaces its buffers.
        hooks: Any = (value._backward_hooks, getattr(value, "_post_accumulate_grad_hooks", None))  # pyright: ignore[reportPrivateUsage]
        self._many((tuple(value.shape), value.dtype, value.requires_grad, *(dict(h) for h in hooks if h)))

    def _array(self, value: np.ndarray[Any, Any]) -> None:
        if value.dtype.hasobject:
            raise UntoldError
        self._put(f"{value.dtype.str} {value.shape}")
        self.digest.update(value.tobytes())

    def _builtin(self, value: Any) -> None:
        owner = value.__self__
        if owner is not None and not isinstance(owner, (ModuleType, type)):
            raise UntoldError  # The method of an object that may change.
        self._put(f"{value.__module__} {value.__qualname__}")

    def _function(self, value: FunctionType) -> None:
        if _known(value.__module__):
            self._put(f"{value.__module__} {value.__qualname__}")
            return
        cells = [cell.cell_contents for cell in value.__closure__ or () if _filled(cell)]
        self._many((value.__defaults__, value.__kwdefaults__, dict(vars(value)), cells))
        self._code(value.__code__, value.__globals__)

    def _code(self, code: CodeType, names: dict[str, Any]) -> None:
        self.digest.update(code.co_code)
        self._many((code.co_names, code.co_varnames, code.co_freevars, code.co_flags))
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self._code(constant, names)
            else:
                self.take(constant)
        for instruction in dis.get_instructions(code):
            name = instruction.argval
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME") and name in names:
                self._many((name, names[name]))
            elif instruction.opname == "IMPORT_NAME" and not _known(name):
                if name not in sys.modules:
                    raise UntoldError
                self.take(sys.modules[name])

    def _class(self, value: type) -> None:
        self._put(f"{value.__module__} {value.__qualname__}")
        if not _known(value.__module__):
            self._many(value.__bases__)
            self._named(vars(value), UNTOLD)

    def _file(self, value: ModuleType) -> None:
        self._put(value.__name__)
        if not _known(value.__name__):
            self._named({name: inside for name, inside in vars(value).items() if not name.startswith("__")})

    def _module(self, value: nn.Module) -> None:
        """Numbers that a model is loaded with do not count; all others do."""
        state = set(value.state_dict(keep_vars=True))
        parts: dict[str, Any] = value._modules  # pyright: ignore[reportPrivateUsage]
        buffers: dict[str, Any] = value._buffers  # pyright: ignore[reportPrivateUsage]
        parameters: dict[str, Any] = value._parameters  # pyright: ignore[reportPrivateUsage]
        for name, tensor in {**parameters, **{n: b for n, b in buffers.items() if n in state}}.items():
            self._put(name)
            if tensor is not None and id(tensor) not in self._places:
                self._places[id(tensor)] = len(self._kept)
                self._kept.append(tensor)
                self._described(tensor)
            else:
                self.take(tensor)
        self._named({name: buffer for name, buffer in buffers.items() if name not in state})
        self.take(type(value))
        self._named(parts)
        self._named(vars(value), ("_modules", "_buffers", "_parameters", "_flat_weights", "_flat_weight_refs"))

    def _object(self, value: Any) -> None:
        kind = type(value)
        inside: dict[str, Any] | None = getattr(value, "__dict__", None)
        slots = [name for base in kind.__mro__ for name in _slots(base)]
        if inside is None and not slots:
            if _known(kind.__module__) and kind.__module__ != "builtins":
                raise UntoldError
            if kind.__module__ == "builtins" and not hasattr(value, "__objclass__"):
                raise UntoldError
        self.take(kind)
        self._named(inside or {})
        self._named({name: getattr(value, name) for name in slots if hasattr(value, name)})


def _slots(kind: type) -> Iterable[str]:
    slots = vars(kind).get("__slots__", ())
    return (
        [slots] if isinstance(slots, str) else [name for name in cast("Iterable[str]", slots) if name != "__weakref__"]
    )


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _known(module: str | None) -> bool:
    return (module or "").partition(".")[0] in KNOWN


@cache
def _versions() -> tuple[str, ...]:
    """Of what runs the code: the same code may do something else on other versions, or on another processor."""
    return (
        torch.__version__,
        np.__version__,
        platform.python_version(),
        torch.backends.cpu.get_cpu_capability(),
        platform.machine(),
        _ours(),
    )


def _ours() -> str:
    """A digest of the sources of our own engines."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(Path(next(iter(fogline.training.__path__))).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
