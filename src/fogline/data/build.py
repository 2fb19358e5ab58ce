"""Make federated data from arrays or from per-client loaders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from fogline.data.dataset import FederatedData
from fogline.data.examples import Examples, Indices, bad_label, check, first_bad_label, not_finite, tidy
from fogline.data.ids import Ids, Listed, NumberedIds
from fogline.data.indices import Partition
from fogline.data.items import RecordFields
from fogline.data.meaning import Meaning
from fogline.data.sources import LazySource, Loader, Rows, Transform, items_of, pair_of


def from_arrays(
    name: str,
    x: Any,
    y: npt.ArrayLike,
    partition: Partition | Sequence[npt.ArrayLike] | Mapping[str, npt.ArrayLike],
    *,
    classes: int | None = None,
    test: Any = None,
    groups: Mapping[str, str] | None = None,
    held_out: Iterable[str] = (),
    transform: Transform | None = None,
    meaning: Meaning | None = None,
    overlap: bool = False,
    public: Any = None,
) -> FederatedData:
    """Federated data over shared arrays: each client is some of their rows.

    Args:
        name: what to call it.
        x: (n, ...) inputs; floats become float32, whole numbers stay. Several arrays are a tuple (the model's
            arguments) or a dict (its arguments by name).
        y: (n,) or (n, ...) labels or (n, classes, ...) soft ones with ``classes``, or (n,) or (n, k) targets without.
        partition: rows per client, as a list or by client id. Rows that nobody owns are never looked at.
        classes: number of classes; None for regression.
        test: the central test set, ready for use (``transform`` is not applied to it); or a dict with the test set of
            each client by its id, for some or all.
        groups: natural group (fog) of each client id.
        held_out: client ids that never train.
        transform: applied to a client's ``x`` each time it is loaded.
        meaning: class names or the unit of the targets; it tells the number of classes too.
        overlap: allow a row to belong to several clients.
        public: examples that are no client's own, and known to all, for methods that compare models on them (FedMD);
            ready for use, as ``test`` is.

    Raises:
        ValueError: lengths differ; a client is empty or owns a row that is not there or another's; a label is
            out of range or a number not finite. The sentence names the client and the row.
    """
    meaning = _meaning(meaning, classes)
    base = tidy(x, y, meaning, f"Data set '{name}'")
    parts = Partition.of(partition)
    ids = NumberedIds(len(parts)) if parts.ids is None else Listed(parts.ids)
    _check_rows(parts, ids, base.count, overlap)
    _check_values(parts, ids, base, meaning)
    source, columns = Rows(ids, base, parts, transform), RecordFields()
    judged, own = _tests(test, meaning, columns, name, ids)
    known = _public(public, meaning, columns, name)
    return _finish(FederatedData(name, source, meaning, test=judged, groups=groups, tests=own, public=known), held_out)


def from_clients(
    name: str,
    clients: Mapping[str, Any] | Sequence[str],
    loader: Loader | None = None,
    *,
    inputs: str | Sequence[str] | None = None,
    target: str | None = None,
    sizes: npt.ArrayLike | None = None,
    classes: int | None = None,
    test: Any = None,
    groups: Mapping[str, str] | None = None,
    held_out: Iterable[str] = (),
    meaning: Meaning | None = None,
    public: Any = None,
) -> FederatedData:
    """Federated data whose clients are loaded one by one, each time they are asked for.

    ``clients`` maps an id to what it holds; or it is a list of ids, and ``loader(id)`` loads it. A client holds

    - ``Examples(x, y)``, where ``x`` may be several arrays (a tuple or a dict);
    - a PyTorch ``Dataset`` or ``DataLoader``, or a list: of pairs (input, target), or of records, of which ``inputs``
      names the column or columns that are inputs and ``target`` that which is wanted. They are read once and kept;
      where items are drawn (augmentation), they are read anew for every epoch, by the client's seed for it;
    - or a function that returns one of these; it is called each time, under a seed of the client's own.

    ``sizes`` (clients,) tells the number of examples in advance; without it, asking for the sizes loads every client
    of whom it is not known once. The other arguments are those of `from_arrays`; ``test`` and ``public`` may
    be what a client may.

    Raises:
        ValueError: an id occurs twice or a size is not positive; later, on the first load of a client, what
            `from_arrays` would refuse.
    """
    meaning, columns = _meaning(meaning, classes), RecordFields(inputs, target)
    ids = clients if isinstance(clients, Ids) else Listed(list(map(str, clients)))
    held: dict[str, Any] | Loader | None = loader
    if isinstance(clients, dict):
        held = {str(client): found for client, found in clients.items()}  # Ids of frames are often numbers.
    elif isinstance(clients, Mapping):
        held = clients.__getitem__  # It may load them itself, and should not be made to hold them.
    if held is None:
        raise ValueError(
            "A list of client ids needs a loader: from_clients(name, ids, loader). "
            "Data go in a dict by id: {id: Examples(x, y)}."
        )
    known = None if sizes is None else _check_sizes(np.asarray(sizes, np.int64), ids)
    source = LazySource(ids, held, meaning, known, columns)
    if isinstance(held, dict):
        for i, client in enumerate(ids):
            if pair_of(held[client]) is not None:
                source.load(i)
    judged, own = _tests(test, meaning, columns, name, ids)
    shared = _public(public, meaning, columns, name)
    return _finish(FederatedData(name, source, meaning, test=judged, groups=groups, tests=own, public=shared), held_out)


def _meaning(meaning: Meaning | None, classes: int | None) -> Meaning:
    if meaning is None:
        return Meaning(classes)
    if classes is not None and classes != meaning.classes:
        raise ValueError(f"classes is {classes}, but the meaning of the labels says {meaning.classes}.")
    return meaning


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


def _check_values(parts: Partition, ids: Ids, base: Examples, meaning: Meaning) -> None:
    found = not_finite(base, parts.order)
    if found is not None:
        raise ValueError(f"{_place(parts, ids, found[1])}: {found[0]} holds a NaN or an infinity.")
    if meaning.classes is None or base.y.dtype.kind == "f":
        return
    at = first_bad_label(base.y, meaning, parts.order)
    if at is not None:
        raise ValueError(f"{_place(parts, ids, at)}: {bad_label(base.y[parts.order[at]], meaning)}")


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


def _tests(
    test: Any, meaning: Meaning, columns: RecordFields, name: str, ids: Ids
) -> tuple[Examples | None, dict[str, Examples]]:
    """The central test set, and the clients' own: it is one or the other."""
    if test is None:
        return None, {}
    if not isinstance(test, Mapping):
        return _ready(test, meaning, columns, f"The test set of '{name}'"), {}
    own = {str(client): found for client, found in cast("Mapping[Any, Any]", test).items()}
    alone = next((client for client in own if ids.position(client) is None), None)
    if alone is not None:
        raise ValueError(f"The test sets of '{name}' name a client '{alone}' that is not among its clients.")
    where = "The test set of client"
    return None, {client: _ready(found, meaning, columns, f"{where} '{client}'") for client, found in own.items()}


def _public(public: Any, meaning: Meaning, columns: RecordFields, name: str) -> Examples | None:
    return None if public is None else _ready(public, meaning, columns, f"The public part of '{name}'")


def _ready(given: Any, meaning: Meaning, columns: RecordFields, where: str) -> Examples:
    """Examples that are at hand, checked."""
    pair = pair_of(given)
    if pair is None:
        pair = items_of(given, columns, where).read(0)[:2]
    return check(tidy(*pair, meaning, where), meaning, where)


def _finish(data: FederatedData, held_out: Iterable[str]) -> FederatedData:
    if data.groups is not None:
        groups = data.groups
        alone = next((client for client in data.clients if client not in groups), None)
        if alone is not None:
            raise ValueError(f"Client '{alone}' of '{data.name}' has no group.")
    held = tuple(held_out)
    return data.with_held_out(held) if held else data
