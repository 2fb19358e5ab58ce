"""The reference of the Python API, read from the source: a page for each module that hands names out to programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

import griffe

from docs.site.docstrings import documented, items
from docs.site.staging import ROOT

FACES = (
    "fogline",
    "fogline.algorithms",
    "fogline.training",
    "fogline.training.torch",
    "fogline.training.sklearn",
    "fogline.training.flwr",
    "fogline.data",
    "fogline.jobs",
    "fogline.aggregation",
    "fogline.aggregation.rules",
    "fogline.stages",
    "fogline.exchanges",
    "fogline.nodes.policies",
    "fogline.privacy.mechanisms",
    "fogline.params",
    "fogline.monitoring.result",
)
"""Modules of which a program of one's own may use every name in ``__all__``, in the order of the pages."""
WIDTH = 100
"""Characters of a signature that stands in one line."""
STARS = {"variadic positional": "*", "variadic keyword": "**"}
"""What stands before a parameter, by its kind."""


def read_package() -> griffe.Module:
    """The package as its source says, without importing it."""
    return cast("griffe.Module", griffe.load("fogline", search_paths=[ROOT / "src"]))


def pages(package: griffe.Module) -> dict[str, str]:
    """The page of every module, by the name of its file; what ``fogline`` has from another one is described there."""
    homes = {
        thing_of(module_of(package, face), name).path: f"{face}.md#{name.lower()}"
        for face in reversed(FACES[1:])
        for name in names_of(module_of(package, face))
    }
    first = page(module_of(package, FACES[0]), homes)
    return {f"{FACES[0]}.md": first} | {f"{face}.md": page(module_of(package, face), {}) for face in FACES[1:]}


def module_of(package: griffe.Module, face: str) -> griffe.Module:
    """A module by its whole name."""
    return package if face == "fogline" else cast("griffe.Module", package[face.removeprefix("fogline.")])


def page(module: griffe.Module, homes: Mapping[str, str]) -> str:
    """What a module hands out, by name; of what has its home on another page, where that is."""
    parts = [f"# {module.path}", documented(module)]
    for name in names_of(module):
        thing = thing_of(module, name)
        parts.append(f"## {name}")
        home = homes.get(thing.path)
        parts += [f"See [{home.partition('.md')[0]}]({home})."] if home else described(thing, name)
    return "\n\n".join(part for part in parts if part) + "\n"


def names_of(module: griffe.Module) -> list[str]:
    """The names that a module hands out."""
    return sorted(str(name) for name in module.exports or ())


def thing_of(module: griffe.Module, name: str) -> griffe.Object:
    """What a name of a module stands for, wherever it is from; not a file below it that is called the same."""
    origin = module.imports.get(name, "").removeprefix("fogline.")
    member = module.package[origin] if origin else module[name]
    return cast("griffe.Object", member.final_target if isinstance(member, griffe.Alias) else member)


def described(thing: griffe.Object, name: str) -> Iterator[str]:
    """The parts of what is said of a class, a function or a value."""
    match thing:
        case griffe.Class():
            bases = f"({', '.join(str(base) for base in thing.bases)})" if thing.bases else ""
            yield code(f"class {name}{bases}")
            yield documented(thing)
            if parameters := list(fields(thing)):
                yield f"**Attributes**\n\n{items(parameters)}"
            for method in methods(thing):
                yield f"### {name}.{method.name}"
                yield from described(method, method.name)
        case griffe.Function():
            yield code(signature(thing, name))
            yield documented(thing)
        case griffe.Attribute():
            yield code(f"{name} = {thing.value}" if thing.value is not None else name)
            yield documented(thing)
        case _:
            raise ValueError(f"'{thing.path}' is a {thing.kind.value}, which no page knows to show.")


def fields(kind: griffe.Class) -> Iterator[tuple[str, str]]:
    """A class's own attributes and properties that have a type or a docstring, with defaults, and what they say."""
    for attribute in kind.members.values():
        if not isinstance(attribute, griffe.Attribute) or attribute.name.startswith("_"):
            continue
        if attribute.annotation is None and attribute.docstring is None:
            continue
        told = str(attribute.annotation or "")
        if attribute.value is not None:
            told += f" = {attribute.value}"
        shown = f"`{attribute.name}: {told}`" if told else f"`{attribute.name}`"
        yield " ".join(shown.split()), attribute.docstring.value if attribute.docstring else ""


def methods(kind: griffe.Class) -> Iterator[griffe.Function]:
    """A class's own methods and properties that say what they do."""
    for member in kind.members.values():
        if isinstance(member, griffe.Function) and not member.name.startswith("_") and member.docstring is not None:
            yield member


def signature(function: griffe.Function, name: str) -> str:
    """How a function is called, in one line or with a parameter in each."""
    parts: list[str] = []
    for parameter in function.parameters:
        is_keyword = parameter.kind is griffe.ParameterKind.keyword_only
        if is_keyword and not any(part.startswith("*") for part in parts):
            parts.append("*")
        parts.append(shown(parameter))
    answer = f" -> {function.returns}" if function.returns is not None else ""
    line = f"{name}({', '.join(parts)}){answer}"
    return line if len(line) <= WIDTH else f"{name}(\n    " + ",\n    ".join(parts) + f",\n){answer}"


def shown(parameter: griffe.Parameter) -> str:
    """A parameter with its type and default."""
    stars = STARS.get(str(parameter.kind and parameter.kind.value), "")
    kind = "" if parameter.annotation is None else f": {parameter.annotation}"
    default = "" if parameter.default is None or stars else f" = {parameter.default}"
    return f"{stars}{parameter.name}{kind}{default}"


def code(text: str) -> str:
    """A block of Python."""
    return f"```python\n{text}\n```"
