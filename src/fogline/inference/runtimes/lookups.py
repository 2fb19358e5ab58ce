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

ALIKE = {"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}
"""Operators that leave numbers what they are."""


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
    same = dict[str, str]()
    """What a value was before it was reshaped or cast."""
    for node in parts_of(graph, NODE):
        takes, gives = (_texts(node, which) for which in (TAKES, GIVES))
        kind = "".join(_texts(node, KIND))
        if all(name in tables for name in takes if name):
            tables.update(gives)  # It depends on no input.
        elif kind in ALIKE:
            same[gives[0]] = same.get(takes[0], takes[0])
        elif kind == "Gather" and takes[0] in tables:
            found.add(same.get(takes[1], takes[1]))
    return found


def _texts(node: memoryview, which: int) -> list[str]:
    return [bytes(part).decode() for part in parts_of(node, which)]
