"""An environment of your own: pure functions of arrays, seen through every face."""

from dataclasses import dataclass

import gymnasium
import jax.numpy as jnp
import numpy as np

import dynrl


@dataclass(frozen=True)
class FishPond(dynrl.FunctionalEnv):
    """Harvest a share of the fish in each season; what is left grows logistically."""

    horizon: int | None = 50
    observation_space = gymnasium.spaces.Box(0.0, np.inf, (1,), np.float32)
    action_space = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)

    def get_default_params(self):
        return {"growth": 0.3, "capacity": 1.0}

    def initial(self, rng, params):
        return 0.5 * jnp.asarray(params["capacity"])

    def transition(self, stock, action, rng, params):
        left = stock * (1 - action[0])
        return left + params["growth"] * left * (1 - left / params["capacity"])

    def observation(self, stock, rng, params):
        return stock[None].astype(jnp.float32)

    def reward(self, stock, action, next_stock, rng, params):
        return stock * action[0]

    def terminal(self, stock, rng, params):
        return stock < 1e-3 * params["capacity"]


dynrl.register_env("mine/FishPond-v0", "__main__:FishPond", "harvest without emptying the pond")
env = gymnasium.make("mine/FishPond-v0")
env.reset(seed=0)
print("one pond, one season:", env.step(np.array([0.1], np.float32))[:2])
envs = gymnasium.make_vec("mine/FishPond-v0", num_envs=512)
envs.reset(seed=0)
print("mean harvest of 512 ponds:", envs.step(envs.action_space.sample())[1].mean())

ponds = {"growth": np.linspace(0.1, 0.5, 5), "capacity": 1.0}  # every constant may differ from pond to pond
steps = dynrl.rollout(
    FishPond(), lambda state, obs, key: (jnp.full(1, 0.1), state), 0, num_envs=5, params=ponds
)
print("harvest of 50 seasons, a tenth each:", np.asarray(steps.reward.sum(1)).round(2))
