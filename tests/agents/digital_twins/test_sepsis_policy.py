"""The search for a therapy of sepsis: what weights mean, and that a ward counts right."""

import jax
import numpy as np
import pytest

from dynrl.agents.digital_twins.sepsis_judgement import mortality_interval, paired_difference
from dynrl.agents.digital_twins.sepsis_policy import (
    FEATURES,
    SepsisPolicyConfig,
    Ward,
    constant_weights,
    first_guess,
    policy_action,
    train_policy,
)
from dynrl.errors import ConfigError
from dynrl.faces.gymnasium_env import GymnasiumEnv
from dynrl.registry import make_functional

SETTINGS = {"grid": 9, "hold": 2, "burn_in": 2, "drugs": 11, "antibiotic": True, "horizon": 3}
ENV = make_functional("dynrl/Sepsis-v0", cohort=True, **SETTINGS)
SIZE = 12


def action(weights, observation=None):
    shown = np.zeros(11, np.float32) if observation is None else observation
    return np.asarray(policy_action(np.asarray(weights, np.float32), shown, SIZE))


def test_a_constant_plays_what_it_was_made_from():
    played = action(constant_weights(ENV, {"TNF": -0.5, "IL8": 0.1, "antibiotic": 0.15}))
    named = dict(zip([*ENV.drug_names, "antibiotic"], played, strict=True))
    assert named == pytest.approx(
        {**dict.fromkeys(ENV.drug_names, 0.0), "TNF": -0.5, "IL8": 0.1, "antibiotic": 0.15}, abs=1e-5
    )
    assert action(constant_weights(ENV, {}))[-1] == pytest.approx(-1, abs=1e-5)


def test_an_open_gate_adds_and_a_closed_one_does_not():
    base = first_guess(ENV)
    change = np.linspace(-1, 1, SIZE)
    gate = np.zeros(len(FEATURES) + 1)
    for threshold, added in ((-20, 0), (20, 1)):
        gate[-1] = threshold
        np.testing.assert_allclose(
            action(np.concatenate([base, change, gate])), action(base + added * change), atol=1e-5
        )


def test_a_gate_looks_at_its_mediators():
    base, change = np.zeros(SIZE), np.ones(SIZE)
    gate = np.zeros(len(FEATURES) + 1)
    gate[FEATURES.index("PAF")] = 3
    low, high = -np.ones(11, np.float32), -np.ones(11, np.float32)
    high[5] = 1  # PAF is the sixth of the observation
    weights = np.concatenate([base, change, gate])
    assert (action(weights, high) > action(weights, low)).all()


@pytest.mark.slow
def test_a_ward_finds_what_single_episodes_find():
    seeds = np.array([5, 6, 7, 8, 9])
    ward = Ward(ENV, seeds, lanes=2)
    policies = np.stack([first_guess(ENV), constant_weights(ENV, {})])
    found = ward.outcomes(policies)
    face = GymnasiumEnv(ENV)
    for row, weights in enumerate(policies):
        for patient, seed in enumerate(seeds):
            observation, info = face.reset(seed=int(seed))
            begun, total, missing = info["time"], 0.0, 0.0
            for _ in range(3):
                observation, reward, ended, late, info = face.step(action(weights, observation))
                total, missing = total + reward, missing + info["oxygen_deficit"] / 81
                if ended or late:
                    break
            assert found.return_[row, patient] == pytest.approx(total, abs=1e-3)
            assert found.burden[row, patient] == pytest.approx(missing / 3, abs=1e-3)
            assert found.steps[row, patient] == info["time"] - begun
            assert found.died[row, patient] == info["died"]


def test_a_search_repeats_itself_and_only_changes_what_is_free():
    pytest.importorskip("cma")
    config = SepsisPolicyConfig(
        env_kwargs=SETTINGS, patients=2, pools=1, population=4, generations=2, lanes=2
    )
    first, again = (train_policy(config) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    base = first_guess(ENV)
    np.testing.assert_array_equal(first[:SIZE], base)
    assert len(first) == 2 * SIZE + len(FEATURES) + 1


def test_impossible_settings_are_named():
    with pytest.raises(ConfigError, match="population"):
        SepsisPolicyConfig(population=3)
    with pytest.raises(ConfigError, match="sigma"):
        SepsisPolicyConfig(sigma=0)


def test_the_interval_of_a_share_is_wilsons():
    assert mortality_interval(np.arange(10) < 5) == pytest.approx((0.5, 0.2366, 0.7634), abs=1e-4)


def test_a_paired_difference_covers_its_mean():
    rng = np.random.default_rng(0)
    patients = rng.normal(0, 10, 400)
    hits = 0
    for index in range(40):
        noise = np.random.default_rng(index).normal(-0.5, 1, 400)
        found = paired_difference(patients + noise, patients, resamples=500)
        hits += found.low <= -0.5 <= found.high
    assert hits >= 34  # 38 expected; fewer than 34 has probability 0.002
    assert paired_difference(patients, patients) == (0, 0, 0)


def test_features_are_of_order_one():
    from dynrl.agents.digital_twins.sepsis_policy import features

    shown = np.asarray(jax.vmap(features)(np.stack([-np.ones(11), np.ones(11)]).astype(np.float32)))
    assert shown.shape == (2, 6)
    np.testing.assert_allclose(shown[0], np.log(1e-3) / 3.5 + 1, rtol=1e-4)
    np.testing.assert_allclose(shown[1], 1, atol=1e-3)
