"""Therapy of sepsis as an environment."""

import jax
import numpy as np
import pytest

import dynrl
from dynrl.envs.digital_twins.sepsis import COHORT, Patient, Sepsis, drawn_patient
from dynrl.faces.gymnasium_env import GymnasiumEnv

SMALL = {"grid": 9, "hold": 3, "burn_in": 4}
ENV = Sepsis(**SMALL)
# Every further environment is compiled anew, so one holds all that differs.
OTHER = Sepsis(antibiotic=True, oracle_obs=True, reward_form="public", cohort=True, **SMALL)


@pytest.fixture(scope="module")
def face():
    return GymnasiumEnv(ENV)


def play(action=None, **limits):
    env = GymnasiumEnv(ENV, params=ENV.default_params._replace(**limits))
    env.reset(seed=0)
    return env.step(np.zeros(6, np.float32) if action is None else action)


def test_a_decision_holds(face):
    _, info = face.reset(seed=1)
    assert info["time"] == 4 and info["patient"]["oxy_heal"] == pytest.approx(0.08)
    action = np.array([1, -1, 0, 0.5, 0, 0], np.float32)
    observation, reward, terminated, truncated, info = face.step(action)
    assert info["time"] == 7 and observation.shape == (11,)
    assert not terminated and not truncated and info["overflow"] == 0
    # PAF TNF sTNFr IL1 sIL1r IL1ra IFNg IL4 IL8 IL10 IL12 GCSF
    expected = [1, 10, 1, 1, 1, 1, 0.001, 5.5, 1, 1, 1, 1]
    np.testing.assert_allclose(info["multipliers"], expected, rtol=1e-4)
    assert reward == pytest.approx(sum(info["reward_terms"].values()), abs=1e-6)


def test_the_reward_is_the_oxygen_regained(face):
    _, before = face.reset(seed=2)
    _, reward, *_, after = face.step(np.zeros(6, np.float32))
    regained = (before["oxygen_deficit"] - after["oxygen_deficit"]) / 81
    assert reward == pytest.approx(regained, abs=1e-6)


def test_death_ends_the_episode_at_once():
    _, reward, terminated, _, info = play(died=np.float32(0))
    assert terminated and info["died"] and not info["healed"]
    assert info["time"] == 5
    assert info["reward_terms"]["outcome"] == -1 and reward < -0.9


def test_therapy_stops_and_only_then_can_a_patient_be_healed():
    env = GymnasiumEnv(
        ENV, params=ENV.default_params._replace(stop=np.float32(2), healed=np.float32(2), died=np.float32(2))
    )
    env.reset(seed=0)
    action = np.ones(6, np.float32)
    for index in range(40):
        _, _, terminated, _, info = env.step(action)
        assert info["off_therapy"]
        if index:
            np.testing.assert_array_equal(info["multipliers"], 1)
        if terminated:
            break
    assert info["healed"] and info["reward_terms"]["outcome"] == 1
    assert info["time"] == 4 + 1 + 100


def test_actions_from_outside(face):
    face.reset(seed=0)
    *_, info = face.step(np.full(6, 3, np.float32))
    assert info["clipped"]
    *_, info = face.step(np.full(6, 1, np.float32))
    assert not info["clipped"]
    with pytest.raises(ValueError, match="finite"):
        face.step(np.full(6, np.nan, np.float32))
    with pytest.raises(ValueError, match="shape"):
        face.step(np.zeros(7, np.float32))


def test_not_a_number_in_compiled_code_is_no_therapy_and_flagged(face):
    face.reset(seed=0)
    params, state = ENV.default_params, face._episode.state
    transition = jax.jit(ENV.transition)
    broken = transition(state, np.full(6, np.nan, np.float32), jax.random.key(1), params)
    untreated = transition(state, np.zeros(6, np.float32), jax.random.key(1), params)
    assert bool(broken.invalid) and not bool(untreated.invalid)
    np.testing.assert_array_equal(broken.model.tissue.oxy, untreated.model.tissue.oxy)


def test_an_antibiotic_clears_the_infection():
    env = GymnasiumEnv(OTHER)
    env.reset(seed=0)
    *_, without = env.step(np.zeros(7, np.float32))
    env.reset(seed=0)
    *_, treated = env.step(np.array([0, 0, 0, 0, 0, 0, 1], np.float32))
    assert treated["infection"] < 0.05 * without["infection"]


def test_the_public_reward():
    env = GymnasiumEnv(OTHER)
    _, before = env.reset(seed=0)
    for decision in range(2):
        _, reward, _, _, after = env.step(np.full(7, -0.5, np.float32))
        shaping = 200 * 100 * (before["oxygen_deficit"] - after["oxygen_deficit"]) / 81
        assert reward == pytest.approx((shaping - 0.1 * 3) * 0.998**decision, rel=1e-3, abs=0.05)
        before = after


def test_cohort_patients_stay_within_their_ranges_and_differ():
    patients = jax.vmap(drawn_patient, in_axes=(0, None))(jax.random.split(jax.random.key(0), 2000), COHORT)
    for name, leaf in patients._asdict().items():
        low, high = getattr(COHORT, name)
        assert low <= leaf.min() < leaf.max() <= high
    assert set(np.unique(patients.infect_repeat)) == {1, 2, 3}
    env = GymnasiumEnv(OTHER)
    shown = [env.reset(seed=seed)[1]["patient"]["injury"] for seed in range(3)]
    assert len(set(map(float, shown))) == 3


def test_reset_options(face):
    _, info = face.reset(seed=0, options={"patient": {"oxy_heal": 0.3, "injury": 5}})
    assert info["patient"]["oxy_heal"] == pytest.approx(0.3) and info["patient"]["injury"] == 5
    with pytest.raises(ValueError, match="no 'age'"):
        face.reset(options={"patient": {"age": 70}})
    with pytest.raises(ValueError, match="infect_repeat"):
        face.reset(options={"patient": {"infect_repeat": 0.5}})
    with pytest.raises(ValueError, match="unknown reset option"):
        face.reset(options={"sex": 1})


@pytest.mark.parametrize(
    ("argument", "value"),
    [("drugs", 7), ("hold", 0), ("burn_in", -1), ("horizon", 0), ("grid", 2), ("reward_form", "free")],
)
def test_impossible_settings_are_named(argument, value):
    with pytest.raises(ValueError, match=argument):
        Sepsis(**{argument: value})


def test_the_picture(face):
    env = GymnasiumEnv(ENV, render_mode="rgb_array")
    env.reset(seed=0)
    image = env.render()
    assert image.shape[0] >= 408 and image.shape == (image.shape[0], image.shape[0], 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, env.render())
    assert image[..., 1].max() > 150  # the infection


def test_oracle_observations():
    env = GymnasiumEnv(OTHER)
    observation, info = env.reset(seed=0)
    assert observation.shape == (18,)
    assert observation[11] == pytest.approx(2 * info["oxygen_deficit"] / 81 - 1, abs=1e-5)
    assert observation in env.observation_space


def test_the_default_is_the_published_size():
    env = dynrl.make_functional("dynrl/Sepsis-v0")
    assert (env.grid, env.hold, env.burn_in, env.horizon) == (101, 60, 100, 82)
    assert env.patient == Patient()
