"""Makes the strings below attributes, which Python throws away, part of what ``help()`` shows of a class.

They are read from the source when somebody asks, so that nothing is paid before.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path

INDENT = "    "


def describe_attributes(module: str) -> None:
    """Let the classes that a module hands out (by its ``__all__``) tell of their attributes.

    Args:
        module: its name; it is being imported, and has all that it hands out.
    """
    names = vars(sys.modules[module])
    for name in names["__all__"]:
        thing = names[name]
        if isinstance(thing, type) and not isinstance(vars(thing).get("__doc__"), _Described):
            described = _Described(thing)
            # ``help()`` does not ask a class of another metaclass as it asks others: it must have the text itself.
            thing.__doc__ = described if type(thing) is type else described.text  # pyright: ignore


class _Described:
    """A class's docstring and those of its attributes, as one text."""

    def __init__(self, kind: type) -> None:
        self._own = kind.__doc__
        self._kind = kind

    def __get__(self, _: object, kind: type) -> str | None:
        return self.text if kind is self._kind else None  # An heir without a docstring has none.

    @cached_property
    def text(self) -> str | None:
        """The whole text of the description."""
        return _joined(inspect.cleandoc(self._own or ""), attributes_of(self._kind)) or None


def attributes_of(kind: type) -> dict[str, str]:
    """The strings below a class's own attributes, by name; none where its source is not there."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    body = _bodies(file).get(kind.__name__, []) if file else []
    found: dict[str, str] = {}
    for before, after in pairwise(body):
        target = before.target if isinstance(before, ast.AnnAssign) else None
        if isinstance(before, ast.Assign) and len(before.targets) == 1:
            target = before.targets[0]
        text = after.value if isinstance(after, ast.Expr) else None
        if isinstance(target, ast.Name) and isinstance(text, ast.Constant) and isinstance(text.value, str):
            found[target.id] = inspect.cleandoc(text.value)
    return found


@lru_cache(maxsize=8)
def _bodies(file: str) -> dict[str, list[ast.stmt]]:
    """What stands in the classes at the top of a file, by name."""
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return {}
    return {statement.name: statement.body for statement in tree.body if isinstance(statement, ast.ClassDef)}


def _joined(own: str, attributes: dict[str, str]) -> str:
    if not attributes:
        return own
    lines = [f"{name}: {textwrap.indent(text, INDENT).strip()}" for name, text in attributes.items()]
    return f"{own}\n\nAttributes:\n" + "\n".join(textwrap.indent(line, INDENT) for line in lines)
