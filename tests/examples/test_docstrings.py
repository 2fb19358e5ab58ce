"""What docstrings name exists: the exceptions of their `Raises:` sections, and the targets of their references."""

from __future__ import annotations

import ast
import builtins
import importlib
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "fogline"
REFERENCE = re.compile(r":(class|func|meth|attr|data|mod|exc):`~?([^`]+)`")
ENTRY = re.compile(r"^    (\w[\w., ]*):", re.MULTILINE)
Scope = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@cache
def files() -> dict[str, ast.Module]:
    """Every file of the package, by the name of its module."""
    trees: dict[str, ast.Module] = {}
    for path in SOURCE.rglob("*.py"):
        parts = ("fogline", *path.relative_to(SOURCE).with_suffix("").parts)
        trees[".".join(parts).removesuffix(".__init__")] = ast.parse(path.read_text())
    return trees


def bound(node: ast.AST) -> Iterator[str]:
    """The names that a statement binds."""
    match node:
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            yield node.name
        case ast.Import() | ast.ImportFrom():
            yield from ((alias.asname or alias.name).split(".")[0] for alias in node.names)
        case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            yield name
        case ast.arg(arg=name):
            yield name
        case _:
            pass


@cache
def names_of(module: str) -> frozenset[str]:
    """Everything that a module binds, at any depth."""
    return frozenset(name for node in ast.walk(files()[module]) for name in bound(node))


@cache
def classes() -> dict[str, list[ast.ClassDef]]:
    """Every class of the package, by its name; names may be used more than once."""
    found: dict[str, list[ast.ClassDef]] = defaultdict(list)
    for tree in files().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(node)
    return found


def has_member(name: str, member: str) -> bool:
    """Whether a class of that name, or one that it is made from, has the member."""
    for node in classes().get(name, []):
        if any(member in bound(inner) for inner in ast.walk(node)):
            return True
        bases = [base.id for base in node.bases if isinstance(base, ast.Name) and base.id != name]
        if any(has_member(base, member) for base in bases):
            return True
    return False


def is_elsewhere(target: str) -> bool:
    """Whether the name is one of another package, such as ``asyncio.IncompleteReadError``."""
    module, _, name = target.rpartition(".")
    try:
        return bool(module) and hasattr(importlib.import_module(module), name)
    except ImportError:
        return False


def is_there(module: str, kind: str, target: str) -> bool:
    """Whether a reference from the module leads to something."""
    if target.startswith("fogline"):
        if target in files():
            return True
        home, _, name = target.rpartition(".")
        if home in files():
            return name in names_of(home)
        home, _, owner = home.rpartition(".")
        return home in files() and owner in names_of(home) and has_member(owner, name)
    owner, _, name = target.rpartition(".")
    if not owner:
        return kind != "mod" and name in names_of(module) | classes().keys()
    return has_member(owner, name) or is_elsewhere(target)


@cache
def is_exception(name: str) -> bool:
    """Whether the name is that of a built-in exception, or of one of the package."""
    own = getattr(builtins, name, None)
    if isinstance(own, type):
        return issubclass(own, BaseException)
    bases = [base for node in classes().get(name, []) for base in node.bases]
    return any(isinstance(base, ast.Name) and is_exception(base.id) for base in bases)


def docstrings() -> Iterator[tuple[str, str, str]]:
    """Module, name and text of every docstring."""
    for module, tree in files().items():
        for node in ast.walk(tree):
            if isinstance(node, Scope) and (text := ast.get_docstring(node)):
                yield module, getattr(node, "name", module), text


def raised_by(text: str) -> list[str]:
    """The exceptions that a docstring names."""
    section = re.search(r"^Raises:\n((?:    .*\n?|\n)+)", text, re.MULTILINE)
    return [name for entry in ENTRY.findall(section[1]) for name in re.split(r", ", entry)] if section else []


def test_every_exception_that_is_said_to_be_raised_exists() -> None:
    entries = [(module, name, error) for module, name, text in docstrings() for error in raised_by(text)]
    assert len(entries) > 200
    assert [
        f"{module} {name}: {error}"
        for module, name, error in entries
        if not is_exception(error) and error not in names_of(module) and not is_elsewhere(error)
    ] == []


def test_every_reference_leads_somewhere() -> None:
    references = [(module, kind, target) for module in files() for kind, target in REFERENCE.findall(source_of(module))]
    assert len(references) > 150
    assert [f"{m}: :{kind}:`{target}`" for m, kind, target in references if not is_there(m, kind, target)] == []


def source_of(module: str) -> str:
    """The text of a module: references stand in the docstrings of attributes too."""
    path = SOURCE.joinpath(*module.split(".")[1:])
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
