"""What stands in docstrings, as Markdown: Google's sections, and the few marks of reStructuredText that they have."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

import griffe

ROLE = re.compile(r":\w+:`~?([^`]+)`")
DOCUMENT = re.compile(r"`*docs/([\w-]+)\.md`*")
CODE = re.compile(r"(``.+?``|`[^`]+`)", re.DOTALL)
BLOCK = re.compile(r"::\n\n((?: {4}.*\n?|\n)+)")


def prose(text: str) -> str:
    """A paragraph or several: code keeps what it says, and what Markdown would take for marks is none."""
    said = BLOCK.sub(lambda block: f":\n\n```python\n{textwrap.dedent(block[1]).strip()}\n```\n\n", f"{text}\n")
    parts = re.split(r"(```python\n.*?```)", said, flags=re.DOTALL)
    return "".join(part if part.startswith("```") else _plain(part) for part in parts).strip()


def _plain(text: str) -> str:
    named = ROLE.sub(lambda role: f"``{role[1].removeprefix('fogline.')}``", text)
    parts = CODE.split(DOCUMENT.sub(r"[\1](../\1.md)", named))
    return "".join(_code(part) if part.startswith("`") else _escaped(part) for part in parts)


def _code(part: str) -> str:
    return f"`{' '.join(part.strip('`').split())}`"


def _escaped(text: str) -> str:
    return re.sub(r"([*_])", r"\\\1", text).replace("<", "&lt;")


def items(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of names, each with what is said of it."""
    lines = [f"- {name}: {prose(text)}" if text else f"- {name}" for name, text in pairs]
    return "\n".join(textwrap.indent(line, "    ").strip() for line in lines) + "\n"


def documented(thing: griffe.Object) -> str:
    """A thing's docstring as Markdown; empty where it has none."""
    if thing.docstring is None:
        return ""
    defaults = {one.name: one.default for one in thing.parameters} if isinstance(thing, griffe.Function) else {}
    parts: list[str] = []
    for section in thing.docstring.parse("google", warnings=False):
        match section:
            case griffe.DocstringSectionText():
                parts.append(prose(section.value))
            case griffe.DocstringSectionParameters():
                pairs = [(_argument(one, defaults.get(one.name)), one.description) for one in section.value]
                parts.append(f"**Arguments**\n\n{items(pairs)}")
            case griffe.DocstringSectionReturns() | griffe.DocstringSectionYields():
                parts.append(f"**Returns** {prose(' '.join(one.description for one in section.value))}")
            case griffe.DocstringSectionRaises():
                pairs = [(f"`{one.annotation}`", one.description) for one in section.value]
                parts.append(f"**Raises**\n\n{items(pairs)}")
            case griffe.DocstringSectionAttributes():
                pairs = [(f"`{one.name}`", one.description) for one in section.value]
                parts.append(f"**Attributes**\n\n{items(pairs)}")
            case _:
                raise ValueError(f"{thing.path} has a section '{section.kind.value}', which no page knows to show.")
    return "\n\n".join(part for part in parts if part)


def _argument(parameter: griffe.DocstringParameter, default: object) -> str:
    return f"`{parameter.name}`" if default is None else f"`{parameter.name}` (`{default}`)"
