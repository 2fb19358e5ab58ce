"""Where the files of a version lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fogline.inference.card import Asset
from fogline.inference.runtimes.base import ModelError


class ModelFiles:
    """Finds files by their digests.

    Args:
        paths: by digest.
    """

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._paths = paths

    def __call__(self, asset: Asset) -> Path:
        """The file.

        Raises:
            ModelError: nobody said where it is.
        """
        if asset.digest not in self._paths:
            raise ModelError(f"File {asset.digest[:12]}… of the model is not here.")
        return self._paths[asset.digest]
