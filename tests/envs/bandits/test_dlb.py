"""The bandit environment against an independent NumPy recursion fed with the environment's own noise."""

import copy
import pickle

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

import dynrl
from dynrl.bandits import (
    BallSet,
    BoxSet,
    BudgetSet,
    DLBSystem,
    FiniteSet,
    SimplexSet,
    mean_regret,
    pseudo_regret,
    reward_regret,
)
from dynrl.envs.bandits import (
    DLBEnv,
    DLBVectorEnv,
    DynamicalLinearBandit,
    ads_system,
    named_action_set,
    synthetic_system,
)
from dynrl.faces.brax import BraxEnv

HORIZON = 12
STEP_KEYS = {
    *("t", "expected_reward", "steady_state_value", "optimal_value", "pseudo_regret", "reward_regret"),
    *("cum_pseudo_regret", "cum_reward_regret", "cum_mean_regret"),
}
WORKED = DLBSystem([[0.5]], [[1.0, 0.2]], [0.4], [0.1, 0.3])


def noises(seed: int, steps: int, n: int) -> np.ndarray:
    """[steps, n + 1]: the normals of the documented key chain, ε first, η last."""
    with jax.enable_x64(True):
        key, rows = jax.random.split(jax.random.key(seed))[0], []
        for _ in range(steps):
            key, sub = jax.random.split(key)
            rows.append(np.array(jax.random.normal(sub, (n + 1,), jnp.float64)))
    return np.array(rows)


def recursion(system: DLBSystem, actions: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, ...]:
    """Rewards, expected rewards and states before each round, straight from the two defining equations."""
    x, rewards, expected, states = system.x0, [], [], []
    for u, e in zip(actions, noise, strict=True):
        states.append(x)
        expected.append(system.omega @ x + system.theta @ u)
        rewards.append(expected[-1] + system.sigma_y * e[-1])
        x = system.A @ x + system.B @ u + system.sigma_x * e[:-1]
    return np.array(rewards), np.array(expected), np.array([*states, x])


def play(env: gym.Env, actions, seed: int = 3, options=None) -> tuple[list, list, list]:
    env.reset(seed=seed, options=options)
    steps = [env.step(action) for action in actions]
    return [s[0] for s in steps], [s[1] for s in steps], [s[4] for s in steps]


@pytest.fixture(scope="module")
def ads() -> DLBSystem:
    return ads_system(0.05, sigma_y=0.02)


@pytest.mark.parametrize("kind", ["permutations", "budget", "box", "simplex"])
def test_every_number_of_an_episode(kind: str, ads: DLBSystem) -> None:
    action_set = named_action_set(kind, 3)
    rng = np.random.default_rng(0)
    env = DLBEnv(ads, action_set, HORIZON, reveal_state=True, x0=[0.1, -0.2, 0.3])
    indices = rng.integers(6, size=HORIZON)
    u = np.array([action_set.sample(rng) for _ in range(HORIZON)])
    if kind == "permutations":
        u = env.actions[indices]
    observations, rewards, infos = play(env, indices if kind == "permutations" else u)
    y, expected, states = recursion(env.system, u, noises(3, HORIZON, 3))
    np.testing.assert_allclose(rewards, y, atol=1e-13)
    np.testing.assert_allclose(np.ravel(observations), y, atol=1e-13)
    truth = {
        "t": np.arange(1, HORIZON + 1),
        "expected_reward": expected,
        "steady_state_value": ads.value(u),
        "optimal_value": np.full(HORIZON, ads.optimal_value(action_set)),
        "pseudo_regret": ads.optimal_value(action_set) - ads.value(u),
        "reward_regret": ads.optimal_value(action_set) - y,
        "cum_pseudo_regret": pseudo_regret(ads, action_set, u),
        "cum_reward_regret": reward_regret(ads, action_set, y),
        "cum_mean_regret": mean_regret(ads, action_set, u, x0=[0.1, -0.2, 0.3]),
        "state": states[1:],
    }
    assert set(infos[0]) == set(truth)
    for name, values in truth.items():
        np.testing.assert_allclose([info[name] for info in infos], values, atol=1e-12, err_msg=name)


