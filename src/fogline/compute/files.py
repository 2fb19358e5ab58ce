"""Groups, models and updates as safetensors files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from fogline.aggregation import Arrays, Partial, UnusableUpdateError, Update, from_arrays
from fogline.aggregation.tally import SurveySums
from fogline.algorithms.group import Down, GroupModel
from fogline.compute.messages import NONE, decoded, decoded_model, decoded_update
from fogline.params import State, map_arrays, write_arrays
from fogline.stages import Pipeline, StageError

Reader = Callable[[Path], Arrays]
"""Reads the arrays of a file, or a block of each."""


def read_group(path: str, read: Reader = map_arrays) -> GroupModel:
    """Read an aggregator's own numbers: model, method state and counters."""
    return GroupModel.from_arrays(read(Path(path)))


def read_model(path: str, read: Reader = map_arrays, stages: Pipeline = NONE) -> Down:
    """What a parent sends down. Where it came through stages all of it is read, whatever ``read`` would read.

    Raises:
        ValueError: the file holds something else.
    """
    try:
        if stages:
            return decoded_model(map_arrays(Path(path)), stages)
        return Down.from_arrays(read(Path(path)))
    except (KeyError, SafetensorError, StageError) as error:
        raise ValueError(f"The parent's model cannot be read: {error}.") from error


def read_update(path: str, read: Reader = map_arrays, stages: Pipeline = NONE) -> Update | Partial:
    """What a child sent. Where it came through stages all of it is read, whatever ``read`` would read.

    Raises:
        UnusableUpdateError: the file holds something else.
    """
    try:
        if stages:
            return decoded_update(map_arrays(Path(path)), stages)
        value = from_arrays(read(Path(path)))
        return decoded(value, stages)
    except (SafetensorError, ValueError, OSError) as error:
        raise UnusableUpdateError(f"It cannot be read: {str(error).rstrip('.')}.") from error


def read_tally(path: str) -> SurveySums:
    """The sums that a child sent.

    Raises:
        UnusableUpdateError: the file holds something else.
    """
    try:
        return SurveySums.from_arrays(map_arrays(Path(path)))
    except (SafetensorError, ValueError, OSError) as error:
        raise UnusableUpdateError(f"It cannot be read: {str(error).rstrip('.')}.") from error


def read_state(path: str | None) -> State:
    """The vectors that a method, or stages, keep on a node."""
    return {} if path is None else map_arrays(Path(path))


def write(path: str, value: GroupModel | Down | Update | Partial | SurveySums) -> None:
    """Write a group, a model, an update, a partial result or sums as safetensors."""
    write_arrays(Path(path), value.to_arrays())


def write_state(path: str, state: State) -> None:
    """The vectors that a method, or stages, keep on a node."""
    write_arrays(Path(path), state)
