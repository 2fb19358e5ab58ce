"""Methods by name."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import Field, fields
from typing import Any

from fogline.algorithms.base import Algorithm, unannotated
from fogline.algorithms.checks import check_method
from fogline.algorithms.fedasync import FedAsync
from fogline.algorithms.fedat import FedAT
from fogline.algorithms.fedavg import FedAvg
from fogline.algorithms.fedavgm import FedAvgM
from fogline.algorithms.fedbuff import FedBuff
from fogline.algorithms.feddyn import FedDyn
from fogline.algorithms.fedexp import FedExP
from fogline.algorithms.fedlc import FedLC
from fogline.algorithms.fednova import FedNova
from fogline.algorithms.fedopt import FedAdagrad, FedAdam, FedYogi
from fogline.algorithms.fedprox import FedProx
from fogline.algorithms.fedsam import FedSAM
from fogline.algorithms.fedsgd import FedSGD
from fogline.algorithms.hierfavg import HierFAVG
from fogline.algorithms.moon import Moon
from fogline.algorithms.mtgc import MTGC
from fogline.algorithms.scaffold import Scaffold
from fogline.training.bugs import attempt, blame

_METHODS: tuple[type[Algorithm], ...] = (
    FedAvg,
    FedSGD,
    FedProx,
    FedNova,
    Scaffold,
    FedDyn,
    FedAvgM,
    FedAdagrad,
    FedAdam,
    FedYogi,
    FedExP,
    FedSAM,
    FedLC,
    Moon,
    FedAsync,
    FedBuff,
    FedAT,
    HierFAVG,
    MTGC,
)


def algorithms() -> dict[str, type[Algorithm]]:
    """Fogline's methods by name."""
    return {method.__name__.lower(): method for method in _METHODS}


def summary(method: type[Algorithm]) -> str:
    """What a method is, in one line."""
    return (method.__doc__ or method.__name__).strip().splitlines()[0]


def find(name: str) -> type[Algorithm]:
    """A method by name, or by ``module:Class``.

    Raises:
        ValueError: there is none; the sentence names the nearest.
    """
    if ":" in name:
        return _imported(name)
    known = algorithms()
    plain = name.lower().replace("-", "").replace("_", "")
    if plain in known:
        return known[plain]
    near = difflib.get_close_matches(plain, known, 1)
    hint = f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(known)}."
    raise ValueError(f"There is no algorithm '{name}'. {hint} Your own is named as 'module:Class'.")


def make(name: str, **parameters: Any) -> Algorithm:
    """A method by name with its parameters; those left out have the paper's defaults.

    Raises:
        ValueError: there is no such method or parameter, a value has the wrong type, or its class is not what a method
            must be.
    """
    method = find(name)
    check_method(method)
    known = {field.name: field for field in fields(method)}
    for key, value in parameters.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(known) or 'none'}."
            hint = f"{unannotated(method, key)}." if hasattr(method, key) else hint
            raise ValueError(f"Algorithm '{name}' has no parameter '{key}': {hint}")
        parameters[key] = _fitting(name, known[key], value)
    missing = [key for key, field in known.items() if _required(field) and key not in parameters]
    if missing:
        raise ValueError(f"Algorithm '{name}' wants a value for {', '.join(missing)}.")
    return method(**parameters)


def name_and_parameters(algorithm: str | Algorithm) -> tuple[str, Mapping[str, Any]]:
    """What :func:`make` takes to make that algorithm."""
    if isinstance(algorithm, str):
        find(algorithm)
        return algorithm, {}
    method = type(algorithm)
    ours = algorithms().get(method.__name__.lower()) is method
    name = method.__name__.lower() if ours else f"{method.__module__}:{method.__qualname__}"
    return name, {field.name: getattr(algorithm, field.name) for field in fields(algorithm)}


def _imported(name: str) -> type[Algorithm]:
    module, _, path = name.partition(":")
    found: Any = attempt(lambda: importlib.import_module(module))
    if isinstance(found, ModuleNotFoundError):
        raise ValueError(f"The algorithm '{name}' cannot be imported: {found}.") from found
    if isinstance(found, Exception):
        raise ValueError(f"The algorithm '{name}' cannot be imported: {blame(module, found)}.") from found
    try:
        for part in path.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise ValueError(f"The algorithm '{name}' cannot be imported: {error}.") from error
    if not (isinstance(found, type) and issubclass(found, Algorithm)):
        raise ValueError(f"'{name}' is no subclass of fogline.algorithms.Algorithm.")
    return found


def _required(field: Field[Any]) -> bool:
    return field.default is field.default_factory  # both are the marker for "missing"


def _fitting(name: str, field: Field[Any], value: Any) -> Any:
    wanted = field.type if isinstance(field.type, str) else field.type.__name__
    if wanted == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    kinds: dict[str, type] = {"float": float, "int": int, "bool": bool, "str": str}
    wrong = wanted in kinds and (not isinstance(value, kinds[wanted]) or (wanted == "int" and isinstance(value, bool)))
    if wrong:
        raise ValueError(f"Parameter '{field.name}' of algorithm '{name}' is {value!r}; it wants a {wanted}.")
    return value
