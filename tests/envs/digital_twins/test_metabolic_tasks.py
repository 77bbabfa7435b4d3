"""Feeding tasks: what is given, what is rewarded, and what is refused."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynrl
from dynrl.envs.digital_twins.metabolic import MACRO_NAMES, MetBudget, MetTrack, MetYield

SIZES = {"length": 10, "n1": 10, "n2": 20, "capacity": 256}


@pytest.fixture(scope="module")
def feeding():
    return gymnasium.make("dynrl/MetBudget-v0", horizon=12, hold=5, render_mode="rgb_array", **SIZES)


@pytest.fixture(scope="module")
def tracking():
    return gymnasium.make("dynrl/MetTrack-v0", horizon=8, hold=4, period=8, **SIZES)


def played(env, actions, **reset):
    env.reset(seed=3, **reset)
    return [env.step(np.full(1, action, np.float32)) for action in actions]


@pytest.mark.parametrize("command", [0.0, 0.7, 20.0])
def test_exactly_the_budget_is_given(feeding, command):
    shown = played(feeding, [command] * 12)
    given = [step[4]["dose"] for step in shown]
    assert sum(given) == 60 and shown[-1][4]["budget_left"] == 0
    if command == 20.0:
        assert given[0] == 60 and shown[0][4]["saturated"]
    if command == 0.0:
        assert given[:11] == [0] * 11  # 60 molecules can wait for the last three steps
    harvested = sum(step[4]["harvested"] for step in shown)
    assert sum(step[1] for step in shown) == pytest.approx(harvested / 60, abs=1e-6)
    assert shown[-1][4]["yield"] == pytest.approx(harvested / 60, abs=1e-6)


def test_what_is_left_is_seen(feeding):
    observation = played(feeding, [3.0, 3.0])[-1][0]
    assert observation["budget_left"] == pytest.approx(0.5) and observation["time"] == pytest.approx(2 / 12)


def test_terms_add_up_to_the_reward(feeding, tracking):
    for env in (feeding, tracking):
        for _, reward, _, _, info in played(env, [4.0, 9.0, 0.5]):
            assert sum(info["reward_terms"].values()) == pytest.approx(reward, abs=1e-6)


def test_no_substrate_no_yield(feeding):
    shown = played(feeding, [2.0] * 12, options={"budget": 0})
    assert [step[1] for step in shown] == [0.0] * 12 and shown[-1][4]["yield"] == 0.0


def test_rewards_of_the_yield_task_add_up_to_the_ratio_of_the_second_half():
    env = MetYield(horizon=6, hold=10, **SIZES)
    for command in (6.0, 0.0):
        steps = dynrl.rollout(
            env, lambda u, seen, key: (u, u), 1, num_envs=8, policy_state=jnp.full(1, command)
        )
        harvested, supplied = (np.asarray(steps.info[name])[:, 3:].sum(1) for name in ("harvested", "dose"))
        ratio = np.divide(harvested, supplied, out=np.zeros(8), where=supplied > 0)
        assert np.asarray(steps.reward).sum(1) == pytest.approx(ratio, abs=1e-6)
        assert (supplied == 180).all() if command else not supplied.any()


def test_tracking_costs_the_squared_relative_error():
    env = MetTrack(horizon=8, hold=1, period=4, setpoint_low=2.0, setpoint_high=9.0, effort=0.5, **SIZES)
    steps = dynrl.rollout(env, lambda u, seen, key: (u, u), 1, num_envs=4, policy_state=jnp.full(1, 3.0))
    product = np.asarray(steps.info["counts"]["P"])
    level = np.asarray(steps.observation["setpoint"])[..., 0] * 15
    assert np.asarray(steps.reward) == pytest.approx(-(((product - level) / level) ** 2) - 1.5, abs=1e-4)
    assert (level[:, :4] == level[:, :1]).all() and (level[:, 4:] == level[:, 4:5]).all()
    assert (level[:, 0] != level[:, 4]).all() and (level >= 2).all() and (level <= 9).all()


def test_a_level_of_zero_has_an_absolute_error(tracking):
    start = [0, 0, 6, 10, 0, 0, 0]
    options = {"setpoint_low": 0.0, "setpoint_high": 0.0, "effort": 0.0, "kx": 0.0, "ah": 0.0, "start": start}
    assert [step[1] for step in played(tracking, [0.0, 0.0], options=options)] == [-36.0, -36.0]


def test_too_much_is_cut_and_said(feeding):
    info = played(feeding, [50.0])[0][4]
    assert info["clipped"] and info["action_projected"] and info["dose"] == 60
    assert not played(feeding, [1.0])[0][4]["clipped"]


@pytest.mark.parametrize(
    "wrong", [np.full(1, np.nan), np.full(1, np.inf), np.full(1, -0.1), np.zeros(2), np.zeros(())]
)
def test_impossible_doses_are_refused(feeding, wrong):
    feeding.reset(seed=0)
    with pytest.raises(ValueError):
        feeding.step(wrong.astype(np.float32))


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"kx": 1.2}, "kx"),
        ({"budget": 10_000}, "budget"),
        ({"budget": -1}, "budget"),
        ({"start": [1, 2]}, "start"),
        ({"start": [0, 0, 0, 11, 0, 0, 0]}, "enzymes"),
        ({"start": [900, 0, 0, 10, 0, 0, 0]}, "slots"),
        ({"color": 1}, "color"),
    ],
)
def test_impossible_options_are_named(feeding, options, names):
    with pytest.raises(ValueError, match=names):
        feeding.reset(options=options)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"horizon": 0}, "horizon"),
        ({"hold": 1.5}, "hold"),
        ({"budget": 10**6}, "budget"),
        ({"history": -1}, "history"),
    ],
)
def test_impossible_settings_are_named(settings, names):
    with pytest.raises(ValueError, match=names):
        MetBudget(**settings)


def test_options_set_one_episode(feeding):
    _, info = feeding.reset(seed=0, options={"start": [5, 4, 3, 2, 1, 6, 7], "kx": 0.5})
    assert [info["counts"][name] for name in MACRO_NAMES] == [5, 4, 3, 2, 1, 6, 7] and info["patient"][
        "kx"
    ] == 0.5
    assert [feeding.reset()[1]["counts"][name] for name in MACRO_NAMES] == [0, 0, 0, 10, 0, 0, 0]


def test_the_picture_is_large_and_repeats_itself(feeding):
    played(feeding, [10.0])
    picture = feeding.render()
    assert picture.shape == (410, 410, 3) and picture.dtype == np.uint8
    assert (picture == feeding.render()).all()
    feeding.reset(seed=0, options={"start": [0, 0, 0, 10, 0, 0, 0]})
    assert (feeding.render() != picture).any()


def test_patients_side_by_side():
    env = MetBudget(horizon=4, hold=5, budget=20, **SIZES)
    params = env.default_params
    rates = params.rates._replace(delta_s=np.array([0.0, 1.0], np.float32))
    steps = dynrl.rollout(
        env,
        lambda u, seen, key: (u, u),
        0,
        num_envs=2,
        params=params._replace(rates=rates),
        policy_state=jnp.ones(1),
    )
    left = np.asarray(steps.info["counts"]["S"])[:, -1]
    assert left[0] > 0 and left[1] == 0


def test_images_count_molecules_and_enzymes():
    env = MetBudget(horizon=4, hold=5, image=True, history=2, **SIZES)
    state = env.model.placed(jax.random.key(0), np.array([30, 20, 10, 4, 3, 5, 6]))
    assert np.asarray(env._image(state)).sum((1, 2)).tolist() == [30, 20, 10, 10, 20]
