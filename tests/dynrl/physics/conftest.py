"""What tests of pictures need."""

import pytest
from gymnasium.error import DependencyNotInstalled

from dynrl.envs.mujoco_robots import InvertedPendulum
from dynrl.physics import MujocoEnv


@pytest.fixture(scope="session")
def opengl():
    """Skips, with what to install, where nothing can draw."""
    env = MujocoEnv(InvertedPendulum(), render_mode="rgb_array")
    env.reset(seed=0)
    try:
        env.render()
    except DependencyNotInstalled as error:
        pytest.skip(str(error))
    finally:
        env.close()
