"""Benchmark sets by name, and parameters that do nothing."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest

from dynrl.robust import uset
from dynrl.robust.benchmark_sets import ROBOTS, force_set
from dynrl.robust.effect import check_effect

# Nominal values in Gymnasium's v5 models, in the order of the sets: spec section 6, column "now", from compiled models.
NOW = {
    "ant": [0.3272, 0.0392, 0.0392],
    "half_cheetah": [0.4, 6.2502, 1.5435],
    "hopper": [1.0, 3.6652, 4.0579],
    "humanoid_standup": [8.9075, 1.7671, 4.7518],
    "inverted_pendulum": [5.0186, 10.472],
    "walker2d": [0.7, 3.6652, 4.0579],
}
HIGH = {
    "ant": [3.0, 3.0, 3.0],
    "half_cheetah": [4.0, 7.0, 3.0],
    "hopper": [3.0, 3.0, 4.0],
    "humanoid_standup": [16.0, 8.0, 5.0],
    "inverted_pendulum": [31.0, 11.0],
    "walker2d": [4.0, 5.0, 6.0],
}


@pytest.mark.parametrize("name", ROBOTS)
def test_published_intervals_and_nominal_values(name: str) -> None:
    for dims in range(1, len(NOW[name]) + 1):
        published = uset(name, dims, "rrls")
        np.testing.assert_allclose(published.nominal, NOW[name][:dims], rtol=2e-3)
        np.testing.assert_array_equal(published.high, HIGH[name][:dims])
        assert (published.inertia, published.grid_endpoint) == ("keep", False)
    assert (uset(name).inertia, uset(name).grid_endpoint) == ("scale", True)
    assert len({uset(name, 2, convention).hash for convention in ("dynrl", "m2td3", "rrls")}) == 3


def test_conventions_of_the_humanoid_and_the_ant() -> None:
    np.testing.assert_array_equal(uset("humanoid_standup", 3, "m2td3").high, [16, 5, 8])
    np.testing.assert_array_equal(uset("humanoid_standup", 3, "rrls").high, [16, 8, 5])
    np.testing.assert_array_equal(uset("humanoid_standup", 2, "m2td3").high, [16, 8])
    # M2TD3 changes body 4, an ankle, where it says front right leg.
    assert uset("ant", 3, "m2td3").nominal[2] == pytest.approx(0.0676, abs=1e-4)
    assert uset("ant", 3, "dynrl").nominal[2] == pytest.approx(0.0392, abs=1e-4)


def test_grids_end_where_their_benchmark_does() -> None:
    # The largest values in the published tables: friction 3.61 and mass 14.41.
    assert uset("half_cheetah", 1, "rrls").grid(10).max() == pytest.approx(3.61)
    assert uset("humanoid_standup", 1, "rrls").grid(10).max() == pytest.approx(14.41)
    assert uset("half_cheetah", 1, "m2td3").grid(10).max() == 4.0


def test_narrow_sets_and_names() -> None:
    assert uset("hopper", 1, narrow=True).high == [2.0]
    assert uset("half_cheetah", 1, narrow=True).high == [3.0]
    with pytest.raises(ValueError, match="narrow is for"):
        uset("hopper", 2, narrow=True)
    with pytest.raises(ValueError, match="did you mean 'hopper'"):
        uset("hoper")
    with pytest.raises(ValueError, match="dims is 3, expected 1 to 2"):
        uset("inverted_pendulum", 3)
    with pytest.raises(ValueError, match="convention is 'paper'"):
        uset("hopper", 2, "paper")


def test_forces_of_planar_robots_are_in_their_plane() -> None:
    assert force_set("hopper").names == ("force:foot[0]", "force:foot[2]")
    assert force_set("ant").names[:2] == ("force:torso[0]", "force:torso[1]")
    assert force_set("walker2d", axes=(0, 1)).names[-1] == "force:foot_left[1]"
    np.testing.assert_array_equal(force_set("hopper").nominal, [0, 0])
    np.testing.assert_array_equal(force_set("hopper").high, [3, 3])


def test_floor_friction_of_the_hopper_is_dead_below_that_of_its_foot() -> None:
    with pytest.warns(UserWarning, match="'geom:floor.friction.0.' has no effect between 0.1 and 1.99"):
        (effect,) = uset("hopper", 1, "rrls").check_effect("dynrl/Hopper-v0", steps=60, episodes=2)
    begin, end = effect.dead[0]
    assert len(effect.dead) == 1 and begin == 0.1
    # The foot has 2.0; above it the floor's is the contact's.
    assert 1.99 < end <= 2.0
    assert (effect.changes[effect.values >= end][:-1] > 0).all()


def test_contact_friction_of_the_hopper_is_not() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (effect,) = uset("hopper", 1).check_effect("dynrl/Hopper-v0", steps=60, episodes=2)
    assert effect.has_effect and not effect.dead


@pytest.mark.parametrize("name", ["dynrl/Hopper-v0", "dynrl/InvertedPendulum-v0"])
def test_sideways_forces_on_planar_robots_do_nothing(name: str) -> None:
    robot = "hopper" if "Hopper" in name else "inverted_pendulum"
    effects = check_effect(force_set(robot, axes=(0, 1)), name, steps=30, episodes=2, warn=False)
    assert [effect.has_effect for effect in effects] == [True, False]


def test_third_party_environments_are_checked_too() -> None:
    env = gymnasium.make("Hopper-v5")
    (effect,) = check_effect(uset("hopper", 1, "m2td3"), env, steps=30, episodes=1, warn=False)
    assert effect.dead[0][0] == 0.1 and 1.98 < effect.dead[0][1] <= 2.0


@pytest.mark.slow
def test_floor_friction_of_the_walker_is_dead_below_that_of_its_legs() -> None:
    (effect,) = uset("walker2d", 1, "rrls").check_effect("dynrl/Walker2d-v0", warn=False)
    # Legs and torso have 0.9 and the feet 1.9; the robot falls on the former only after its episode has ended.
    assert effect.dead[0][0] == 0.1 and 0.88 < effect.dead[0][1] <= 1.9


@pytest.mark.slow
@pytest.mark.parametrize("robot", ["HalfCheetah", "Walker2d"])
def test_sideways_forces_on_the_other_planar_robots_do_nothing(robot: str) -> None:
    name = {"HalfCheetah": "half_cheetah", "Walker2d": "walker2d"}[robot]
    effects = check_effect(force_set(name, axes=(0, 1)), f"dynrl/{robot}-v0", steps=100, warn=False)
    assert [effect.has_effect for effect in effects] == [True, False] * (len(effects) // 2)


@pytest.mark.slow
@pytest.mark.parametrize("robot", ROBOTS)
def test_every_parameter_of_our_sets_does_something_everywhere(robot: str) -> None:
    name = {"ant": "Ant", "half_cheetah": "HalfCheetah", "hopper": "Hopper", "walker2d": "Walker2d"}.get(
        robot
    )
    name = name or {"humanoid_standup": "HumanoidStandup", "inverted_pendulum": "InvertedPendulum"}[robot]
    for effect in uset(robot, len(NOW[robot])).check_effect(f"dynrl/{name}-v0", warn=False):
        assert not effect.dead, effect.name
