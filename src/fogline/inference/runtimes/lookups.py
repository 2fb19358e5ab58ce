"""Which inputs of an ONNX graph are places in a table, as token ids are: read off its bytes.

In ONNX a negative place counts from the table's end, so that a wrong id gets somebody else's row. PyTorch refuses it,
and so do we.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fogline.inference.runtimes.initializers import GRAPH, INITIALIZER, NAME, fields_of, parts_of, text_of

# Numbers of fields in onnx.proto.
NODE = 1
TAKES, GIVES, KIND = 1, 2, 4

ALIKE = {"Cast", "Concat", "Expand", "Flatten", "Identity", "Reshape", "Squeeze", "Tile", "Transpose", "Unsqueeze"}
"""Operators that leave numbers what they are, and leave none out: of a table's columns one may be a place, and another
below 0."""
JOINS = "Concat"
"""The one among them that takes them from all its inputs, and not from the first."""


def looked_up(path: Path) -> set[str]:
    """Names of values that stand, unchanged, for rows of tables that the graph holds; its inputs are among them.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no model.
    """
    model = np.memmap(path, np.uint8, "r").data
    return {name for graph in parts_of(model, GRAPH) for name in _places(graph)}


def _places(graph: memoryview) -> set[str]:
    found = set[str]()
    tables = {text_of(list(fields_of(tensor)), NAME) for tensor in parts_of(graph, INITIALIZER)}
    same = dict[str, set[str]]()
    """What values a value has its numbers from."""
    for node in parts_of(graph, NODE):
        takes, gives = (_texts(node, which) for which in (TAKES, GIVES))
        kind = "".join(_texts(node, KIND))
        if all(name in tables for name in takes if name):
            tables.update(gives)  # It depends on no input.
        elif kind in ALIKE:
            sources = set[str]().union(*(same.get(name, {name}) for name in (takes if kind == JOINS else takes[:1])))
            same.update(dict.fromkeys(gives, sources))
        elif kind == "Gather" and takes[0] in tables:
            found |= same.get(takes[1], {takes[1]})
        elif kind == "OneHot":
            found |= same.get(takes[0], {takes[0]})
    return found


def _texts(node: memoryview, which: int) -> list[str]:
    return [bytes(part).decode() for part in parts_of(node, which)]
