"""Low-rank adapters in a model's layout: which entries are the factors A and B of which layer.

A layer's entries are ``q.weight``, ``q.lora_A`` (r, columns), ``q.lora_B`` (rows, r) and ``q.lora_scale`` (1,); those
of ``peft`` are ``q.lora_A.default.weight`` and ``q.lora_B.default.weight``, and its weight and scale stand elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from fogline.params.spec import Entry, Spec

A, B, SCALE = "lora_A", "lora_B", "lora_scale"
ADAPTER = ("lora_", "adapter_")
"""How the last parts of the names of what adapters bring begin."""
NO_ADAPTERS = (
    "the model has no low-rank adapters (entries called '*.lora_A' and '*.lora_B'); put some in: "
    "fogline.adapt(module, fogline.Lora(rank=8))"
)


@dataclass(frozen=True, slots=True)
class LowRank:
    """The factors of one layer: its weight counts as W + s B A."""

    a: Entry
    """(r, columns), or (r, …) of a convolution."""
    b: Entry
    """(rows, r), or (rows, r, 1, …)."""

    @property
    def rank(self) -> int:
        """r"""
        return self.a.shape[0]

    @property
    def weight(self) -> str:
        """Name of W."""
        return _sibling(self.a.name, "weight")

    @property
    def scale(self) -> str:
        """Name of s."""
        return _sibling(self.a.name, SCALE)

    def at(self, rank: int) -> LowRank:
        """The first so many rows of A and columns of B; all, if there are fewer."""
        r = min(rank, self.rank)
        a, b = self.a.shape, self.b.shape
        return LowRank(replace(self.a, shape=(r, *a[1:])), replace(self.b, shape=(b[0], r, *b[2:])))


def low_rank_of(spec: Spec) -> list[LowRank]:
    """The factors of all layers that have some.

    Raises:
        ValueError: there are none; a sentence.
    """
    entries = {entry.name: entry for entry in spec.entries}
    pairs = [(entry, entries.get(_sibling(name, B))) for name, entry in entries.items() if A in name.split(".")]
    found = [LowRank(a, b) for a, b in pairs if b is not None]
    if not found:
        raise ValueError(NO_ADAPTERS)
    return found


def held_names(spec: Spec) -> frozenset[str]:
    """The weights under low-rank adapters, and the scales: no step changes them, whatever their role."""
    return frozenset(name for layer in low_rank_of(spec) for name in (layer.weight, layer.scale)) & spec.slices.keys()


def at_rank(spec: Spec, rank: int) -> Spec:
    """The layout with that rank in all layers that have a higher one."""
    cut: dict[str, Entry] = {}
    for layer in low_rank_of(spec):
        smaller = layer.at(rank)
        cut |= {smaller.a.name: smaller.a, smaller.b.name: smaller.b}
    return Spec(tuple(cut.get(entry.name, entry) for entry in spec.entries))


def are_adapters(names: Iterable[str]) -> bool:
    """Whether all of these are entries that adapters bring."""
    return all(any(part.startswith(ADAPTER) for part in name.split(".")) for name in names)


def _sibling(name: str, other: str) -> str:
    """The entry that stands where that A stands: of one's own layers, or for B, of any."""
    parts = name.split(".")
    return ".".join(other if part == A else part for part in parts)
