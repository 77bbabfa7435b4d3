"""A functional environment as a `brax.envs.Env`, for Brax's compiled trainers. Needs `pip install brax`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import Space, spaces
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dynrl.faces.episode import Episode, advance, begin
from dynrl.faces.params import checked_params
from dynrl.functional import FunctionalEnv, require_functional

try:
    from brax.envs.base import Env, State
except ImportError as error:
    raise ImportError("BraxEnv needs Brax: pip install brax") from error


class BraxEnv(Env):
    """One environment in pure JAX and single precision; Brax's wrappers batch it, limit its time and reset
    it.

    Brax's policies play in [−1, 1]: each action coordinate is clipped there and mapped to its bounds where
    both are finite. Nothing can raise in compiled code, so NaN actions give NaN rewards. `done` is
    termination only; give Brax `episode_length=env.episode_length`. Brax's auto-reset returns to the first
    state of each lane, not to a new one.

    Args:
        func_env: the world, with a Box action space and a Box observation space (flattened).
        params: its constants; None for the defaults.

    Attributes:
        episode_length: the world's horizon; None where it has none.

    Raises:
        TypeError: a space that Brax's trainers cannot use.
        ValueError: wrong `params`.
    """

    def __init__(self, func_env: FunctionalEnv, params: Any = None):
        self.func_env = require_functional(func_env)
        self._action_space = self._box("action", func_env.action_space)
        self._observation_space = self._box("observation", func_env.observation_space)
        self.params = checked_params(func_env, params)
        self.episode_length = func_env.horizon

    def reset(self, rng: jax.Array) -> State:
        """Start an episode from a random key."""
        key = jax.random.key_data(rng) if jnp.issubdtype(rng.dtype, jax.dtypes.prng_key) else rng
        episode, observation, _ = begin(self.func_env, key, self.params)
        zero = jnp.zeros((), jnp.float32)
        # Brax's auto-reset puts back the first `pipeline_state` but leaves `info` alone: with the key there,
        # a new episode does not repeat the noise of the last.
        world = {"state": episode.state, "elapsed": episode.elapsed}
        return State(world, _flat(observation), zero, zero, info={"key": episode.key})

    def step(self, state: State, action: jax.Array) -> State:
        """Play one action `[action_size]` in [−1, 1]."""
        episode = Episode(**state.pipeline_state, key=state.info["key"])
        following, shown = advance(self.func_env, episode, self.to_bounds(action), self.params)
        return state.replace(
            pipeline_state={"state": following.state, "elapsed": following.elapsed},
            obs=_flat(shown.observation),
            reward=shown.reward.astype(jnp.float32),
            done=shown.terminated.astype(jnp.float32),
            info={**state.info, "key": following.key},
        )

    @property
    def observation_size(self) -> int:
        """Length of the flattened observation."""
        return int(np.prod(self._observation_space.shape))

    @property
    def action_size(self) -> int:
        """Length of the flattened action."""
        return int(np.prod(self._action_space.shape))

    @property
    def backend(self) -> str:
        """Brax asks which physics engine computes: none of its own."""
        return "dynrl"

    def _box(self, kind: str, space: Space) -> spaces.Box:
        if not isinstance(space, spaces.Box):
            raise TypeError(
                f"BraxEnv needs a Box {kind} space, {type(self.func_env).__name__} has {space}; "
                "Brax's trainers know no other. Choose a continuous variant, or an SB3/SBX algorithm."
            )
        return space

    def to_bounds(self, action: jax.Array) -> jax.Array:
        """The world's action for `action [action_size]` in [−1, 1]."""
        space = self._action_space
        low, high = (bound.astype(np.float32) for bound in (space.low, space.high))
        finite = np.isfinite(low) & np.isfinite(high)
        low, high = np.where(finite, low, -1), np.where(finite, high, 1)
        action = action.reshape(space.shape)
        mapped = low + (jnp.clip(action, -1.0, 1.0) + 1.0) / 2.0 * (high - low)
        return jnp.where(finite, mapped, action).astype(jax.dtypes.canonicalize_dtype(space.dtype))


def _flat(observation: Any) -> jax.Array:
    return jnp.ravel(observation).astype(jnp.float32)


def _device_put_replicated(tree: Any, devices: Sequence[jax.Device]) -> Any:
    sharding = NamedSharding(Mesh(np.array(devices), ("devices",)), PartitionSpec("devices"))
    return jax.tree.map(lambda leaf: jax.device_put(jnp.stack([leaf] * len(devices)), sharding), tree)


# Brax's trainers (up to 0.14.2) call a function that JAX 0.10 removed:
# https://github.com/google/brax/issues/671
if getattr(jax, "device_put_replicated", None) is None:
    jax.device_put_replicated = _device_put_replicated  # type: ignore[assignment]
