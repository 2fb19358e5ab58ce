"""Makes the strings below attributes, which Python throws away, part of what ``help()`` shows of a class.

They are read from the source when somebody asks, so that nothing is paid before.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from itertools import pairwise

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
            thing.__doc__ = _Described(thing)  # pyright: ignore[reportAttributeAccessIssue] - gives text when asked


class _Described:
    """A class's docstring and those of its attributes, as one text."""

    def __init__(self, kind: type) -> None:
        self._own = kind.__doc__
        self._kind = kind
        self._text: str | None = None

    def __get__(self, _: object, kind: type) -> str | None:
        if kind is not self._kind:
            return None  # An heir without a docstring of its own has none.
        if self._text is None:
            self._text = _joined(inspect.cleandoc(self._own or ""), attributes_of(kind))
        return self._text or None


def attributes_of(kind: type) -> dict[str, str]:
    """The strings below a class's own attributes, by name; none where its source is not there."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError, SyntaxError):
        return {}
    (statement,) = tree.body
    body = statement.body if isinstance(statement, ast.ClassDef) else []
    found: dict[str, str] = {}
    for before, after in pairwise(body):
        target = before.target if isinstance(before, ast.AnnAssign) else None
        if isinstance(before, ast.Assign) and len(before.targets) == 1:
            target = before.targets[0]
        text = after.value if isinstance(after, ast.Expr) else None
        if isinstance(target, ast.Name) and isinstance(text, ast.Constant) and isinstance(text.value, str):
            found[target.id] = inspect.cleandoc(text.value)
    return found


def _joined(own: str, attributes: dict[str, str]) -> str:
    if not attributes:
        return own
    lines = [f"{name}: {textwrap.indent(text, INDENT).strip()}" for name, text in attributes.items()]
    return f"{own}\n\nAttributes:\n" + "\n".join(textwrap.indent(line, INDENT) for line in lines)
