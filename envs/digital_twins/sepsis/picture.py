"""The tissue as a picture."""

from __future__ import annotations

import math

import numpy as np

from dynrl.envs.digital_twins.sepsis.mobile import AGE, CELL
from dynrl.envs.digital_twins.sepsis.model import SepsisState

__all__ = ["tissue_picture"]

_LEAST_PIXELS = 408


def tissue_picture(state: SepsisState, grid: int) -> np.ndarray:
    """Oxygen as red on black, infection green, activated cells bluish, PMN white and brighter the more there are
    `[H, W, 3]` uint8, at least 408 pixels a side; north is up."""
    tissue = state.tissue
    oxygen = np.asarray(tissue.oxy, float) / 100
    infection = np.clip(np.asarray(tissue.infection, float) / 100, 0, 1)
    image = np.zeros((grid * grid, 3))
    image[:, 0] = 0.85 * oxygen * (1 - 0.7 * infection)
    image[:, 1] = 0.1 * oxygen + 0.7 * infection
    image[:, 2] = 0.1 * oxygen + 0.35 * np.asarray(tissue.activated, float) * (1 - infection)
    rows = np.asarray(state.pmn.rows)
    there = np.bincount(rows[CELL, rows[AGE] >= 0].astype(int), minlength=grid * grid)[:, None]
    image = np.where(there > 0, 1 - (1 - image) * 0.5 ** (1 + 0.5 * there), image)
    pixels = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8).reshape(grid, grid, 3)[::-1]
    size = math.ceil(_LEAST_PIXELS / grid)
    return np.ascontiguousarray(np.kron(pixels, np.ones((size, size, 1), np.uint8)))
