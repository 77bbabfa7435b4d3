"""A white square on which round-ended bars and discs are drawn, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Colour = Sequence[int]
Point = tuple[float, float]

BLACK, RED, GOLD, TEAL, GREY = (0, 0, 0), (204, 77, 77), (204, 153, 51), (0, 160, 160), (150, 150, 150)
_SIZE = 300


class Canvas:
    """A window of world coordinates, `[300, 300, 3]` uint8 as an image; edges are smoothed over one pixel.

    Args:
        low, high: corners of the window; one unit is equally long on both axes when the window is a square.
    """

    def __init__(self, low: Point, high: Point) -> None:
        middle = (np.arange(_SIZE) + 0.5) / _SIZE
        self._x = (low[0] + middle * (high[0] - low[0]))[None, :]
        self._y = (high[1] - middle * (high[1] - low[1]))[:, None]
        self._pixel = (high[0] - low[0]) / _SIZE
        self._image = np.full((_SIZE, _SIZE, 3), 255.0)

    def bar(self, start: Point, end: Point, width: float, colour: Colour) -> None:
        """A bar with round ends."""
        along = np.array(end, float) - start
        length = max(float(along @ along), 1e-12)
        share = np.clip(
            ((self._x - start[0]) * along[0] + (self._y - start[1]) * along[1]) / length, 0.0, 1.0
        )
        distance = np.hypot(self._x - start[0] - share * along[0], self._y - start[1] - share * along[1])
        self._paint(distance - width / 2, colour)

    def disc(self, centre: Point, radius: float, colour: Colour) -> None:
        """A filled circle."""
        self._paint(np.hypot(self._x - centre[0], self._y - centre[1]) - radius, colour)

    def box(self, centre: Point, width: float, height: float, colour: Colour) -> None:
        """An upright filled rectangle."""
        outside = np.maximum(
            np.abs(self._x - centre[0]) - width / 2, np.abs(self._y - centre[1]) - height / 2
        )
        self._paint(outside, colour)

    def image(self) -> np.ndarray:
        """The picture, `[300, 300, 3]` uint8."""
        return self._image.round().astype(np.uint8)

    def _paint(self, distance: np.ndarray, colour: Colour) -> None:
        cover = np.clip(0.5 - distance / self._pixel, 0.0, 1.0)[..., None]
        self._image += cover * (np.array(colour, float) - self._image)
