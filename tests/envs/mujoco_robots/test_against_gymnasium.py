"""Every robot is Gymnasium's own, step by step."""

import gymnasium
import mujoco
import numpy as np
import pytest

import dynrl  # noqa: F401
from dynrl.physics import MujocoVectorEnv
from dynrl.registry import make_world

ROBOTS = {
    "Ant": {"main_body": "torso", "include_cfrc_ext_in_observation": False, "contact_cost_weight": 0.1},
    "HalfCheetah": {"exclude_current_positions_from_observation": False, "ctrl_cost_weight": 0.3},
    "Hopper": {"healthy_state_range": (-4.0, 4.0), "healthy_angle_range": (-0.1, 0.2), "frame_skip": 2},
    "HumanoidStandup": {
        "include_cinert_in_observation": False,
        "include_cvel_in_observation": False,
        "impact_cost_weight": 1e-3,
    },
    "InvertedDoublePendulum": {"healthy_reward": 3.0},
    "InvertedPendulum": {"frame_skip": 1},
    "Reacher": {"reward_dist_weight": 2.0, "reward_control_weight": 0.1},
    "Swimmer": {"exclude_current_positions_from_observation": False, "forward_reward_weight": 2.0},
    "Walker2d": {"terminate_when_unhealthy": False, "healthy_reward": 0.5},
}
STEPS = 200


@pytest.mark.parametrize("name", ROBOTS)
@pytest.mark.parametrize("changed", [False, True], ids=["default", "changed"])
def test_observations_rewards_and_ends_are_those_of_gymnasium(name, changed):
    kwargs = ROBOTS[name] if changed else {}
    ours = gymnasium.make(f"dynrl/{name}-v0", **kwargs).unwrapped
    theirs = gymnasium.make(f"{name}-v5", **kwargs).unwrapped
    assert ours.action_space == theirs.action_space
    assert ours.observation_space == theirs.observation_space
    ours.action_space.seed(7)
    same_start(ours, theirs, seed=3)
    for step in range(STEPS):
        # Small forces at first, so that those that fall do so at different moments.
        action = ours.action_space.sample() * np.float32(0.3 if step < STEPS // 2 else 1.0)
        shown, expected = ours.step(action), theirs.step(action)
        np.testing.assert_allclose(
            shown[0], expected[0], rtol=1e-9, atol=1e-9, err_msg=f"observation, step {step}"
        )
        assert shown[1] == pytest.approx(float(expected[1]), rel=1e-9, abs=1e-9), step
        assert shown[2] == bool(expected[2]), step
        info = dict(shown[4])
        assert not info.pop("diverged")
        assert info.keys() == expected[4].keys()
        for key, value in expected[4].items():
            np.testing.assert_allclose(info[key], value, rtol=1e-9, atol=1e-9, err_msg=f"{key}, step {step}")
        if shown[2] or shown[3]:
            same_start(ours, theirs, seed=None)


def same_start(ours, theirs, seed):
    observation, info = ours.reset(seed=seed)
    mujoco.mj_resetData(theirs.model, theirs.data)
    theirs.set_state(*ours.state())
    np.testing.assert_array_equal(observation, theirs._get_obs())
    for key, value in theirs._get_reset_info().items():
        np.testing.assert_allclose(info[key], value, rtol=1e-12)


@pytest.mark.parametrize("name", ROBOTS)
def test_starts_are_drawn_from_gymnasiums_distribution(name):
    """Two-sample Kolmogorov-Smirnov tests of every coordinate that varies, level 1e-4, Bonferroni corrected."""
    from scipy.stats import ks_2samp

    count = 400
    world = make_world(f"dynrl/{name}-v0")
    ours = MujocoVectorEnv(world, count, num_threads=1)
    ours.reset(seed=0)
    mine = np.concatenate(ours.state(), -1)
    theirs = gymnasium.make(f"{name}-v5").unwrapped
    theirs.reset(seed=0)
    rows = []
    for _ in range(count):
        theirs.reset()
        rows.append(theirs.state_vector())
    reference = np.array(rows)
    varied = np.ptp(reference, axis=0) > 0
    np.testing.assert_array_equal(np.ptp(mine, axis=0) > 0, varied)
    np.testing.assert_array_equal(mine[0, ~varied], reference[0, ~varied])
    for column in np.flatnonzero(varied):
        assert ks_2samp(mine[:, column], reference[:, column]).pvalue > 1e-4 / varied.sum(), column
    if name == "Reacher":
        assert np.hypot(*mine[:, 2:4].T).max() < 0.2