def test_worked_example_without_noise() -> None:
    env = DLBEnv(WORKED, FiniteSet([[1, 0], [0, 1.1], [0.6, 0.65]]), 20)
    _, info = env.reset(seed=0)
    np.testing.assert_allclose(info["h"], [0.9, 0.46], rtol=1e-12)
    assert info["optimal_value"] == pytest.approx(0.9) and info["rho"] == pytest.approx(0.5)
    epochs = zip([1, 0, 1, 0, 1, 0, 1], [1, 2, 2, 3, 3, 3, 3], strict=True)
    last = []
    for action, length in epochs:
        for _ in range(length):
            _, reward, *_ = env.step(action)
        last.append(reward)
    expected = [0.33, 0.544, 0.729, 0.771875, 0.645984, 0.761498, 0.644687]
    np.testing.assert_allclose(last, expected, atol=5e-7)


def test_observations(ads: DLBSystem) -> None:
    actions = named_action_set("permutations", 3)
    y, _, states = recursion(ads, actions.actions[[2, 4, 1]], noises(3, 3, 3))
    rows = np.concatenate([y[:, None], actions.actions[[2, 4, 1]]], axis=1)
    expected = {
        "reward": y[:, None],
        "reward_action": rows,
        "none": np.zeros((3, 1)),
        "state": states[1:],
        "history:2": np.array([[0 * rows[0], rows[0]], rows[:2], rows[1:]]),
    }
    for observe, values in expected.items():
        env = DLBEnv(ads, actions, 3, observe=observe)
        start, _ = env.reset(seed=3)
        np.testing.assert_array_equal(start, np.zeros(values.shape[1:]))
        observations, _, _ = play(env, [2, 4, 1])
        np.testing.assert_allclose(observations, values, atol=1e-13, err_msg=observe)
        assert env.observation_space.contains(observations[-1])
        assert env.observation_space.dtype == np.float64


def test_changing_a_noise_scale_does_not_shift_the_stream(ads: DLBSystem) -> None:
    arms = named_action_set("permutations", 3)
    _, silent, _ = play(DLBEnv(ads, arms, 4, noise=("gaussian", 0.0, 0.0)), [0, 1, 2, 3])
    _, loud, _ = play(DLBEnv(ads, arms, 4, noise=("gaussian", 0.0, 2.0)), [0, 1, 2, 3])
    np.testing.assert_allclose((np.array(loud) - silent) / 2.0, noises(3, 4, 3)[:, -1], atol=1e-12)


def test_reset_options_set_the_state_of_one_episode(ads: DLBSystem) -> None:
    env = DLBEnv(ads, horizon=3)
    _, moved, _ = play(env, [0], options={"x0": [1, 2, 3]})
    _, usual, _ = play(env, [0])
    assert moved[0] - usual[0] == pytest.approx(ads.omega @ [1, 2, 3])
    with pytest.raises(ValueError, match="unknown reset option 'x1'"):
        env.reset(options={"x1": [1, 2, 3]})
    with pytest.raises(ValueError, match=r"x0 must have shape \(3,\), but has shape \(2,\)"):
        env.reset(options={"x0": [1, 2]})
    with pytest.raises(ValueError, match="x0 must be finite"):
        env.reset(options={"x0": [1, np.nan, 2]})


def test_optimum_is_revealed_on_request_only(ads: DLBSystem) -> None:
    _, info = DLBEnv(ads, reveal_optimum=False).reset(seed=0)
    assert info == {}
    _, info = DLBEnv(ads).reset(seed=0)
    assert set(info) == {"optimal_action", "optimal_value", "h", "rho"}
    np.testing.assert_array_equal(info["optimal_action"], [1, 0, 0.5])
    np.testing.assert_allclose(info["h"], ads.h, rtol=1e-12)
    assert info["rho"] == pytest.approx(ads.rho, rel=1e-12)
    assert "state" in DLBEnv(ads, reveal_state=True).reset(seed=0)[1]
    env = DLBEnv(ads, reveal_optimum=False)
    env.reset(seed=0)
    assert set(env.step(0)[4]) == STEP_KEYS


