"""A dynamical linear bandit through four faces: one environment, many at once, whole episodes compiled, the maths."""

import gymnasium
import jax
import numpy as np

import dynrl

# Gymnasium: one environment. The reward of an action goes on arriving through a hidden state.
env = gymnasium.make("dynrl/DLBAds-v0", horizon=100)
observation, info = env.reset(seed=0)
print("best allocation:", info["optimal_action"], "worth per round:", round(float(info["optimal_value"]), 4))
for _ in range(100):
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
print("random play lost", round(info["cum_pseudo_regret"], 2), "in 100 rounds")

# 256 environments in one compiled step.
envs = gymnasium.make_vec("dynrl/DLBAds-v0", num_envs=256, horizon=100)
envs.reset(seed=0)
print("rewards of 256 environments:", envs.step(envs.action_space.sample())[1].shape)

# Whole episodes in one compiled program.
functional = dynrl.make_functional("dynrl/DLBAds-v0", horizon=100)


def random_policy(state, observation, key):
    return jax.random.randint(key, (), 0, 6), state


rewards = dynrl.rollout(functional, random_policy, 0, num_envs=1000, collect=lambda step: step.reward)
print("mean reward of 1000 episodes:", np.asarray(rewards).mean().round(3))

# The system itself: what an action is worth in the long run, and what it pays at once.
print("long-run gain h:", functional.system.h.round(4), "immediate effect:", functional.system.theta)
