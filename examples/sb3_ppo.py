"""Stable-Baselines3's PPO on a dynamical linear bandit, 32 copies in one compiled step. Needs dynrl[sb3]."""

import numpy as np
from stable_baselines3 import PPO

import dynrl

BANDIT = {"action_set": "box", "on_invalid": "project", "horizon": 20}

envs = dynrl.SB3VecEnv("dynrl/DLBSynthetic-v0", num_envs=32, **BANDIT)
model = PPO(
    "MlpPolicy",
    envs,
    n_steps=20,
    batch_size=320,
    learning_rate=3e-3,
    gamma=0.9,
    seed=0,
    device="cpu",
)


def worth(model):
    """Long-run reward of the allocation that the policy starts with, as a share of the best one."""
    world = dynrl.make_functional("dynrl/DLBSynthetic-v0", **BANDIT)
    action = np.clip(model.predict(np.zeros((1, 1)), deterministic=True)[0][0], 0, 1)
    return world.system.value(action) / world.system.optimal_value(world.action_set)


before = worth(model)
model.learn(20_000)
print(f"share of the best long-run reward: {before:.2f} before training, {worth(model):.2f} after")
