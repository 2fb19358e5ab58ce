"""The name by which a program, or a class in it, can be imported."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def module_of(names: Mapping[str, Any]) -> tuple[str, Path | None]:
    """The name by which a module with these globals can be imported, and from which folder; None if it cannot."""
    file, spec = names.get("__file__"), names.get("__spec__")
    if file is None:
        return str(names.get("__name__")), None
    path = Path(file).resolve()
    name = str(names["__name__"])
    if name == "__main__":
        name = path.stem if spec is None else spec.name
    return name, path.parents[name.count(".") + (path.name == "__init__.py")]


def class_name(kind: type) -> str:
    """A class as ``module:Class``, with a program by the name that it is imported by."""
    module = sys.modules.get(kind.__module__)
    name = kind.__module__ if module is None else module_of(vars(module))[0]
    return f"{name}:{kind.__qualname__}"
