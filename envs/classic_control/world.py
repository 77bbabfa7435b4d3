"""What the five worlds share: two precisions, a horizon, and numbers as reset options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from dynrl.functional import FunctionalEnv


@dataclass(frozen=True)
class ClassicControl(FunctionalEnv):
    """Base of the classic-control worlds.

    Constants are kept in float64 and rounded where the computation is in float32, so one default serves both
    precisions.

    Attributes:
        horizon: steps per episode.
        x64: compute in float64, as Gymnasium does; float32 otherwise.
    """

    metadata: ClassVar[Mapping[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 30}
    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {"horizon": (7, 100)}
    reset_options: ClassVar[tuple[str, ...]] = ("low", "high")

    horizon: int = 200
    x64: bool = False  # type: ignore[misc]

    def __post_init__(self) -> None:
        whole = isinstance(self.horizon, (int, np.integer)) and not isinstance(self.horizon, bool)
        if not whole or self.horizon < 1:
            raise ValueError(f"horizon is {self.horizon!r}, expected a whole number of at least 1")

    def apply_options(self, params: Any, options: Mapping[str, Any]) -> Any:
        """Bounds of the start states, under Gymnasium's names.

        Raises:
            ValueError: an unknown option, no finite number, or low above high.
        """
        for name, value in options.items():
            if name not in self.reset_options:
                known = " and ".join(map(repr, self.reset_options))
                raise ValueError(f"{type(self).__name__} knows no reset option {name!r}; it takes {known}.")
            if (
                isinstance(value, bool)
                or not isinstance(value, (int, float, np.number))
                or not np.isfinite(value)
            ):
                raise ValueError(f"reset option {name!r} is {value!r}, expected a finite number.")
        changed = params._replace(**{name: np.float64(value) for name, value in options.items()})
        if "low" in self.reset_options and changed.low > changed.high:
            raise ValueError(f"reset option 'low' is {changed.low}, above 'high', which is {changed.high}.")
        return changed
