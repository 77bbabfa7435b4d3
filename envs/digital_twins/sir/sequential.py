"""The epidemic, one person after the other: the definition, plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np

from dynrl.envs.digital_twins.sir.model import SIRModel, SIRParams

__all__ = ["run"]


def run(model: SIRModel, controls: Any, params: SIRParams, rng: np.random.Generator) -> np.ndarray:
    """Numbers of S, I, R, V before the first day and after each, int64 `[T + 1, 4]`.

    Args:
        model: grid and mixing.
        controls: shares of susceptibles to vaccinate and of contacts to avoid, per day `[T, 2]`.
        params: rates.
        rng: of every draw.
    """
    height, width = model.grid.shape
    status = [0] * (height * width)
    for person in rng.choice(len(status), int(params.infected), replace=False):
        status[person] = 1
    record = [[status.count(value) for value in range(4)]]
    for vaccination, reduction in np.asarray(controls, float):
        susceptible = [person for person, value in enumerate(status) if value == 0]
        share = vaccination * len(susceptible)
        number = int(share) + (rng.random() < share - int(share))
        for person in rng.permutation(susceptible)[:number]:
            status[int(person)] = 3
        morning = list(status)
        for person, value in enumerate(morning):
            if value == 1 and rng.random() < params.gamma:
                status[person] = 2
            if value != 0:
                continue
            for contact in _contacts(person, height, width, model):
                if morning[contact] == 1 and rng.random() < params.beta * (1 - reduction):
                    status[person] = 1
        record.append([status.count(value) for value in range(4)])
    return np.array(record)


def _contacts(person: int, height: int, width: int, model: SIRModel) -> list[int]:
    if model.mixing == "full":
        return [other for other in range(height * width) if other != person]
    row, column = divmod(person, width)
    found = []
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            other = row + down, column + right
            inside = 0 <= other[0] < height and 0 <= other[1] < width
            if (down, right) != (0, 0) and (model.torus or inside):
                found.append(other[0] % height * width + other[1] % width)
    return found