def test_infeasible_actions_are_refused_by_name_and_amount(ads: DLBSystem) -> None:
    env = DLBEnv(ads, "budget", HORIZON)
    env.reset(seed=3)
    for action, words in (
        ([1, 1, 0.25], r"sum 2\.25 exceeds the total 1\.5 by 0\.75.*on_invalid='project'"),
        ([0, 1.5, 0], "coordinate 1 is 1.5, above its upper limit 1 by 0.5"),
        ([0, np.nan, 0], "not finite"),
        ([0, 1], "shape"),
    ):
        with pytest.raises(ValueError, match=words):
            env.step(action)
    reward = env.step([1.0 + 0.9e-9, 0.5 - 1e-8, 0])[1]
    env.reset(seed=3)
    assert env.step([1, 0.5, 0])[1] == pytest.approx(reward, abs=1e-7)
    assert isinstance(env.step(np.array([0.7, 0.8, 0.0], np.float32))[1], float)
    discrete = DLBEnv(ads, "permutations", HORIZON)
    discrete.reset(seed=3)
    with pytest.raises(ValueError, match="outside"):
        discrete.step(6)


def test_float32_rounding_of_a_feasible_action_is_accepted() -> None:
    system = DLBSystem(np.zeros((1, 1)), np.zeros((1, 2)), [0.0], [1.0, 1.0])
    env = DLBEnv(system, BudgetSet([0, 0], [0.1, 0.9], 1.0), 2)
    env.reset(seed=0)
    action = np.array([0.1, 0.9], np.float32)
    assert float(action[0]) > 0.1 + 1e-9
    _, reward, *_, info = env.step(action)
    assert reward == pytest.approx(1.0, abs=1e-7) and info["pseudo_regret"] >= 0


SETS = [
    BudgetSet(np.zeros(3), np.ones(3), 1.5),
    BudgetSet(np.zeros(3), np.ones(3), 1.5, equality=True),
    BoxSet(np.zeros(3), np.ones(3)),
    SimplexSet(3, 1.5),
    BallSet(1.0, dimension=3),
]


@pytest.mark.parametrize("action_set", SETS, ids=lambda s: type(s).__name__)
def test_infeasible_actions_are_projected_on_request(action_set, ads: DLBSystem) -> None:
    env = DLBEnv(ads, action_set, HORIZON, on_invalid="project", observe="reward_action")
    far = np.array([3.0, 0.2, -1.0])
    inside = action_set.project(far)
    observations, rewards, infos = play(env, [far, inside, 100 * far])
    np.testing.assert_allclose([o[1:] for o in observations[:2]], [inside, inside], atol=1e-12)
    assert [info["action_projected"] for info in infos] == [True, False, True]
    y, _, _ = recursion(ads, np.array([inside, inside, action_set.project(100 * far)]), noises(3, 3, 3))
    np.testing.assert_allclose(rewards, y, atol=1e-12)
    assert min(info["pseudo_regret"] for info in infos) >= -1e-12


def far_policy(state, observation, key):
    return jnp.array([3.0, 0.2, -1.0]), state


def test_projection_and_refusal_inside_compiled_code(ads: DLBSystem) -> None:
    for on_invalid in ("project", "raise"):
        world = DynamicalLinearBandit(ads, "budget", 5, on_invalid=on_invalid)
        played = dynrl.rollout(world, far_policy, 0, num_envs=2)
        if on_invalid == "project":
            assert played.info["action_projected"].all()
            value = ads.value(world.action_set.project([3.0, 0.2, -1.0]))
            np.testing.assert_allclose(played.info["steady_state_value"], np.full((2, 5), value), rtol=1e-9)
        else:
            assert np.isnan(played.reward).all()


