"""Stable-Baselines3's PPO spreads a budget over the slots of a day, against the best constant multiplier."""

import numpy as np
from stable_baselines3 import PPO

import dynrl

SETTINGS = {"horizon": 24, "auctions_per_slot": 60, "action": "log_multiplier"}


def mean_return(act, episodes=64):
    """Predicted clicks per episode when `act(observations)` chooses the multipliers."""
    envs = dynrl.SB3VecEnv("dynrl/Pacing-v0", num_envs=episodes, **SETTINGS)
    envs.seed(100)
    observations, total = envs.reset(), np.zeros(episodes)
    for _ in range(SETTINGS["horizon"]):
        observations, rewards, _, _ = envs.step(act(observations))
        total += rewards
    return total.mean()


def constant(value):
    return lambda observations: np.full((len(observations), 1), value, np.float32)


rng = np.random.default_rng(0)
random = mean_return(lambda observations: rng.uniform(-1, 1, (len(observations), 1)).astype(np.float32))
best = max(mean_return(constant(value)) for value in np.linspace(-1, 1, 9))
envs = dynrl.SB3VecEnv("dynrl/Pacing-v0", num_envs=16, **SETTINGS)
model = PPO(
    "MlpPolicy", envs, n_steps=48, batch_size=192, gamma=1.0, learning_rate=1e-3, seed=0, device="cpu"
)
model.learn(16_000)
learned = mean_return(lambda observations: model.predict(observations, deterministic=True)[0])
print(f"predicted clicks per day: random {random:.2f}, best constant {best:.2f}, PPO {learned:.2f}")
