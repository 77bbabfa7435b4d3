"""The dynamical linear bandit by its own constructors: one environment, or many in one compiled step."""

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import ArrayLike, NDArray

from dynrl.bandits import ActionSet, DLBSystem
from dynrl.envs.bandits.dlb import DynamicalLinearBandit
from dynrl.faces.gymnasium_env import GymnasiumEnv
from dynrl.faces.vector_env import VectorEnv

__all__ = ["BanditGymnasiumEnv", "DLBEnv", "DLBVectorEnv"]


class BanditGymnasiumEnv(GymnasiumEnv):
    """What `gymnasium.make("dynrl/DLB...-v0")` gives: a `GymnasiumEnv` that knows its system and actions."""

    func_env: DynamicalLinearBandit

    @property
    def system(self) -> DLBSystem:
        """The system behind the default `params`."""
        return self.func_env.system

    @property
    def action_set(self) -> ActionSet:
        """The action set behind the default `params`."""
        return self.func_env.action_set

    @property
    def actions(self) -> NDArray[np.float64]:
        """The actions [K, d] that the indices of a discrete action space mean (finite sets only)."""
        return self.func_env.actions


class DLBEnv(BanditGymnasiumEnv):
    """A dynamical linear bandit as a `gymnasium.Env`; see `DynamicalLinearBandit` for spaces, info and
    arguments.
    """

    def __init__(
        self,
        system: DLBSystem | str,
        action_set: ActionSet | str = "permutations",
        horizon: int | None = 1000,
        noise: tuple[str, float, float] | None = None,
        x0: ArrayLike | None = None,
        observe: str = "reward",
        reveal_state: bool = False,
        reveal_optimum: bool = True,
        on_invalid: str = "raise",
        params: Any = None,
    ):
        world = _world(
            system, action_set, horizon, noise, x0, observe, reveal_state, reveal_optimum, on_invalid
        )
        super().__init__(world, params=params)


class DLBVectorEnv(VectorEnv):
    """`num_envs` dynamical linear bandits in one compiled step; see `DynamicalLinearBandit` for the
    arguments.

    `params` leaves may carry a leading `[num_envs]` axis: other systems, noise scales or actions side by
    side.
    """

    def __init__(
        self,
        num_envs: int,
        system: DLBSystem | str,
        action_set: ActionSet | str = "permutations",
        horizon: int | None = 1000,
        noise: tuple[str, float, float] | None = None,
        x0: ArrayLike | None = None,
        observe: str = "reward",
        reveal_state: bool = False,
        reveal_optimum: bool = True,
        on_invalid: str = "raise",
        params: Any = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ):
        world = _world(
            system, action_set, horizon, noise, x0, observe, reveal_state, reveal_optimum, on_invalid
        )
        super().__init__(world, num_envs, params=params, autoreset_mode=autoreset_mode)


def _world(
    system: Any,
    action_set: Any,
    horizon: int | None,
    noise: Any,
    x0: Any,
    observe: str,
    reveal_state: bool,
    reveal_optimum: bool,
    on_invalid: str,
) -> DynamicalLinearBandit:
    return DynamicalLinearBandit(
        system,
        action_set,
        horizon,
        noise=noise,
        x0=x0,
        observe=observe,
        reveal_state=reveal_state,
        reveal_optimum=reveal_optimum,
        on_invalid=on_invalid,
    )