def test_brax_face_in_single_precision(ads: DLBSystem) -> None:
    world = DynamicalLinearBandit(ads, "budget", 5, on_invalid="project", sigma=0.0)
    env = BraxEnv(world)
    state = env.reset(jax.random.PRNGKey(0))
    state = jax.jit(env.step)(state, jnp.ones(3))
    assert state.reward.dtype == jnp.float32
    assert float(state.reward) == pytest.approx(ads.theta @ [0.5, 0.5, 0.5], rel=1e-5)
    feasible = BraxEnv(DynamicalLinearBandit(ads, "box", 5, sigma=0.0))
    state = jax.jit(feasible.step)(feasible.reset(jax.random.PRNGKey(0)), jnp.ones(3))
    assert float(state.reward) == pytest.approx(ads.theta.sum(), rel=1e-5)


def test_end_of_the_episode() -> None:
    env = DLBEnv("synthetic", horizon=3)
    env.reset(seed=0)
    ends = [env.step(0)[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]
    with pytest.raises(ResetNeeded):
        env.step(0)


def constant_policy(state, observation, key):
    return jnp.array([0.7, 0.1, 0.7]), state


def rewards_only(transition):
    return transition.reward


def test_long_run_average_and_stationary_variance(ads: DLBSystem) -> None:
    """Bounds of 4 and 5 standard errors; a correct environment fails with probability below 1e-4."""
    envs, settled, steps = 64, 200, 4200
    world = DynamicalLinearBandit(ads, "box", steps)
    y = np.array(dynrl.rollout(world, constant_policy, 1, num_envs=envs, collect=rewards_only))[:, settled:]
    # Long-run variance of a reward: (ω(I − A)^{-1})² σ_x² + σ_y²
    weight = np.linalg.solve(np.eye(3) - ads.A.T, ads.omega)
    error = np.sqrt((weight @ weight * ads.sigma_x**2 + ads.sigma_y**2) / y.size)
    assert abs(y.mean() - ads.value([0.7, 0.1, 0.7])) < 4 * error
    per_env = ((y - ads.value([0.7, 0.1, 0.7])) ** 2).mean(1)
    standard_error = per_env.std(ddof=1) / np.sqrt(envs)
    assert abs(per_env.mean() - ads.reward_variance()) < 5 * standard_error
    assert standard_error < 0.02 * ads.reward_variance()


def test_every_environment_may_be_another_world(ads: DLBSystem) -> None:
    systems = [ads, synthetic_system(0.3), ads_system(0.0)]
    arms = named_action_set("permutations", 3)
    params = jax.tree.map(lambda *leaves: np.stack(leaves), *[s.params for s in systems])
    batch = DLBVectorEnv(3, ads, arms, HORIZON)
    batch.params = batch.params._replace(system=params)
    _, info = batch.reset(seed=5)
    np.testing.assert_allclose(info["h"], [s.h for s in systems], rtol=1e-12)
    np.testing.assert_allclose(info["optimal_value"], [s.optimal_value(arms) for s in systems], rtol=1e-12)
    np.testing.assert_allclose(info["rho"], [s.rho for s in systems], rtol=1e-12)
    for t in range(HORIZON + 1):  # over the end of the episode and the reset that follows
        info = batch.step([t % 6, 1, 2])[4]
        np.testing.assert_allclose(
            info["optimal_value"], [s.optimal_value(arms) for s in systems], rtol=1e-12
        )
    single = DLBEnv(systems[1], arms, HORIZON)
    batch.reset(seed=5)
    single.reset(seed=6)
    for _ in range(HORIZON):
        _, rewards, *_ = batch.step([4, 3, 2])
        assert single.step(3)[1] == pytest.approx(rewards[1], abs=1e-13)


def test_every_environment_may_have_other_actions(ads: DLBSystem) -> None:
    budgets = [0.5, 1.5, 2.5]
    batch = DLBVectorEnv(3, ads, "budget", HORIZON, on_invalid="project")
    default = batch.params
    batch.params = default._replace(
        action_set=jax.tree.unflatten(
            jax.tree.structure(default.action_set), [np.zeros(3), np.ones(3), np.array(budgets)]
        )
    )
    _, info = batch.reset(seed=0)
    sets = [BudgetSet(np.zeros(3), np.ones(3), b) for b in budgets]
    np.testing.assert_allclose(info["optimal_value"], [ads.optimal_value(s) for s in sets], rtol=1e-12)
    _, _, _, _, info = batch.step(np.ones((3, 3)))
    spent = [ads.value(s.project(np.ones(3))) for s in sets]
    np.testing.assert_allclose(info["steady_state_value"], spent, atol=1e-12)


@pytest.mark.parametrize("name", ["dynrl/DLBSynthetic-v0", "dynrl/DLBAds-v0"])
def test_registered_environments(name: str) -> None:
    env = gym.make(name, horizon=4, sigma=0.1, sigma_y=0.2)
    check_env(env.unwrapped, skip_render_check=True)
    system = env.unwrapped.system
    assert (system.sigma_x, system.sigma_y) == (0.1, 0.2)
    np.testing.assert_array_equal(env.unwrapped.actions[0], [1, 0.5, 0])
    batch = gym.make_vec(name, num_envs=3, horizon=4, action_set="budget")
    batch.reset(seed=0)
    _, rewards, *_ = batch.step(np.tile([1, 0, 0.5], (3, 1)))
    alone = gym.make(name, horizon=4, action_set="budget")
    for i in range(3):
        alone.reset(seed=i)
        assert alone.step([1, 0, 0.5])[1] == pytest.approx(rewards[i], abs=1e-13)


def test_a_system_of_ones_own() -> None:
    env = gym.make("dynrl/DLB-v0", system=WORKED, action_set=FiniteSet(np.eye(2)), horizon=4)
    env.reset(seed=0)
    assert [env.step(a)[1] for a in (1, 0)] == pytest.approx([0.3, 0.18])
    with pytest.raises(TypeError, match="system"):
        gym.make("dynrl/DLB-v0")


def test_copies_continue_identically(ads: DLBSystem) -> None:
    env = DLBEnv(ads, "permutations", HORIZON)
    env.reset(seed=7)
    env.step(1)
    clones = [copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
    rewards = [env.step(a)[1] for a in range(6)]
    for clone in clones:
        assert [clone.step(a)[1] for a in range(6)] == rewards


def test_stateless_and_unstable_systems() -> None:
    bandit = DLBEnv(
        DLBSystem(np.zeros((0, 0)), np.zeros((0, 2)), [], [1.0, 2.0]), "box", 3, reveal_state=True
    )
    _, rewards, infos = play(bandit, [[1, 0], [0, 1]])
    assert rewards == [1.0, 2.0] and infos[-1]["cum_pseudo_regret"] == pytest.approx(3.0)
    growing = DLBSystem([[2.0]], [[1.0]], [1.0], [0.0], allow_unstable=True)
    env = DLBEnv(growing, BoxSet([0.0], [1.0]), 5)
    _, info = env.reset(seed=0)
    assert np.isnan(info["h"]).all() and np.isnan(info["optimal_value"]) and info["rho"] == pytest.approx(2.0)
    _, rewards, infos = play(env, [[1.0]] * 4)
    assert rewards == [0.0, 1.0, 3.0, 7.0]
    assert np.isnan(infos[-1]["cum_pseudo_regret"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"system": "adds"}, "unknown system 'adds'"),
        ({"system": 3}, "system must be a DLBSystem"),
        ({"action_set": FiniteSet(np.eye(2))}, r"dimension 2.*shape \(3,\)"),
        ({"action_set": [1, 2]}, "action_set must be an ActionSet"),
        ({"horizon": 0}, "horizon must be a whole number of at least 1"),
        ({"observe": "history:0"}, "observe must be .* but is 'history:0'"),
        ({"observe": "all"}, "observe must be"),
        ({"on_invalid": "clip"}, "on_invalid must be 'raise' or 'project', but is 'clip'"),
        ({"noise": ("laplace", 1, 1)}, "noise must be"),
        ({"noise": ("gaussian", -1, 1)}, "sigma_x must be at least 0"),
        ({"sigma": -0.5}, "sigma_x must be at least 0, but is -0.5"),
        ({"noise": ("gaussian", 1, 1), "sigma": 1.0}, "either noise or sigma"),
        ({"x0": [0.0]}, r"x0 must have shape \(3,\)"),
    ],
)
def test_bad_arguments_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DynamicalLinearBandit(**{"system": "ads", **changes})
