"""The architecture's document names files and functions that exist, every room, and walks of bounded length."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "fogline"
TEXT = (ROOT / "docs" / "architecture.md").read_text()
WALKS = dict(re.findall(r"^### (.+)\n\n((?:\d+\. .*\n)+)", TEXT, re.MULTILINE))
BOTH = "The fold and the move, in both"
LONGEST = {
    "An update, from the device to the cloud, in simulation": 20,
    "An update, from the device to the cloud, in the network": 29,
}


@cache
def names_in(file: str) -> set[str]:
    """Classes and functions of a file, those of a class after its name and a point."""

    def below(node: ast.AST, before: str) -> set[str]:
        found: set[str] = set()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found |= {before + child.name} | below(child, f"{before}{child.name}.")
        return found

    return below(ast.parse((SOURCE / file).read_text()), "")


def named() -> list[tuple[str, tuple[str, ...]]]:
    """Every file that the document names, with what follows it in backticks up to the next file."""
    parts = re.findall(r"`([\w/]+\.py)`((?:,? `[\w.]+`)*)", re.sub(r"\s*\n\s*", " ", TEXT))
    return [(file, tuple(re.findall(r"`([\w.]+)`", names))) for file, names in parts]


def test_every_file_that_is_named_exists() -> None:
    assert len(named()) > 100
    assert [file for file, _ in named() if not (SOURCE / file).is_file()] == []


def test_every_function_that_is_named_exists() -> None:
    assert [
        f"{file} {name}"
        for file, names in named()
        for name in names
        if "/" not in name and not name.endswith(".py") and (SOURCE / file).is_file() and name not in names_in(file)
    ] == []


def test_every_room_stands_in_the_table_on_its_floor() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers: list[str] = contracts[0]["layers"]
    floors = {
        name: floor for floor, layer in enumerate(reversed(layers)) for name in re.findall(r"fogline\.(\w+)", layer)
    }
    table = {room: int(floor) for floor, room in re.findall(r"^\| (\d+) \| `(\w+)` \|", TEXT, re.MULTILINE)}
    assert table == {room: floors[room] for room in floors if (SOURCE / room).is_dir()}
    assert table.keys() == {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}


def test_a_folder_is_full_only_where_the_document_says_why() -> None:
    (most, rest) = re.findall(r"A folder has at most (\d+) files(.+?)\n\n", TEXT, re.DOTALL)[0]
    folders = [SOURCE, *(path for path in SOURCE.rglob("*") if path.is_dir())]
    full = {str(path.relative_to(SOURCE)) for path in folders if len(list(path.glob("*.py"))) > int(most)}
    assert full <= set(re.findall(r"`([\w/]+)`", rest))


@pytest.mark.parametrize("walk", LONGEST)
def test_a_walk_is_short_enough_to_follow(walk: str) -> None:
    steps = WALKS[walk] + WALKS[BOTH]
    files = re.findall(r"^\d+\. `([\w/]+\.py)`", steps, re.MULTILINE)
    assert len(files) == len(set(files)) == len(steps.splitlines())
    assert len(files) <= LONGEST[walk]
