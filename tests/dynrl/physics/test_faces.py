"""MuJoCo tasks by name: Gymnasium's registry, Stable-Baselines3's VecEnv, and the command line."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import dynrl  # noqa: F401
from dynrl.envs.mujoco_robots import Hopper, InvertedPendulum
from dynrl.physics import MujocoEnv, MujocoVectorEnv
from dynrl.physics.state import namespace
from dynrl.testing import EnvCheckError, check_env


@pytest.mark.parametrize("settings", [{}, {"ctrl_cost_weight": 0.5, "healthy_z_range": [0.6, 3.0]}])
def test_a_spec_makes_the_same_environment_again(settings):
    env = gymnasium.make("dynrl/Hopper-v0", **settings)
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.task == env.unwrapped.task == Hopper(**settings)
    many = gymnasium.make_vec("dynrl/Hopper-v0", num_envs=2, num_threads=1, **settings)
    assert isinstance(many, MujocoVectorEnv)
    assert many.task == env.unwrapped.task
    np.testing.assert_array_equal(many.reset(seed=3)[0][1], env.reset(seed=4)[0])


@pytest.mark.parametrize(
    ("name", "kwargs", "said"),
    [
        ("dynrl/Hopper-v0", {"backend": "bullet"}, "expected 'batch', 'mjx' or 'warp'"),
        ("dynrl/ArmReach-v0", {"backend": "mjx"}, "no MuJoCo task"),
    ],
)
def test_a_wrong_backend_is_named(name, kwargs, said):
    with pytest.raises(ValueError, match=said):
        gymnasium.make(name, **kwargs)


class Careless(InvertedPendulum):
    """A task that forgets that there may be leading axes."""

    def observation(self, state):
        """Return positions and velocities of the first simulation only."""
        xp = namespace(state.qpos)
        return xp.concatenate((xp.ravel(state.qpos)[:2], xp.ravel(state.qvel)[:2]))


class Mixed(InvertedPendulum):
    """A task that computes in NumPy what JAX must trace."""

    def terminal(self, state):
        """Return whether the pole has fallen, in NumPy."""
        return np.asarray(state.qpos)[..., 1] > 0.2


@pytest.mark.parametrize(
    ("task", "said"),
    [(Careless(), "observation differs between NumPy and JAX"), (Mixed(), "works with NumPy only")],
)
def test_the_checker_finds_what_is_wrong_with_a_task(task, said):
    with pytest.raises(EnvCheckError, match=said):
        check_env(task, steps=10, examples=1, skip=("gymnasium", "sb3"))


def test_the_checker_passes_a_sound_task():
    report = check_env(InvertedPendulum(horizon=30), steps=30, examples=1)
    assert {result.status for result in report.results} == {"passed"}


def test_sb3_sees_the_last_observation_of_an_episode():
    sb3 = pytest.importorskip("dynrl.faces.sb3")
    venv = sb3.SB3VecEnv("dynrl/InvertedPendulum-v0", 3, num_threads=1, horizon=4)
    assert isinstance(venv.env, MujocoVectorEnv)
    venv.seed(10)
    venv.reset()
    singles = [MujocoEnv(InvertedPendulum(horizon=4)) for _ in range(3)]
    for i, env in enumerate(singles):
        env.reset(seed=10 + i)
    for _ in range(4):
        played = np.full((3, 1), 0.1, np.float32)
        observation, reward, dones, infos = venv.step(played)
        last = [env.step(action) for env, action in zip(singles, played, strict=True)]
    assert dones.all()
    np.testing.assert_array_equal(reward, 1.0)
    for i, info in enumerate(infos):
        np.testing.assert_array_equal(info["terminal_observation"], last[i][0])
        assert info["TimeLimit.truncated"]
        np.testing.assert_array_equal(observation[i], singles[i].reset()[0])


def test_sb3_refuses_environments_that_reset_a_step_later():
    sb3 = pytest.importorskip("dynrl.faces.sb3")
    with pytest.raises(ValueError, match="'NextStep'"):
        sb3.SB3VecEnv(MujocoVectorEnv(Hopper(), 2, autoreset_mode=AutoresetMode.NEXT_STEP))


@pytest.mark.slow
def test_a_trained_run_is_filmed(opengl, tmp_path, monkeypatch, capsys):
    image = pytest.importorskip("PIL.Image")
    from dynrl.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(
        "experiment: learn\n"
        "env: {id: dynrl/InvertedPendulum-v0, kwargs: {horizon: 12}}\n"
        "agent: {name: sb3.PPO, config: {n_steps: 16, batch_size: 16, n_epochs: 1}}\n"
        "num_envs: 2\ntotal_timesteps: 64\nlog_every: 32\n"
    )
    assert main(["train", "run.yaml", "--out", "run"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "run", "--episodes", "1", "--video", "film.gif"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == "film.gif"
    steps = round(
        float(printed.splitlines()[0].split()[-1])
    )  # the pole pays 1 a step, but for the one it falls in
    with image.open(tmp_path / "film.gif") as film:
        assert film.size == (480, 480)
        assert film.n_frames in (steps + 1, steps + 2)
        assert film.info["duration"] == 40
    assert main(["evaluate", "run", "--episodes", "1", "--video", "film.mp4"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("package", ["stable_baselines3", "sbx"])
def test_ppo_learns_to_balance_on_the_c_engine(package):
    """A random policy lets the pole fall after about 6 steps."""
    sb3 = pytest.importorskip("dynrl.faces.sb3")
    library = pytest.importorskip(package)
    from stable_baselines3.common.evaluation import evaluate_policy

    venv = sb3.SB3VecEnv("dynrl/InvertedPendulum-v0", 16, num_threads=1)
    agent = library.PPO(
        "MlpPolicy", venv, n_steps=64, batch_size=256, n_epochs=10, gae_lambda=0.9, learning_rate=1e-3, seed=0
    )
    agent.learn(40_000)
    judged = sb3.SB3VecEnv("dynrl/InvertedPendulum-v0", 10, num_threads=1)
    mean, _ = evaluate_policy(agent, judged, n_eval_episodes=10, warn=False)
    assert mean > 300
