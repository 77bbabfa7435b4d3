"""The network as a picture."""

from __future__ import annotations

import numpy as np

from dynrl.envs.digital_twins.metabolic.model import MetabolicState

__all__ = ["network_picture"]

_PIXELS = 408  # least side of a picture
_COLOURS = np.array([[70, 130, 220], [80, 190, 90], [225, 70, 60]], float)  # S, I, P
_FIRST, _SECOND = np.array([245, 245, 245]), np.array([150, 150, 160])


def network_picture(micro: MetabolicState, length: int, n1: int) -> np.ndarray:
    """Substrate blue, intermediate green, product red, the brighter the more of them; a white frame is an E1, a grey
    dot an E2. `[H, W, 3]` uint8."""
    size = max(-(-_PIXELS // length), 5)
    amounts = np.zeros((3, length * length))
    for kind in range(3):
        amounts[kind] = np.bincount(micro.cell[micro.kind == kind + 1], minlength=length**2)
    shade = 1 - 0.5**amounts  # one molecule is half as bright as many
    total = np.maximum(shade.sum(0), 1)
    cells = 20 + 0.92 * ((shade / total).T @ _COLOURS)
    picture = np.kron(cells.reshape(length, length, 3), np.ones((size, size, 1)))
    edge, middle = size // 5, size // 2
    for number, cell in enumerate(micro.enzyme_cell):
        row, column = (size * place for place in divmod(int(cell), length))
        square = picture[row : row + size, column : column + size]
        if number < n1:
            inside = square[edge : size - edge, edge : size - edge].copy()
            square[:] = _FIRST
            square[edge : size - edge, edge : size - edge] = inside
        else:
            square[middle - 1 : middle + 2, middle - 1 : middle + 2] = _SECOND
    return np.clip(picture, 0, 255).astype(np.uint8)
