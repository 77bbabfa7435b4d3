"""The search for a therapy of sepsis: what weights mean, what a ward counts, and that a search goes on exactly."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from dynrl.agents.digital_twins.sepsis_judgement import mortality_interval, paired_difference
from dynrl.agents.digital_twins.sepsis_policy import (
    constant_weights,
    first_guess,
    gated_weights,
    paf_level,
    policy_action,
)
from dynrl.agents.digital_twins.sepsis_search import SepsisSearchConfig, improve, relaxed
from dynrl.envs.digital_twins.sepsis.env import TherapyState
from dynrl.envs.digital_twins.sepsis.fields import DIED, HEALED, RUNNING
from dynrl.envs.digital_twins.sepsis.model import SepsisState, Totals
from dynrl.envs.digital_twins.sepsis.ward import Course
from dynrl.errors import ConfigError
from dynrl.faces.gymnasium_env import GymnasiumEnv
from dynrl.registry import make_functional

SETTINGS = {"grid": 9, "hold": 2, "burn_in": 2, "drugs": 11, "antibiotic": True, "horizon": 3}
ENV: Any = make_functional("dynrl/Sepsis-v0", cohort=True, **SETTINGS)
SIZE = 12
PAF = 5


def observed(paf=-1.0):
    shown = np.full(11, -1, np.float32)
    shown[PAF] = paf
    return shown


def test_a_constant_plays_what_it_was_made_from():
    played = policy_action(constant_weights(ENV, {"TNF": -0.5, "IL8": 0.9}), observed(), SIZE)
    named = dict(zip([*ENV.drug_names, "antibiotic"], played, strict=True))
    expected = {**dict.fromkeys(ENV.drug_names, 0.0), "TNF": -0.5, "IL8": 0.9, "antibiotic": -1.0}
    assert named == pytest.approx(expected, abs=1e-5)


def test_feedback_is_one_constant_for_the_ill_and_another_for_the_well():
    ill, well = first_guess(ENV), constant_weights(ENV, {})
    weights = gated_weights(ill, well, -1.0)
    for level, chosen in ((-0.99, ill), (-1.01, well)):
        shown = observed(2 * 10**level - 1)
        assert float(paf_level(shown)) == pytest.approx(level, abs=1e-4)
        np.testing.assert_array_equal(policy_action(weights, shown, SIZE), np.tanh(chosen / 2))
    assert paf_level(observed()) == -4


@pytest.mark.parametrize("outcome", [RUNNING, HEALED, DIED])
@pytest.mark.parametrize("form", ["public", "shaped", "outcome"])
def test_returns_are_those_of_the_environment(form, outcome):
    deficits, efforts = np.array([0.5, 0.3, 0.45]), np.array([1.0, 2.5])
    env = dataclasses.replace(ENV, reward_form=form)

    def state(decision):
        played = np.zeros(SIZE, np.float32) if decision == 0 else np.eye(SIZE)[3] * -efforts[decision - 1]
        model = SepsisState(*[None] * len(SepsisState._fields))
        now = TherapyState(*[None] * len(TherapyState._fields))
        return now._replace(
            model=model._replace(totals=Totals(deficits[decision] * 81, None, None)),
            action=jnp.asarray(played),
            outcome=jnp.asarray(outcome if decision == 2 else RUNNING),
            decisions=jnp.asarray(decision),
        )

    expected = sum(float(env.reward(state(k), None, state(k + 1), None)) for k in range(2))
    found = Course(deficits, efforts, np.ones(2, bool), outcome, 120).returns
    assert found[form] == pytest.approx(expected, rel=1e-5, abs=0.01)


def test_burden_and_dose_in_closed_form():
    course = Course(
        np.array([0.5, 0.6, 0.9]), np.array([2.0, 3.0]), np.array([True, False]), outcome=2, steps=100
    )
    assert course.dose == 2
    assert course.burden(4) == pytest.approx((0.6 + 0.9 + 0.8 + 0.8) / 4)
    assert course._replace(outcome=1).burden(4) == pytest.approx(1.5 / 4)


@pytest.mark.slow
class TestWard:
    """Together, for they share a compilation."""

    @pytest.fixture(autouse=True)
    def numba(self):
        pytest.importorskip("numba")

    def test_its_patients_are_those_of_the_environment_and_come_back_as_they_were(self):
        ward = ENV.ward(np.array([5, 6]))
        for index, seed in enumerate((5, 6)):
            _, info = GymnasiumEnv(ENV).reset(seed=seed)
            patient = ward.patient(index)._asdict()
            assert patient == pytest.approx({name: float(value) for name, value in info["patient"].items()})
        first, again = (ward.course(lambda shown: np.zeros(SIZE), 1) for _ in range(2))
        np.testing.assert_array_equal(first.deficits, again.deficits)
        assert first.steps == 6 and not first.efforts.any()

    def test_therapies_that_act_alike_meet_the_same_chance(self):
        ward = ENV.ward(np.array([7]))
        guess = np.tanh(first_guess(ENV) / 2)
        seen = []

        def late(shown):
            seen.append(shown)
            return guess if len(seen) < 3 else np.zeros(SIZE)

        same, changed = ward.course(lambda shown: guess, 0), ward.course(late, 0)
        np.testing.assert_array_equal(same.deficits[:3], changed.deficits[:3])
        assert same.dose > changed.dose

    def test_a_search_repeats_itself_and_goes_on_from_its_record(self, tmp_path):
        pytest.importorskip("cma")
        config = SepsisSearchConfig(env_kwargs=SETTINGS, patients=2, admitted=3, pools=2, population=4)
        begin = first_guess(ENV)
        whole = improve(begin, config, 4)
        record = tmp_path / "search.jsonl"
        improve(begin, config, 2, record)
        np.testing.assert_array_equal(improve(begin, config, 4, record), whole)
        assert not np.array_equal(whole, begin)
        with pytest.raises(ConfigError, match="another search"):
            improve(begin, dataclasses.replace(config, seed=1), 4, record)


def test_feedback_gives_the_well_less():
    guess = first_guess(ENV)
    rule = relaxed(guess, ENV)
    np.testing.assert_array_equal(policy_action(rule, observed(1.0), SIZE), np.tanh(guess / 2))
    given = policy_action(rule, observed(), SIZE)
    left = {name: value for name, value in zip(ENV.drug_names, given[:11], strict=True) if value}
    assert left == pytest.approx({"IL1": -0.98}) and given[-1] > 0


@pytest.mark.parametrize(
    "setting", [{"population": 3}, {"sigma": 0}, {"patients": 0}, {"admitted": 1}, {"objective": "luck"}]
)
def test_impossible_settings_are_named(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        SepsisSearchConfig(**setting)


def test_a_ward_is_for_sepsis():
    with pytest.raises(ValueError, match="cohort"):
        make_functional("dynrl/Sepsis-v0", **SETTINGS).ward(np.array([0]))


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
