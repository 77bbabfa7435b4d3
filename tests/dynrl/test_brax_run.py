"""Brax's trainers in `experiment: learn`: what they refuse, and that they learn on MJX."""

import numpy as np
import pytest

from dynrl.cli.experiments import make_experiment
from dynrl.config import ConfigInput, to_mapping
from dynrl.errors import ConfigError
from dynrl.runs.run import Run

PPO = {
    "learning_rate": 1e-3,
    "entropy_cost": 1e-3,
    "discounting": 0.97,
    "reward_scaling": 0.1,
    "normalize_observations": True,
    "unroll_length": 20,
    "batch_size": 32,
    "num_minibatches": 8,
    "num_updates_per_batch": 8,
    "num_eval_envs": 16,
    "deterministic_eval": True,
    "network": {"policy_hidden_layer_sizes": [32, 32], "value_hidden_layer_sizes": [64, 64]},
}


def _settings(name="brax.PPO", env="dynrl/Pendulum-v0", config=None, **kwargs):
    agent = {"name": name, "config": {} if config is None else config}
    return ConfigInput({"experiment": "learn", "env": {"id": env}, "agent": agent, **kwargs}, "test")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (_settings("brax.TD3"), r"brax.TD3 is not known; there are brax.PPO, brax.SAC"),
        (_settings(env="dynrl/CartPole-v0"), "needs a Box action space"),
        (_settings(config={"learn_rate": 1}), r"has no setting 'learn_rate'; it has .*learning_rate"),
        (_settings(config={"seed": 1}), "has no setting 'seed'"),
        (_settings(config={"network": {"depth": 3}}), "network of brax.PPO has no setting 'depth'"),
        (_settings(num_envs=7), "7 does not divide batch_size"),
    ],
)
def test_wrong_settings_are_refused_before_the_run_exists(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_experiment(settings)


@pytest.mark.slow
def test_ppo_holds_the_inverted_pendulum_on_mjx_and_on_c(tmp_path):
    """Trained on MJX, judged on the C engine: at least 90 of 100 steps on average over 10 episodes (chance: 11)."""
    env = {"id": "dynrl/InvertedPendulum-v0", "kwargs": {"horizon": 100}}
    settings = {
        "experiment": "learn",
        "env": env,
        "agent": {"name": "brax.PPO", "config": PPO},
        "num_envs": 64,
    }
    name, experiment = make_experiment(
        ConfigInput({**settings, "total_timesteps": 31_000, "log_every": 31_000}, "test")
    )
    run = Run.create(tmp_path / "run", name, to_mapping(experiment.config))
    experiment.train(run)
    run.finish()
    run.close()
    returns = run.metrics()["episode_return"]
    assert returns[0] < 60 and returns[-1] > 90
    assert experiment.evaluate(run, episodes=10, seed=0)["mean return"] > 90


@pytest.mark.slow
def test_sac_is_stored_and_comes_back(tmp_path):
    """The stored policy plays what the trained one did, on a world where chance earns about -1200."""
    config = {"min_replay_size": 500, "batch_size": 64, "grad_updates_per_step": 4, "num_eval_envs": 16}
    config |= {
        "normalize_observations": True,
        "learning_rate": 1e-3,
        "discounting": 0.95,
        "deterministic_eval": True,
    }
    given = _settings("brax.SAC", config=config, total_timesteps=12_000, log_every=12_000, num_envs=8)
    name, experiment = make_experiment(given)
    run = Run.create(tmp_path / "run", name, to_mapping(experiment.config))
    experiment.train(run)
    run.finish()
    run.close()
    learnt = run.metrics()["episode_return"][-1]
    again = experiment.evaluate(run, episodes=16, seed=3)
    assert again["mean return"] > -700
    # Two means of sixteen episodes whose standard deviation is about 150.
    assert abs(again["mean return"] - learnt) < 4 * 2**0.5 * np.maximum(again["standard deviation"], 80) / 4
