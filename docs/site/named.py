"""The references of what has a name: methods, rules, stages and what else jobs name, and the commands."""

from __future__ import annotations

import re
from collections.abc import Iterator

import griffe

from docs.site.api import module_of, thing_of
from docs.site.docstrings import documented, items
from fogline.attributes import attributes_of
from fogline.cli.app import app
from fogline.cli.commands.lists import NAMED_KINDS, NamedKind, parameters_of


def pages(package: griffe.Module) -> dict[str, str]:
    """The pages, by the names of their files."""
    return {"algorithms.md": algorithms(package), "commands.md": commands()}


def algorithms(package: griffe.Module) -> str:
    """Everything that ``fogline algorithms`` lists, with what its class says: formula, source, memory."""
    head = (
        "# Methods, rules, stages and what else jobs name\n\n"
        "Made from the code: what `fogline algorithms` lists, with formulas and sources. Beside these names a job may "
        'say `"module:Class"` of your own. What they reach is [measured](../measured.md), and '
        "[choosing](../choosing.md) says which to take."
    )
    return "\n\n".join([head, *(section(package, kind) for kind in NAMED_KINDS)]) + "\n"


def section(package: griffe.Module, kind: NamedKind) -> str:
    """All things of a kind: of each what its class says, its parameters, and where it is."""
    registry = kind.registry()
    parts = [f"## {kind.title}", f"In a job: `{kind.place}`."]
    for name, thing in registry.items():
        module, qualified = registry.find(name).origin
        parts.append(f"### `{name}` {{ #{kind.kind}-{name} }}")
        parts.append(documented(thing_of(module_of(package, module), qualified)))
        if pairs := list(parameters(thing)):
            parts.append(f"**Parameters**\n\n{items(pairs)}")
        parts.append(f"`{module}.{qualified}`")
    return "\n\n".join(part for part in parts if part)


def parameters(thing: type) -> Iterator[tuple[str, str]]:
    """What may be given to a thing: each with its default, and what its class or one above says of it."""
    said = {name: text for one in reversed(thing.__mro__) for name, text in attributes_of(one).items()}
    for name, default in parameters_of(thing).items():
        yield f"`{name}`" if default is None else f"`{name} = {default}`", said.get(name, "")


def commands() -> str:
    """Every command, with its arguments and options."""
    text = app.generate_docs(output_format="markdown")
    return re.sub(r"^## Table of Contents\n.*?(?=^\*\*Commands)", "", text, count=1, flags=re.DOTALL | re.MULTILINE)
