"""Groups, models and updates as safetensors files."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError

from fogline.aggregation import Partial, UnusableUpdateError, Update, from_arrays
from fogline.algorithms.group import Down, GroupModel
from fogline.params import State, map_arrays, write_arrays


def read_group(path: str) -> GroupModel:
    """An aggregator's numbers."""
    return GroupModel.from_arrays(map_arrays(Path(path)))


def read_model(path: str) -> Down:
    """What a parent sends down.

    Raises:
        ValueError: the file holds something else.
    """
    try:
        return Down.from_arrays(map_arrays(Path(path)))
    except (KeyError, SafetensorError) as error:
        raise ValueError(f"The parent's model cannot be read: {error}.") from error


def read_update(path: str) -> Update | Partial:
    """What a child sent.

    Raises:
        UnusableUpdate: the file holds something else.
    """
    try:
        return from_arrays(map_arrays(Path(path)))
    except (SafetensorError, ValueError, OSError) as error:
        raise UnusableUpdateError(f"It cannot be read: {error}.") from error


def read_state(path: str | None) -> State:
    """The vectors that a method keeps on a device."""
    return {} if path is None else map_arrays(Path(path))


def write(path: str, value: GroupModel | Down | Update | Partial) -> None:
    """Any of them."""
    write_arrays(Path(path), value.to_arrays())


def write_state(path: str, state: State) -> None:
    """The vectors that a method keeps on a device."""
    write_arrays(Path(path), state)
