"""What a partition looks like: counts of labels per client, and a picture of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fogline.data.dataset import FederatedData
from fogline.data.examples import Indices

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BUBBLES = 40
"""Up to so many clients are drawn as bubbles, more as stacked bars."""

NAMED = 12
"""Up to so many classes are named in a legend."""


def label_counts(data: FederatedData) -> Indices:
    """(clients, classes) how many labels of each class each training client has; characters count one each.

    Raises:
        ValueError: the data is for regression.
    """
    classes = _classes(data)
    counts = np.zeros((len(data.clients), classes), np.int64)
    for i in range(len(counts)):
        counts[i] = _counted(data.targets(i), classes)
    return counts


def _counted(labels: npt.NDArray[Any], classes: int) -> Indices:
    """How many there are of each class; labels that mark what has no truth are of none, soft ones of the likeliest."""
    if labels.dtype.kind == "f":
        labels = labels.argmax(1)
    known = labels[(labels >= 0) & (labels < classes)]
    return np.bincount(known, minlength=classes).astype(np.int64)


def plot_partition(data: FederatedData, *, most: int = 200) -> Figure:
    """Draw who holds what: labels per client, or for regression the sizes and the spread of the targets.

    Of more than ``most`` clients, evenly spaced ones are drawn. Needs matplotlib. The figure belongs to no
    window: save it with ``figure.savefig``.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: ``most`` is not positive.
    """
    if most < 1:
        raise ValueError(f"most must be at least 1, not {most}.")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("A picture of a partition needs matplotlib: pip install 'fogline[plots]'.") from error
    total = len(data.clients)
    shown = np.unique(np.linspace(0, total - 1, min(total, most)).astype(np.int64))
    figure = Figure(figsize=(9, 5), layout="constrained")
    if data.classes is None:
        _draw_targets(figure, data, shown)
    else:
        _draw_labels(figure, data, shown)
    clients = f"{total} clients" if len(shown) == total else f"{len(shown)} of {total} clients"
    figure.suptitle(f"{data.name}: {clients}, {int(data.sizes().sum())} examples")
    return figure


def _classes(data: FederatedData) -> int:
    if data.classes is None:
        raise ValueError(f"'{data.name}' is for regression: it has no labels to count.")
    return data.classes


def _draw_labels(figure: Figure, data: FederatedData, shown: Indices) -> None:
    classes = _classes(data)
    counts = np.array([_counted(data.targets(int(i)), classes) for i in shown])
    axes = figure.subplots()
    if len(shown) <= BUBBLES:
        _draw_bubbles(axes, counts)
        axes.set_ylabel("class")
        if data.meaning.class_names is not None and classes <= NAMED:
            axes.set_yticks(range(classes), data.meaning.class_names)
    else:
        _draw_bars(axes, counts, data.meaning.class_names)
        axes.set_ylabel("labels")
    axes.set_xlabel("client")


def _draw_bubbles(axes: Any, counts: Indices) -> None:
    """Areas are in proportion to counts; the largest bubble fills about one place."""
    client, label = np.nonzero(counts)
    area = counts[client, label] / counts.max()
    axes.scatter(client, label, s=500 * 20 / max(len(counts), 20) * area, alpha=0.7, linewidths=0)
    axes.set_xlim(-1, len(counts))
    axes.set_ylim(-1, counts.shape[1])


def _draw_bars(axes: Any, counts: Indices, names: tuple[str, ...] | None) -> None:
    import matplotlib as mpl

    classes = counts.shape[1]
    colours = mpl.colormaps["tab20" if classes <= 20 else "viridis"]
    place = np.arange(len(counts))
    base = np.zeros(len(counts), np.int64)
    for k in range(classes):
        colour = colours(k) if classes <= 20 else colours(k / (classes - 1))
        axes.bar(place, counts[:, k], 1.0, bottom=base, color=colour, label=str(k) if names is None else names[k])
        base += counts[:, k]
    if classes <= NAMED:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), title="class")


def _draw_targets(figure: Figure, data: FederatedData, shown: Indices) -> None:
    sizes, spread = figure.subplots(2, 1, sharex=True)
    place = np.arange(len(shown))
    sizes.bar(place, data.sizes()[shown], 1.0)
    sizes.set_ylabel("examples")
    levels = np.array([_quantiles(data.targets(int(i))) for i in shown]).T
    levels = levels * data.meaning.target_scale + data.meaning.target_offset
    spread.bar(place, levels[4] - levels[0], 0.9, bottom=levels[0], alpha=0.3, label="5 to 95 %")
    spread.bar(place, levels[3] - levels[1], 0.9, bottom=levels[1], alpha=0.6, label="25 to 75 %")
    spread.plot(place, levels[2], "k_", label="median")
    unit = f" ({data.meaning.target_unit})" if data.meaning.target_unit else ""
    spread.set_ylabel(f"target{unit}")
    spread.set_xlabel("client")
    spread.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _quantiles(targets: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return np.quantile(targets, (0.05, 0.25, 0.5, 0.75, 0.95))
