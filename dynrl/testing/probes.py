"""Probe environments: the smallest worlds in which an agent must converge to a known number.

Each isolates one ability, so the first probe that fails names the broken part: the value loss, the use of
observations, discounting, the policy gradient, or their combination. (The idea is due to Andy Jones,
"Debugging RL, Without the Agonizing Pain", 2021.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import Space, spaces

from dynrl.functional import FunctionalEnv


@dataclass(frozen=True)
class Probe(FunctionalEnv):
    """An episode of `horizon` steps with observations of ±1 and a known best return.

    Attributes:
        optimal_return: expected undiscounted return of the best policy.
    """

    horizon: int | None = 1
    optimal_return: ClassVar[float] = 1.0

    @cached_property
    def observation_space(self) -> Space:  # type: ignore[override]
        return spaces.Box(-1.0, 1.0, (1,), np.float32)

    @cached_property
    def action_space(self) -> Space:  # type: ignore[override]
        return spaces.Discrete(2)

    def initial(self, rng: Any, params: Any = None) -> Any:
        return jnp.zeros((), jnp.float32)

    def transition(self, state: Any, action: Any, rng: Any, params: Any = None) -> Any:
        return state

    def observation(self, state: Any, rng: Any, params: Any = None) -> Any:
        return jnp.reshape(state, (1,)).astype(jnp.float32)

    def reward(self, state: Any, action: Any, next_state: Any, rng: Any, params: Any = None) -> Any:
        return 1.0

    def terminal(self, state: Any, rng: Any, params: Any = None) -> Any:
        return True

    def known_value(self, observation: Any, discount: float) -> float:
        """Return the best policy's expected discounted return from the episode's step that shows
        `observation`."""
        return 1.0


@dataclass(frozen=True)
class ConstantReward(Probe):
    """One step, one observation, reward 1: the value is 1. Fails when the value loss is wrong."""


def _random_sign(rng: Any) -> Any:
    return jnp.where(jax.random.bernoulli(rng), 1.0, -1.0).astype(jnp.float32)


@dataclass(frozen=True)
class ObservationValue(Probe):
    """One step, reward equals the observation (±1): the value is the observation. Fails when observations are
    lost."""

    optimal_return: ClassVar[float] = 0.0

    def initial(self, rng: Any, params: Any = None) -> Any:
        return _random_sign(rng)

    def reward(self, state: Any, action: Any, next_state: Any, rng: Any, params: Any = None) -> Any:
        return state

    def known_value(self, observation: Any, discount: float) -> float:
        return float(np.asarray(observation)[0])


@dataclass(frozen=True)
class DelayedReward(Probe):
    """Two steps, observations 0 then 1, reward 1 at the end: values `discount` and 1. Fails when discounting
    is wrong."""

    horizon: int | None = 2

    def transition(self, state: Any, action: Any, rng: Any, params: Any = None) -> Any:
        return state + 0.5

    def observation(self, state: Any, rng: Any, params: Any = None) -> Any:
        return jnp.minimum(2 * jnp.reshape(state, (1,)), 1.0)

    def reward(self, state: Any, action: Any, next_state: Any, rng: Any, params: Any = None) -> Any:
        return jnp.where(next_state >= 1.0, 1.0, 0.0)

    def terminal(self, state: Any, rng: Any, params: Any = None) -> Any:
        return state >= 1.0

    def known_value(self, observation: Any, discount: float) -> float:
        return 1.0 if float(np.asarray(observation)[0]) > 0.5 else discount


@dataclass(frozen=True)
class ActionReward(Probe):
    """One step, action 1 pays +1, action 0 pays −1: the best value is 1. Fails when the policy's update is
    wrong."""

    def reward(self, state: Any, action: Any, next_state: Any, rng: Any, params: Any = None) -> Any:
        return 2.0 * action - 1.0


@dataclass(frozen=True)
class ActionObservationReward(Probe):
    """One step, +1 for action 1 at observation +1 or action 0 at −1, else −1. Fails when policy and
    observation part."""

    def initial(self, rng: Any, params: Any = None) -> Any:
        return _random_sign(rng)

    def reward(self, state: Any, action: Any, next_state: Any, rng: Any, params: Any = None) -> Any:
        return state * (2.0 * action - 1.0)


@dataclass(frozen=True)
class ContinuousActionReward(Probe):
    """One step, action in [−1, 1], reward `1 − (action − target)²`: best at `params` = target, 0.5 by
    default."""

    @cached_property
    def action_space(self) -> Space:  # type: ignore[override]
        return spaces.Box(-1.0, 1.0, (1,), np.float32)

    def get_default_params(self, **kwargs: Any) -> Any:
        return np.float32(0.5)

    def reward(self, state: Any, action: Any, next_state: Any, rng: Any, params: Any = None) -> Any:
        return 1.0 - jnp.square(action[0] - params)


@dataclass(frozen=True)
class ContinuousActionObservationReward(ContinuousActionReward):
    """As `ContinuousActionReward` with the target times the observation (±1)."""

    def initial(self, rng: Any, params: Any = None) -> Any:
        return _random_sign(rng)

    def reward(self, state: Any, action: Any, next_state: Any, rng: Any, params: Any = None) -> Any:
        return 1.0 - jnp.square(action[0] - params * state)


PROBES: dict[str, type[Probe]] = {
    probe.__name__: probe
    for probe in (
        ConstantReward,
        ObservationValue,
        DelayedReward,
        ActionReward,
        ActionObservationReward,
        ContinuousActionReward,
        ContinuousActionObservationReward,
    )
}
