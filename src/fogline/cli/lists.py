"""``fogline algorithms``, ``fogline datasets`` and ``fogline engines``."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

BACKENDS = {"torch": "torch", "sklearn": "sklearn", "xgboost": "xgboost", "jax": "jax", "keras": "keras"}
"""Backends below ``fogline.training``, and the package that each needs."""


def list_algorithms() -> None:
    """Methods and client selection policies, with their parameters."""
    from fogline.algorithms import algorithms, summary
    from fogline.nodes.policies import policies

    _print(
        "Methods (algorithm.name)",
        ("name", "what it does", "parameters"),
        ((name, summary(method).replace("``", ""), _parameters(method)) for name, method in algorithms().items()),
    )
    _print(
        "Client selection (policy of a tier)",
        ("name", "what it does", "parameters"),
        ((name, policy.summary, _parameters(policy)) for name, policy in policies().items()),
    )
    _next("Use one: fogline simulate job.toml --set algorithm=fedprox --set cloud.policy=oort")


def list_datasets() -> None:
    """Data sets by name, and whether each has a folder below the data root."""
    from fogline.data import datasets
    from fogline.data.loaders.folder import VARIABLE, find_root

    root = find_root()

    rows = [(name, what, _whereabouts(root / name, what)) for name, what in datasets().items()]
    _print("Data sets", ("name", "what it holds", "files"), rows)
    _next(f"Files are looked for in {root.resolve()}; set {VARIABLE} to look elsewhere.")


def _whereabouts(folder: Path, summary: str) -> str:
    """Whether a data set's files are there."""
    if "needs no files" in summary:
        return "none needed"
    return "here" if folder.is_dir() and any(folder.iterdir()) else "missing"


def list_engines() -> None:
    """Engines of the backends that are installed."""
    rows: list[tuple[str, str, str]] = []
    for backend, package in BACKENDS.items():
        if find_spec(f"fogline.training.{backend}") is None:
            continue
        if find_spec(package) is None:
            rows.append((backend, "", f"not installed: pip install 'fogline[{backend}]'"))
            continue
        found = import_module(f"fogline.training.{backend}").ENGINES
        rows += [(backend, name, engine.summary) for name, engine in found.items()]
    _print("Training engines", ("backend", "engine", "how it trains"), rows)
    _next("By default the fastest is measured. Fix one: fogline simulate job.toml --engine loop")


def _print(title: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for i, column in enumerate(columns):
        table.add_column(column, style="cyan" if i == 0 else "", no_wrap=i == 0, header_style="dim")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console = Console()
    console.print(table)
    console.print()


def _next(text: str) -> None:
    Console().print(f"[dim]{escape(text)}[/]", highlight=False, soft_wrap=True)


def _parameters(thing: type) -> str:
    """Names and defaults of what its constructor takes."""
    if is_dataclass(thing):
        return ", ".join(f"{f.name}={f.default}" if f.default is not MISSING else f.name for f in fields(thing))
    taken: dict[str, Any] = dict(inspect.signature(thing).parameters)
    return ", ".join(
        name if parameter.default is inspect.Parameter.empty else f"{name}={parameter.default}"
        for name, parameter in taken.items()
        if parameter.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    )
