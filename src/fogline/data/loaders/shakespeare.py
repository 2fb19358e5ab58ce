"""Next character in Shakespeare's plays, one client per role."""

from __future__ import annotations

import numpy as np

from fogline.data.examples import Array, Examples
from fogline.data.loaders.folder import DatasetFolder
from fogline.data.loaders.registry import dataset
from fogline.data.loaders.shaping import at_least, choose
from fogline.data.meaning import Meaning
from fogline.data.raw import RawData


@dataset(
    "shakespeare",
    "next character, 65 characters, sequences of 80; clients are 98 roles",
    source="tinyshakespeare (karpathy/char-rnn)",
)
def shakespeare(
    folder: DatasetFolder, *, length: int = 80, min_speeches: int = 20, target: str = "sequence"
) -> RawData:
    """Texts (n, length) int64 of character codes, and the next character of each place (n, length).

    ``target="last"`` asks only for the one after the last (n,), as LEAF does. ``class_names`` is the
    vocabulary. A client is a role with at least ``min_speeches`` speeches; the last fifth of its text is in
    the test set. This is not LEAF's file, so figures are not comparable. Source: Caldas et al., LEAF,
    arXiv:1812.01097; McMahan et al., arXiv:1602.05629.
    """
    at_least("length", length)
    choose("target", target, ("sequence", "last"))
    with folder.text("tinyshakespeare.txt.gz") as file:
        text = file.read()
    vocabulary = sorted(set(text))
    code = {character: i for i, character in enumerate(vocabulary)}
    runs: list[Array] = []
    early: list[Array] = []
    owner: list[str] = []
    for role, speeches in sorted(_roles(text).items()):
        if len(speeches) < min_speeches:
            continue
        codes = np.array([code[character] for character in "\n".join(speeches)], np.int64)
        end = len(codes) * 4 // 5
        parts = _cut(codes[:end], length), _cut(codes[end:], length)
        runs += parts
        early.append(np.repeat([True, False], [len(part) for part in parts]))
        owner += [role] * sum(map(len, parts))
    if not owner:
        raise ValueError(f"No role has {min_speeches} speeches and {length + 1} characters.")
    x, y = _next(np.concatenate(runs), target)
    training = np.concatenate(early)
    return RawData(
        "shakespeare",
        x,
        y,
        Meaning(len(vocabulary), tuple(vocabulary)),
        test=Examples(x[~training], y[~training]),
        rows=np.flatnonzero(training),
        owner=np.array(owner),
    )


def _roles(text: str) -> dict[str, list[str]]:
    """Speeches by role: a block between empty lines whose first line is ``ROLE:``."""
    roles: dict[str, list[str]] = {}
    for block in text.split("\n\n"):
        role, _, speech = block.strip("\n").partition("\n")
        if role.endswith(":") and speech:
            roles.setdefault(role[:-1], []).append(speech)
    return roles


def _cut(codes: Array, length: int) -> Array:
    """(n, length + 1): runs that share one character with the next."""
    count = max(0, (len(codes) - 1) // length)
    return codes[np.arange(count)[:, None] * length + np.arange(length + 1)]


def _next(runs: Array, target: str) -> tuple[Array, Array]:
    return runs[:, :-1], runs[:, -1] if target == "last" else runs[:, 1:]
