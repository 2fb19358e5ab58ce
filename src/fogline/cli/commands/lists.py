"""``fogline algorithms``, ``fogline datasets``, ``fogline engines`` and ``fogline executors``."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from rich.markup import escape

from fogline.cli.listing import Listing, present
from fogline.cli.options import COMMON, CommonOptions, Json
from fogline.parameters import signature_of
from fogline.plugins import Registry

Parameters = dict[str, str | None]
"""Defaults by name, as people write them; None where one has to be given."""


class NamedKind(NamedTuple):
    """A kind of thing that jobs name."""

    kind: str
    title: str
    place: str
    """Where a job names one."""
    home: str
    """``module:NAME`` of the registry, which is imported when it is asked for."""
    hint: str = ""

    def registry(self) -> Registry[Any]:
        """All things of the kind."""
        module, _, name = self.home.partition(":")
        return getattr(import_module(module), name)


NAMED_KINDS = (
    NamedKind(
        "method",
        "Methods",
        "algorithm.name",
        "fogline.algorithms:METHODS",
        'Each has private too, the layers that stay on devices: private = ["head.*"]',
    ),
    NamedKind("rule", "Rules", "rule of a tier", "fogline.aggregation.rules:RULES"),
    NamedKind(
        "policy",
        "Client selection",
        "policy of a tier",
        "fogline.nodes.policies:POLICIES",
        "Use one: fogline simulate job.toml --set algorithm=fedprox --set cloud.policy=oort",
    ),
    NamedKind("stage", "Stages", "uplink and downlink of a tier", "fogline.stages:STAGES"),
    NamedKind("exchange", "Exchanges", "exchange of the last tier", "fogline.exchanges:EXCHANGES"),
    NamedKind("mechanism", "Noise", "privacy.mechanism", "fogline.privacy.mechanisms:MECHANISMS"),
    NamedKind("attack", "Attacks in simulations", "attack.name", "fogline.simulation.attacks:ATTACKS"),
)
"""The kinds that ``fogline algorithms`` lists, in that order."""


def algorithms(*, json: Json = False, options: CommonOptions = COMMON) -> None:
    """List the methods, rules, policies of selection, stages, exchanges, mechanisms of noise and attacks.

    Parameters
    ----------
    json
        Print an array of objects (JSON) instead of a table.
    """
    listings: list[Listing] = []
    for one in NAMED_KINDS:
        listing = Listing(("name", "what it does", "parameters"), title=f"{one.title} ({one.place})", hint=one.hint)
        _add(listing, one.kind, one.registry())
        listings.append(listing)
    present(listings, json)


def _add(listing: Listing, kind: str, registry: Registry[Any]) -> None:
    for name, thing in registry.items():
        what, parameters = registry.summary(name), parameters_of(thing)
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
    from fogline.training.backends import backends

    hint = "By default the fastest is measured. Fix one: fogline simulate job.toml --engine loop"
    listing = Listing(("backend", "engine", "how it trains"), title="Training engines", hint=hint)

    def add(backend: str, engine: str, what: str, installed: bool) -> None:
        item = {"backend": backend, "engine": engine, "summary": what, "installed": installed}
        listing.add(item, backend, engine, escape(what))

    for backend in backends():
        if find_spec(backend) is None:
            add(backend, "", f"not installed: pip install 'fogline[{backend}]'", installed=False)
            continue
        registry: Registry[Any] = import_module(f"fogline.training.{backend}").ENGINES
        for name in registry:
            add(backend, name, registry.summary(name), installed=True)
    present([listing], json)


def executors(*, json: Json = False, options: CommonOptions = COMMON) -> None:
    """List the executors: where a simulation trains.

    Parameters
    ----------
    json
        Print an array of objects (JSON) instead of a table.
    """
    from fogline.simulation.executors import EXECUTORS

    hint = "By default worker processes. Choose one: fogline simulate job.toml --set executor=inline"
    listing = Listing(("executor", "where it trains"), title="Executors (executor)", hint=hint)
    for name in EXECUTORS:
        what = EXECUTORS.summary(name)
        listing.add({"name": name, "summary": what}, name, escape(what))
    present([listing], json)


def parameters_of(thing: type) -> Parameters:
    """Names and defaults of what its constructor takes, but for what every method has and hardly one changes."""
    taken = {name: one for name, one in signature_of(thing).parameters.items() if name != "private"}
    return {name: None if one.default is one.empty else str(one.default) for name, one in taken.items()}
