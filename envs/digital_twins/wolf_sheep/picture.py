"""The grid as numbers per cell and as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dynrl.abm import counts
from dynrl.abm.arrays import namespace

if TYPE_CHECKING:
    from dynrl.envs.digital_twins.wolf_sheep.model import WolfSheep, WolfSheepState

__all__ = ["grid_image", "grid_picture"]

_GROWN, _EATEN = (74, 138, 63), (139, 104, 66)
_PIXELS = 408
"""Least width of a picture."""


def grid_image(model: WolfSheep, state: WolfSheepState) -> Any:
    """Grown (0 or 1), sheep and wolves of each cell, saturating uint8 `[3, H, W]`."""
    xp = namespace(state.countdown)
    cells = model.grid.cells
    layers = [
        state.countdown == 0,
        counts(state.sheep.cell, state.sheep.alive, cells),
        counts(state.wolves.cell, state.wolves.alive, cells),
    ]
    numbers = xp.stack([xp.minimum(layer, 255).astype(np.uint8) for layer in layers])
    return numbers.reshape(3, model.height, model.width)


def grid_picture(model: WolfSheep, state: WolfSheepState) -> np.ndarray:
    """Grass green, eaten patches brown; sheep white in the left half of their cell, wolves black in the right one, the
    more animals the stronger; `[H · s, W · s, 3]` uint8, at least 408 pixels wide or high.

    Args:
        model: of the state.
        state: a microstate in NumPy or JAX arrays.
    """
    grown, sheep, wolves = (np.asarray(layer) for layer in grid_image(model, state))
    scale = max(-(-_PIXELS // max(model.height, model.width)), 4)
    tiles = np.where(grown[..., None] > 0, np.array(_GROWN), np.array(_EATEN)).astype(np.float64)
    image = np.repeat(np.repeat(tiles, scale, axis=0), scale, axis=1)
    margin, middle = max(scale // 8, 1), scale // 2
    for numbers, colour, columns in (
        (sheep, 255.0, slice(margin, middle)),
        (wolves, 0.0, slice(middle, scale - margin)),
    ):
        # One animal covers its ground by 70 %, several come closer to covering it all.
        cover = np.where(numbers > 0, 1 - 0.3 / np.maximum(numbers, 1), 0.0)
        view = image.reshape(model.height, scale, model.width, scale, 3)[
            :, margin : scale - margin, :, columns
        ]
        view += cover[:, None, :, None, None] * (colour - view)
    return np.rint(image).astype(np.uint8)
