"""`dynrl/WindyWalk-v0`: three corridors to the goal, with a wind of unknown strength against the walker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from dynrl.functional import FunctionalEnv

__all__ = ["WindyWalk", "WindyWalkParams", "windy_walk_kernel", "windy_walk_problem"]

LAYOUT = ("Snnn.G", ".###..", ".mmm..", ".###..", ".sss..", ".sss..")
ROWS, COLUMNS, ACTIONS = 6, 6, 4
STATES = ROWS * COLUMNS
MOVES = np.array([[-1, 0], [1, 0], [0, 1], [0, -1]])
"""North, south, east, west, as changes of (row, column)."""

CELLS = np.array([list(row) for row in LAYOUT])
WALL, GOAL = (CELLS == "#").ravel(), int(np.flatnonzero(CELLS.ravel() == "G")[0])
EXPONENTS = {"n": 1, "m": 3, "s": 6}
GAMMA = 0.95
"""The discount at which the published numbers of the walk hold."""

_WEST, _EAST = 3, 2
_PIXELS = 48


class WindyWalkParams(NamedTuple):
    """Attributes:
    alpha: strength of the wind, in [0, 1].
    reward: of a step.
    """

    alpha: Any
    reward: Any


def _moved(state: int, action: int) -> int:
    row, column = np.array(divmod(state, COLUMNS)) + MOVES[action]
    inside = 0 <= row < ROWS and 0 <= column < COLUMNS
    return state if not inside or WALL[row * COLUMNS + column] else int(row * COLUMNS + column)


def _without_wind(state: int, action: int) -> int:
    """Where an action leads when the wind does not blow: to the side only in the southern corridor."""
    if state == GOAL or WALL[state]:
        return state
    if CELLS.ravel()[state] in "nm" and action not in (_EAST, _WEST):
        return state
    return _moved(state, action)


CALM = np.array([[_without_wind(state, action) for action in range(ACTIONS)] for state in range(STATES)])
"""`[S, A]`, the next square where the wind does not blow."""

BLOWN = np.array([_moved(state, _WEST) for state in range(STATES)])
"""`[S]`, the next square where it does."""

POWER = np.array([EXPONENTS.get(cell, 0) for cell in CELLS.ravel()])
"""`[S]`, the wind blows with probability α to this power; 0 where there is none."""


@dataclass(frozen=True)
class WindyWalk(FunctionalEnv):
    """Walk from the north-west corner to the north-east corner through one of three windy corridors.

    ## Description
    Six by six squares; `S` start, `G` goal, `#` wall, and corridors with wind from the east:
    ```
    S  n  n  n  .  G
    .  #  #  #  .  .
    .  m  m  m  .  .
    .  #  #  #  .  .
    .  s  s  s  .  .
    .  s  s  s  .  .
    ```
    The wind blows with probability α in the corridor `n`, α³ in `m` and α⁶ in `s`: the shorter the way, the stronger
    the wind. Where it blows, any step leads west. Where it does not, east and west lead there, and north and south do
    in the corridor `s` only. Outside the corridors steps succeed; into a wall or the border they lead nowhere. After
    "Solving robust MDPs as a sequence of static RL problems" (Zouitine, Geist & Rachelson 2024), with a layout of our
    own, for theirs is not given in full.

    ## Action space
    `Discrete(4)`: north, south, east, west.

    ## Observation space
    `Discrete(36)`: 6 · row + column, rows from north to south.

    ## Rewards
    −1 per step.

    ## Starting state
    The north-west corner, 0.

    ## Episode end
    Terminates at the goal, 5; truncated after `horizon` steps.

    ## Info
    Nothing.

    Args:
        alpha: strength of the wind, in [0, 1]; a leaf of `params`.
        horizon: steps per episode.

    ## Version history
    v0: first version.
    """

    metadata: ClassVar[Mapping[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 4}
    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {"alpha": (0.0, 0.2, 0.5), "horizon": (20, 200)}

    alpha: float = field(default=0.2, compare=False)
    horizon: int = 200

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha is {self.alpha!r}, expected a strength of the wind in [0, 1]")
        if (
            not isinstance(self.horizon, (int, np.integer))
            or isinstance(self.horizon, bool)
            or self.horizon < 1
        ):
            raise ValueError(f"horizon is {self.horizon!r}, expected a whole number of at least 1")

    @cached_property
    def action_space(self) -> spaces.Discrete:  # type: ignore[override]
        return spaces.Discrete(ACTIONS)

    @cached_property
    def observation_space(self) -> spaces.Discrete:  # type: ignore[override]
        return spaces.Discrete(STATES)

    def get_default_params(self) -> WindyWalkParams:  # type: ignore[override]
        return WindyWalkParams(jnp.float32(self.alpha), jnp.float32(-1.0))

    def initial(self, rng: Any, params: Any = None) -> Any:
        return jnp.zeros((), jnp.int32)

    def transition(self, state: Any, action: Any, rng: Any, params: Any = None) -> Any:
        power = jnp.asarray(POWER, jnp.int32)[state]
        chance = jnp.where(power > 0, params.alpha**power, 0.0)
        blows = jax.random.uniform(rng) < chance
        calm = jnp.asarray(CALM, jnp.int32)[state, action]
        return jnp.where(blows, jnp.asarray(BLOWN, jnp.int32)[state], calm)

    def observation(self, state: Any, rng: Any, params: Any = None) -> Any:
        return state

    def reward(self, state: Any, action: Any, next_state: Any, rng: Any, params: Any = None) -> Any:
        return params.reward

    def terminal(self, state: Any, rng: Any, params: Any = None) -> Any:
        return state == GOAL

    def render_image(self, state: Any, params: Any = None) -> np.ndarray:  # type: ignore[override]
        """Walls dark, corridors the bluer the stronger their wind, goal green, walker red."""
        alpha = float(self.alpha if params is None else params.alpha)
        wind = np.where(POWER > 0, alpha**POWER, 0.0)[:, None]
        image = np.array([245, 243, 238]) * (1 - 0.7 * wind) + np.array([60, 110, 200]) * 0.7 * wind
        image = np.where((POWER > 0)[:, None], image - np.array([25, 12, 0]), image)
        image[WALL], image[GOAL] = (70, 70, 75), (90, 170, 90)
        squares = np.clip(image, 0, 255).astype(np.uint8).reshape(ROWS, COLUMNS, 3)
        picture = np.repeat(np.repeat(squares, _PIXELS, axis=0), _PIXELS, axis=1)
        picture[::_PIXELS] = picture[:, ::_PIXELS] = 200
        row, column = (np.array(divmod(int(state), COLUMNS)) + 0.5) * _PIXELS
        y, x = np.ogrid[: ROWS * _PIXELS, : COLUMNS * _PIXELS]
        picture[(y - row) ** 2 + (x - column) ** 2 < (0.3 * _PIXELS) ** 2] = (200, 60, 50)
        return picture


def windy_walk_kernel(alpha: float) -> np.ndarray:
    """The transition probabilities `[36, 4, 36]` at one strength of the wind."""
    wind = np.where(POWER > 0, float(alpha) ** POWER, 0.0)[:, None, None]
    eye = np.eye(STATES)
    return (1 - wind) * eye[CALM] + wind * eye[BLOWN][:, None]


def windy_walk_problem(alphas: Any = None) -> Any:
    """The walk as a `dynrl.robust.tabular.RobustMDP` over strengths of the wind; 25 from 0 to 0.5 unless given."""
    from dynrl.robust.tabular import RobustMDP, StaticParametric

    grid = np.linspace(0, 0.5, 25) if alphas is None else alphas
    models = StaticParametric(lambda point: windy_walk_kernel(point[0]), grid)
    reward = np.full((STATES, ACTIONS), -1.0)
    return RobustMDP(reward, GAMMA, 0, models, terminal=np.arange(STATES) == GOAL)
