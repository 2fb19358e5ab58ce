"""Surfaces of magnetic tiles, and which of their pictures show one tile."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fogline.data.examples import Array
from fogline.data.loaders.cache import cached
from fogline.data.loaders.folder import DatasetFolder
from fogline.data.loaders.registry import dataset
from fogline.data.loaders.shaping import Floats, Pixels, image_test, random_test
from fogline.data.meaning import Meaning
from fogline.data.raw import RawData

TILE_DEFECTS = ("Blowhole", "Break", "Crack", "Fray", "Free", "Uneven")
ALIKE = 0.5
"""Correlation of two pictures' relief from which on they show one tile. Here lies the valley between two hills: the
pairs of which one in a thousand is above 0.33, and those around 0.75, which the eye takes for one tile."""
BORDER, AROUND, STRONGEST = 5, 7, 4.0
"""Of the relief: the margin that is left out, where edges of tiles lie, and how wide the surroundings are, in halved
pixels; and how many standard deviations count at most."""


@dataset(
    "magnetic_tile",
    "1344 magnetic tiles 96x96 grey, 6 classes; clients are the 6 exposures",
    source="abin24/Magnetic-tile-defect-datasets on GitHub",
)
def magnetic_tile(folder: DatasetFolder, *, flat: bool = False) -> RawData:
    """Images (n, 1, 96, 96). Source: Huang et al., The Visual Computer 36, 2020.

    One tile was taken under several exposures, so the test set is a fifth of the tiles, not of the images. The file's
    numbers of tiles are guessed from the names of the pictures, and one tile may have several, also in several classes;
    pictures that look alike are one tile here. Three images without an exposure are left out.
    """
    arrays = folder.npz("magnetic_tile_96.npz")
    x, y, exposure = arrays["x"], arrays["y"], arrays["exposure"]
    path = folder.file("magnetic_tile_96.npz")
    tile = cached("magnetic_tile-tiles", path, lambda: {"tile": same_tiles(x, arrays["tile"])})["tile"]
    known = exposure > 0
    in_test = np.isin(tile, _test_tiles(tile, y))
    pixels = Pixels((0.4348,), (0.1810,), flat)
    return RawData(
        "magnetic_tile",
        x[:, None],
        y,
        Meaning(6, TILE_DEFECTS),
        test=image_test(pixels, x[in_test & known, None], y[in_test & known]),
        rows=np.flatnonzero(~in_test & known),
        owner=np.char.add("exposure-", exposure.astype(str)),
        transform=pixels,
    )


def _test_tiles(tile: Array, y: Array) -> Array:
    """A fifth of the tiles of each class; one with pictures in several classes counts in the rarest."""
    rarest_first = np.argsort(np.bincount(y)[y], kind="stable")
    tiles, first = np.unique(tile[rarest_first], return_index=True)
    return tiles[random_test(y[rarest_first][first])[1]]


def same_tiles(pictures: Array, tile: Array) -> npt.NDArray[np.int64]:
    """Numbers of tiles (n,) in which those are one of which two of the pictures (n, 96, 96) look alike.

    ``tile`` (n,) says which are one in any case.
    """
    relief = _relief(pictures)
    first, second = np.nonzero(relief @ relief.T > ALIKE)
    tiles = tile.astype(np.int64)
    while True:  # The lowest number goes from neighbour to neighbour.
        lowest = np.arange(tiles.max() + 1)
        np.minimum.at(lowest, tiles[first], tiles[second])
        merged = lowest[tiles]
        if (merged == tiles).all():
            return tiles
        tiles = merged


def _relief(pictures: Array) -> Floats:
    """(n, h, w) brightness to (n, features) of length one: scratches and spots, without light, grain and exposure.

    What a place is brighter than its surroundings, less the means of its row and its column: tiles are ground along one
    axis, so that all of them have such lines.
    """
    n, height, width = pictures.shape
    halved = pictures.reshape(n, height // 2, 2, width // 2, 2).mean((2, 4), dtype=np.float32)
    margin = AROUND // 2
    wide = np.pad(halved, ((0, 0), (margin, margin), (margin, margin)), mode="reflect")
    rows = np.lib.stride_tricks.sliding_window_view(wide, AROUND, axis=1).mean(-1)
    surroundings = np.lib.stride_tricks.sliding_window_view(rows, AROUND, axis=2).mean(-1)
    inside = (halved - surroundings)[:, BORDER:-BORDER, BORDER:-BORDER]
    inside = inside - inside.mean(1, keepdims=True) - inside.mean(2, keepdims=True)
    inside /= inside.std((1, 2), keepdims=True) + 1e-3
    flat = inside.clip(-STRONGEST, STRONGEST).reshape(n, -1)
    return (flat / np.linalg.norm(flat, axis=1, keepdims=True)).astype(np.float32)
