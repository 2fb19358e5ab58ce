"""Make federated data from arrays or from per-client loaders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from fogline.data.dataset import FederatedData, Meaning
from fogline.data.examples import Examples, Indices, bad_label, check, first_bad_label, first_not_finite, tidy
from fogline.data.ids import Ids, Listed, Numbered
from fogline.data.indices import Partition
from fogline.data.sources import Loaded, Loader, Rows, Transform


def from_arrays(
    name: str,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    partition: Partition | Sequence[npt.ArrayLike] | Mapping[str, npt.ArrayLike],
    *,
    classes: int | None = None,
    test: Examples | None = None,
    groups: Mapping[str, str] | None = None,
    held_out: Iterable[str] = (),
    transform: Transform | None = None,
    meaning: Meaning | None = None,
    overlap: bool = False,
) -> FederatedData:
    """Federated data over shared arrays: each client is some of their rows.

    Args:
        name: what to call it.
        x: (n, ...) inputs; floats become float32, whole numbers stay.
        y: (n,) or (n, length) labels with ``classes``, or (n,) or (n, k) targets without.
        partition: rows per client, as a list or by client id. Rows that nobody owns are never looked at.
        classes: number of classes; None for regression.
        test: the central test set, ready for use (``transform`` is not applied to it).
        groups: natural group (fog) of each client id.
        held_out: client ids that never train.
        transform: applied to a client's ``x`` each time it is loaded.
        meaning: class names or the unit of the targets; it tells the number of classes too.
        overlap: allow a row to belong to several clients.

    Raises:
        ValueError: lengths differ; a client is empty or owns a row that is not there or another's; a label is
            out of range or a number not finite. The sentence names the client and the row.
    """
    meaning = _meaning(meaning, classes)
    classes = meaning.classes
    base = tidy(x, y, classes, f"Data set '{name}'")
    parts = Partition.of(partition)
    ids = Numbered(len(parts)) if parts.ids is None else Listed(parts.ids)
    _check_rows(parts, ids, base.count, overlap)
    _check_values(parts, ids, base, classes)
    source = Rows(ids, base, parts, transform)
    return _finish(FederatedData(name, source, meaning, test=_test(test, classes, name), groups=groups), held_out)


def from_clients(
    name: str,
    clients: Mapping[str, Examples | Callable[[], Examples]] | Sequence[str],
    loader: Loader | None = None,
    *,
    sizes: npt.ArrayLike | None = None,
    classes: int | None = None,
    test: Examples | None = None,
    groups: Mapping[str, str] | None = None,
    held_out: Iterable[str] = (),
    meaning: Meaning | None = None,
) -> FederatedData:
    """Federated data whose clients are loaded one by one, each time they are asked for.

    ``clients`` maps an id to its examples or to a function that loads them; or it is a list of ids, and
    ``loader(id)`` loads them. ``sizes`` (clients,) tells the number of examples in advance; without it,
    asking for the sizes loads every client once. The other arguments are those of `from_arrays`.

    Raises:
        ValueError: an id occurs twice or a size is not positive; later, on the first load of a client, what
            `from_arrays` would refuse.
    """
    meaning = _meaning(meaning, classes)
    classes = meaning.classes
    ids = clients if isinstance(clients, Ids) else Listed(list(clients))
    if isinstance(clients, Mapping):
        loader = _MappingLoader(clients)
    if loader is None:
        raise ValueError("A list of client ids needs a loader.")
    known = None if sizes is None else _check_sizes(np.asarray(sizes, np.int64), ids)
    source = Loaded(ids, loader, classes, known)
    if isinstance(clients, Mapping):
        for i, client in enumerate(ids):
            if isinstance(clients[client], Examples):
                source.load(i)
    return _finish(FederatedData(name, source, meaning, test=_test(test, classes, name), groups=groups), held_out)


def _meaning(meaning: Meaning | None, classes: int | None) -> Meaning:
    if meaning is None:
        return Meaning(classes)
    if classes is not None and classes != meaning.classes:
        raise ValueError(f"classes is {classes}, but the meaning of the labels says {meaning.classes}.")
    return meaning


class _MappingLoader:
    def __init__(self, clients: Mapping[str, Examples | Callable[[], Examples]]) -> None:
        self._clients = clients

    def __call__(self, client: str) -> Examples:
        found = self._clients[client]
        return found if isinstance(found, Examples) else found()


def _check_rows(parts: Partition, ids: Ids, count: int, overlap: bool) -> None:
    empty = np.flatnonzero(parts.sizes == 0)
    if len(empty):
        raise ValueError(f"Client '{ids[int(empty[0])]}' has no examples.")
    outside = np.flatnonzero((parts.order < 0) | (parts.order >= count))
    if len(outside):
        row = parts.order[outside[0]]
        raise ValueError(f"Client '{_owner(parts, ids, outside[0])}' owns row {row}; rows go from 0 to {count - 1}.")
    if overlap or len(parts.order) == 0:
        return
    times = np.bincount(parts.order, minlength=count)
    if times.max() > 1:
        row = int(np.argmax(times > 1))
        first, second = np.flatnonzero(parts.order == row)[:2]
        owners = f"'{_owner(parts, ids, first)}' and again to '{_owner(parts, ids, second)}'"
        raise ValueError(f"Row {row} belongs to client {owners}; pass overlap=True if that is meant.")


def _check_values(parts: Partition, ids: Ids, base: Examples, classes: int | None) -> None:
    for part, values in (("x", base.x), ("y", base.y)):
        at = first_not_finite(values, parts.order)
        if at is not None:
            raise ValueError(f"{_place(parts, ids, at)}: {part} holds a NaN or an infinity.")
    if classes is None:
        return
    at = first_bad_label(base.y, classes, parts.order)
    if at is not None:
        raise ValueError(f"{_place(parts, ids, at)}: {bad_label(base.y[parts.order[at]], classes)}")


def _owner(parts: Partition, ids: Ids, at: int | np.integer) -> str:
    return ids[int(np.searchsorted(parts.offsets, at, side="right")) - 1]


def _place(parts: Partition, ids: Ids, at: int) -> str:
    return f"Client '{_owner(parts, ids, at)}', row {parts.order[at]} of the arrays"


def _check_sizes(sizes: Indices, ids: Ids) -> Indices:
    if sizes.shape != (len(ids),):
        raise ValueError(f"There are {len(ids)} clients, but sizes has shape {sizes.shape}.")
    if len(sizes) and sizes.min() < 1:
        raise ValueError(f"Client '{ids[int(np.argmin(sizes))]}' has no examples.")
    return sizes


def _test(test: Examples | None, classes: int | None, name: str) -> Examples | None:
    if test is None:
        return None
    where = f"The test set of '{name}'"
    return check(tidy(*test, classes, where), classes, where)


def _finish(data: FederatedData, held_out: Iterable[str]) -> FederatedData:
    if data.groups is not None:
        groups = data.groups
        alone = next((client for client in data.clients if client not in groups), None)
        if alone is not None:
            raise ValueError(f"Client '{alone}' of '{data.name}' has no group.")
    held = tuple(held_out)
    return data.with_held_out(held) if held else data
