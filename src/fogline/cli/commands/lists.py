"""``fogline algorithms``, ``fogline datasets`` and ``fogline engines``."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.markup import escape

from fogline.cli.listing import Listing, present
from fogline.cli.options import COMMON, CommonOptions, Json

Parameters = dict[str, str | None]
"""Defaults by name, as people write them; None where one has to be given."""

BACKENDS = {"torch": "torch", "sklearn": "sklearn", "xgboost": "xgboost", "jax": "jax", "keras": "keras"}
"""Backends below ``fogline.training``, and the package that each needs."""


def algorithms(*, json: Json = False, options: CommonOptions = COMMON) -> None:
    """List the methods, and the policies that select devices.

    Parameters
    ----------
    json
        Print an array of objects (JSON) instead of a table.
    """
    from fogline.algorithms import algorithms, summary
    from fogline.nodes.policies import policies

    columns = ("name", "what it does", "parameters")
    methods = Listing(columns, title="Methods (algorithm.name)")
    for name, method in algorithms().items():
        _add(methods, "method", name, summary(method).replace("``", ""), _parameters(method))
    hint = "Use one: fogline simulate job.toml --set algorithm=fedprox --set cloud.policy=oort"
    selection = Listing(columns, title="Client selection (policy of a tier)", hint=hint)
    for name, policy in policies().items():
        _add(selection, "policy", name, policy.summary, _parameters(policy))
    present([methods, selection], json)


def _add(listing: Listing, kind: str, name: str, what: str, parameters: Parameters) -> None:
    item = {"kind": kind, "name": name, "summary": what, "parameters": parameters}
    shown = ", ".join(key if default is None else f"{key}={default}" for key, default in parameters.items())
    listing.add(item, escape(name), escape(what), escape(shown))


def datasets(*, json: Json = False, options: CommonOptions = COMMON) -> None:
    """List the data sets that Fogline can load, and whether their files are here.

    Parameters
    ----------
    json
        Print an array of objects (JSON) instead of a table.
    """
    from fogline.data import datasets
    from fogline.data.loaders.folder import VARIABLE, find_root

    root = find_root()

    hint = f"Files are looked for in {root.resolve()}; set {VARIABLE} to look elsewhere."
    listing = Listing(("name", "what it holds", "files"), title="Data sets", hint=hint)
    for name, what in datasets().items():
        files = _whereabouts(root / name, what)
        listing.add({"name": name, "summary": what, "files": files}, escape(name), escape(what), files)
    present([listing], json)


def _whereabouts(folder: Path, summary: str) -> str:
    """Whether a data set's files are there."""
    if "needs no files" in summary:
        return "none needed"
    return "here" if folder.is_dir() and any(folder.iterdir()) else "missing"


def engines(*, json: Json = False, options: CommonOptions = COMMON) -> None:
    """List the training engines of every backend that is installed.

    Parameters
    ----------
    json
        Print an array of objects (JSON) instead of a table.
    """
    hint = "By default the fastest is measured. Fix one: fogline simulate job.toml --engine loop"
    listing = Listing(("backend", "engine", "how it trains"), title="Training engines", hint=hint)

    def add(backend: str, engine: str, what: str, installed: bool) -> None:
        item = {"backend": backend, "engine": engine, "summary": what, "installed": installed}
        listing.add(item, backend, engine, escape(what))

    for backend, package in BACKENDS.items():
        if find_spec(f"fogline.training.{backend}") is None:
            continue
        if find_spec(package) is None:
            add(backend, "", f"not installed: pip install 'fogline[{backend}]'", installed=False)
            continue
        for name, engine in import_module(f"fogline.training.{backend}").ENGINES.items():
            add(backend, name, engine.summary, installed=True)
    present([listing], json)


def _parameters(thing: type) -> Parameters:
    """Names and defaults of what its constructor takes."""
    if is_dataclass(thing):
        return {f.name: None if f.default is MISSING else str(f.default) for f in fields(thing)}
    taken: dict[str, Any] = dict(inspect.signature(thing).parameters)
    return {
        name: None if parameter.default is inspect.Parameter.empty else str(parameter.default)
        for name, parameter in taken.items()
        if parameter.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    }
