"""Numbers for Prometheus, written in its text format from plain counts when they are asked for.

The library for this would take 3 MB of memory in every process, for these lines.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

TEXT = b"text/plain; version=0.0.4; charset=utf-8"
"""What HTTP calls the format."""
ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Family(NamedTuple):
    """A metric. Its name and its labels stay as they are from one version to the next."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    text: str
    """What it counts, for people."""
    labels: tuple[str, ...] = ()
    """Few values each: roles, states, jobs that run; never devices, rounds or reasons."""


class MetricSample(NamedTuple):
    """A number of a metric."""

    value: float
    labels: tuple[str, ...] = ()
    """A value for each label of the family."""


Measured = Iterable[tuple[Family, Sequence[MetricSample]]]


def as_text(measured: Measured) -> bytes:
    """The metrics in the text format of Prometheus."""
    return "".join(f"{line}\n" for family, samples in measured for line in lines(family, samples)).encode()


def lines(family: Family, samples: Iterable[MetricSample]) -> Iterator[str]:
    """A counter's or a gauge's lines; none where it has no sample."""
    for number, sample in enumerate(samples):
        if number == 0:
            yield from head(family)
        yield f"{family.name}{_braced(family.labels, sample.labels)} {figure(sample.value)}"


def head(family: Family) -> Iterator[str]:
    """The lines before its numbers."""
    yield f"# HELP {family.name} {family.text}"
    yield f"# TYPE {family.name} {family.kind}"


def labelled(names: Sequence[str], values: Sequence[str]) -> str:
    """Labels, as they stand between the braces."""
    return ",".join(f'{name}="{value.translate(ESCAPES)}"' for name, value in zip(names, values, strict=True))


def figure(value: float) -> str:
    """A number as Prometheus reads it."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if isinstance(value, int) else repr(value)  # True is 1.


def _braced(names: Sequence[str], values: Sequence[str]) -> str:
    return f"{{{labelled(names, values)}}}" if names else ""
