"""Brax's PPO on a dynamical linear bandit: environment and learner in one compiled program."""

import jax
import jax.numpy as jnp
from brax.training.agents.ppo import train as ppo

import dynrl

world = dynrl.make_functional("dynrl/DLBSynthetic-v0", action_set="box", on_invalid="project", horizon=20)
env = dynrl.BraxEnv(world)  # actions in [-1, 1], as Brax wants them

make_policy, trained, metrics = ppo.train(
    environment=env,
    num_timesteps=40_000,
    episode_length=env.episode_length,
    num_envs=64,
    unroll_length=20,
    batch_size=16,
    num_minibatches=4,
    num_updates_per_batch=4,
    learning_rate=3e-3,
    entropy_cost=0.0,
    discounting=0.9,
    num_evals=2,
    num_eval_envs=32,
    seed=0,
)
action, _ = jax.jit(make_policy(trained, deterministic=True))(jnp.zeros((1, 1)), jax.random.key(0))
share = world.system.value((action[0] + 1) / 2) / world.system.optimal_value(world.action_set)
print(f"share of the best long-run reward: {float(share):.2f}")
