"""Where a device keeps what it has of its own of models. Needs no arrays: a node that only waits loads none."""

from __future__ import annotations

import os
from pathlib import Path

from fogline.inference.card import ModelName
from fogline.storage.atomic import PRIVATE
from fogline.storage.files import put_in_place


class PersonalParts:
    """The newest part of each model that this device has.

    Args:
        folder: where they lie; made when the first comes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, model: ModelName, draft: Path) -> None:
        """Take a finished file in the place of the part before.

        Raises:
            OSError: the disk does not allow it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with draft.open("r+b") as file:
            os.fchmod(file.fileno(), PRIVATE)
            put_in_place(file.fileno(), draft, self._path(model), durable=True)

    def newest(self, model: ModelName) -> Path | None:
        """The part of a model; None if this device has none."""
        path = self._path(model)
        return path if path.exists() else None

    def _path(self, model: ModelName) -> Path:
        return self._folder / f"{model}.safetensors"
