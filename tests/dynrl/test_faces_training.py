"""SB3, SBX and Brax train on the same worlds, and reach the numbers that are known."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from dynrl import BraxEnv, SB3VecEnv, VectorEnv, make_functional
from dynrl.testing.probes import ActionObservationReward, ContinuousActionReward, ObservationValue
from dynrl.testing.worlds import RandomWalk

TARGET = 0.5
"""Best action of `ContinuousActionReward`."""

BANDIT = "dynrl/DLBSynthetic-v0"
SETTINGS = {"action_set": "box", "on_invalid": "project", "horizon": 20}
PPO_SETTINGS = {
    "n_steps": 20,
    "batch_size": 320,
    "n_epochs": 10,
    "learning_rate": 3e-3,
    "gamma": 0.9,
    "seed": 0,
}


def share_of_optimum(action):
    """Long-run worth h·u of an action of the bandit, as a share of the best possible."""
    _, info = gymnasium.make(BANDIT, **SETTINGS).reset(seed=0)
    return float(np.clip(action, 0, 1) @ info["h"] / info["optimal_value"])


def sb3_env(func_env, num_envs):
    return SB3VecEnv(VectorEnv(func_env, num_envs, autoreset_mode=AutoresetMode.SAME_STEP))


@pytest.mark.slow
def test_sb3_ppo_learns_the_registered_bandit():
    from stable_baselines3 import PPO

    env = SB3VecEnv(BANDIT, num_envs=32, **SETTINGS)
    agent = PPO("MlpPolicy", env, **PPO_SETTINGS, device="cpu")
    assert share_of_optimum(agent.predict(np.zeros((1, 1)), deterministic=True)[0][0]) < 0.8
    agent.learn(20_000)
    assert share_of_optimum(agent.predict(np.zeros((1, 1)), deterministic=True)[0][0]) > 0.9


@pytest.mark.slow
def test_sbx_ppo_learns_the_registered_bandit():
    from sbx import PPO

    agent = PPO("MlpPolicy", SB3VecEnv(BANDIT, num_envs=32, **SETTINGS), **PPO_SETTINGS).learn(20_000)
    assert share_of_optimum(agent.predict(np.zeros((1, 1)), deterministic=True)[0][0]) > 0.9


@pytest.mark.slow  # the example brax_ppo.py does the same in the quick tests
def test_brax_ppo_learns_the_registered_bandit():
    from brax.training.agents.ppo import train as ppo

    env = BraxEnv(make_functional(BANDIT, **SETTINGS))
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
    assert share_of_optimum((np.asarray(action[0]) + 1) / 2) > 0.9
    assert metrics["eval/episode_reward"] > 0.8 * env.episode_length * 1.17


def test_sb3_a2c_learns_policy_and_value_of_the_discrete_probe():
    from stable_baselines3 import A2C

    agent = A2C("MlpPolicy", sb3_env(ActionObservationReward(), 32), learning_rate=3e-3, seed=0, device="cpu")
    agent.learn(10_000)
    observations = np.array([[1.0], [-1.0]], np.float32)
    np.testing.assert_array_equal(agent.predict(observations, deterministic=True)[0], [1, 0])


def test_sb3_value_network_learns_the_observation_probe():
    from stable_baselines3 import PPO

    probe = ObservationValue()
    env = sb3_env(probe, 32)
    agent = PPO("MlpPolicy", env, n_steps=16, batch_size=128, learning_rate=3e-3, seed=0, device="cpu")
    agent.learn(5_000)
    observations = np.array([[1.0], [-1.0]], np.float32)
    values = agent.policy.predict_values(agent.policy.obs_to_tensor(observations)[0]).detach().numpy()[:, 0]
    np.testing.assert_allclose(values, [probe.known_value(o, 0.99) for o in observations], atol=0.15)


def test_sb3_dones_carry_the_terminal_observation_and_the_time_limit():
    world = RandomWalk(horizon=6, limit=0.8)
    env, plain = sb3_env(world, 8), VectorEnv(world, 8)
    env.seed(3)
    np.testing.assert_array_equal(env.reset(), plain.reset(seed=3)[0])
    assert [set(info) for info in env.reset_infos] == [{"travelled", "world"}] * 8
    rng = np.random.default_rng(0)
    ended = set()
    live = np.ones(8, bool)
    for _ in range(6):
        actions = rng.uniform(-1, 1, (8, 2)).astype(np.float32)
        _, rewards, dones, infos = env.step(actions)
        observation, reward, terminated, truncated, _ = plain.step(actions)
        for i in np.flatnonzero(live):
            assert rewards[i] == np.float32(reward[i]) and dones[i] == (terminated[i] or truncated[i])
            if dones[i]:
                np.testing.assert_array_equal(infos[i]["terminal_observation"], observation[i])
                assert infos[i]["TimeLimit.truncated"] == (truncated[i] and not terminated[i])
                ended.add(infos[i]["TimeLimit.truncated"])
            else:
                assert "terminal_observation" not in infos[i]
        live &= ~dones
    assert ended == {True, False}


def test_sb3_face_refuses_what_it_cannot_hold():
    with pytest.raises(ValueError, match="SameStep"):
        SB3VecEnv(VectorEnv(RandomWalk(), 2))
    with pytest.raises(ValueError, match="go with a name"):
        SB3VecEnv(VectorEnv(RandomWalk(), 2, autoreset_mode=AutoresetMode.SAME_STEP), num_envs=3)
    env = sb3_env(RandomWalk(), 2)
    with pytest.raises(ValueError, match="share their attributes"):
        env.set_attr("params", None, indices=[0])
    assert env.get_attr("num_envs") == [2, 2]


def test_sb3_render_modes_and_monitoring():
    from stable_baselines3.common.vec_env import VecMonitor

    env = VecMonitor(sb3_env(RandomWalk(horizon=4, limit=100.0), 3))
    env.reset()
    for _ in range(4):
        *_, infos = env.step(np.zeros((3, 2), np.float32))
    assert [info["episode"]["l"] for info in infos] == [4] * 3


def test_brax_maps_unit_actions_to_finite_bounds_and_refuses_discrete_ones():
    class Wide(ContinuousActionReward):
        action_space = gymnasium.spaces.Box(np.float32([0.0]), np.float32([10.0]))

    env = BraxEnv(Wide())
    state = env.reset(jax.random.key(0))
    for action, played in ((-1.0, 0.0), (0.0, 5.0), (1.0, 10.0), (3.0, 10.0)):
        reward = env.step(state, jnp.array([action])).reward
        np.testing.assert_allclose(reward, 1 - (played - TARGET) ** 2, rtol=1e-6)
    with pytest.raises(TypeError, match=r"Box action space.*Discrete"):
        BraxEnv(ActionObservationReward())


def test_brax_done_is_termination_only_and_noise_goes_on_after_auto_reset():
    from brax.envs.wrappers.training import wrap

    world = RandomWalk(horizon=3, limit=1e6)
    env = BraxEnv(world)
    assert env.episode_length == 3 and (env.observation_size, env.action_size) == (2, 2)
    wrapped = wrap(env, episode_length=3)
    state = jax.jit(wrapped.reset)(jax.random.split(jax.random.PRNGKey(0), 4))
    step = jax.jit(wrapped.step)
    first, second = [], []
    for episode in (first, second):
        for _ in range(3):
            state = step(state, jnp.zeros((4, 2)))
            episode.append(np.asarray(state.reward))
        np.testing.assert_array_equal(state.done, np.ones(4))
        np.testing.assert_array_equal(state.info["truncation"], np.ones(4))
    assert not np.allclose(first, second)
