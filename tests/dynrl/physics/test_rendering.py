"""Pictures of single simulations."""

import copy

import gymnasium
import numpy as np
import pytest
from gymnasium.error import DependencyNotInstalled

from dynrl.envs.mujoco_robots import InvertedPendulum
from dynrl.physics import MujocoEnv, MujocoVectorEnv, rendering


@pytest.fixture(scope="module")
def envs(opengl):
    vector = MujocoVectorEnv(InvertedPendulum(), 2, render_mode="rgb_array")
    vector.reset(seed=0)
    single = MujocoEnv(InvertedPendulum(), render_mode="rgb_array")
    single.reset(seed=0)
    return vector, single


def test_the_picture_is_of_the_chosen_simulation(envs):
    vector, single = envs
    vector.set_state([[0.0, 0.0], [0.5, 0.6]], np.zeros((2, 2)))
    upright, leaning = vector.render()
    assert upright.shape == (480, 480, 3)
    assert upright.dtype == np.uint8
    assert (upright != leaning).any(-1).mean() > 0.01
    for state, picture in (([0.0, 0.0], upright), ([0.5, 0.6], leaning)):
        single.set_state(state, np.zeros(2))
        np.testing.assert_array_equal(single.render(), picture)


def test_the_pole_stands_where_the_cart_is(envs):
    """A cart to the right arrives in the right half of the picture, and its pole is above the rail, not below."""
    _, single = envs
    single.set_state([0.0, 0.0], np.zeros(2))
    middle = single.render()
    single.set_state([0.6, 0.0], np.zeros(2))
    changed = (single.render() != middle).any(-1)
    arrived = changed & (single.render().sum(-1) > 0)
    columns, rows = np.flatnonzero(arrived.any(0)), np.flatnonzero(changed.any(1))
    assert columns.max() > 300
    assert rows.min() < 240 - (rows.max() - 240)


def test_rendering_changes_nothing_and_is_not_copied(envs):
    _, single = envs
    single.reset(seed=3)
    single.render()
    twin = copy.deepcopy(single)
    action = np.array([0.5], np.float32)
    np.testing.assert_array_equal(single.step(action)[0], twin.step(action)[0])
    np.testing.assert_array_equal(single.render(), twin.render())
    twin.close()


def test_without_opengl_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(rendering, "_OFF_SCREEN", {"egl": "no_such_egl", "osmesa": "no_such_osmesa"})
    env = MujocoEnv(InvertedPendulum(), render_mode="rgb_array")
    env.reset(seed=0)
    with pytest.raises(DependencyNotInstalled, match=r"apt-get install libegl1.*libosmesa6.*no_such_egl"):
        env.render()


def test_without_a_display_the_error_says_what_else_there_is(monkeypatch):
    monkeypatch.setattr(rendering.sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    env = gymnasium.make("dynrl/InvertedPendulum-v0", render_mode="human")
    with pytest.raises(DependencyNotInstalled, match="rgb_array"):
        env.reset(seed=0)
