"""A MuJoCo task of your own: one text, thousands of simulations, each on a planet of its own."""

from dataclasses import dataclass

import gymnasium
import mujoco
import numpy as np

import dynrl
from dynrl.physics import MujocoTask, Outcome
from dynrl.physics.state import namespace

CLOCK = """<mujoco><option timestep="0.005" integrator="RK4"/><worldbody><body>
  <joint name="hinge" axis="0 1 0"/>
  <inertial pos="0 0 -1" mass="1" diaginertia="1e-6 1e-6 1e-6"/></body></worldbody>
  <actuator><motor joint="hinge" ctrlrange="-1 1" gear="0.5"/></actuator></mujoco>"""


@dataclass(frozen=True)
class Clock(MujocoTask):
    """Swing a pendulum of one metre as far as possible."""

    xml_file: str = ""
    frame_skip: int = 2
    horizon: int | None = 400

    def spec(self):
        return mujoco.MjSpec.from_string(CLOCK)

    def observation(self, state):
        return namespace(state.qpos).concatenate((state.qpos, state.qvel), -1)

    def outcome(self, before, action, after):
        return Outcome(abs(after.qpos[..., 0]) * self.dt, {"angle": after.qpos[..., 0]})

    def terminal(self, state):
        return abs(state.qpos[..., 0]) > 3.0

    def initial(self, uniform, normal):
        return 0.05 * (1 + uniform[..., :1]), 0 * uniform[..., 1:]


dynrl.register_env("mine/Clock-v0", "__main__:Clock", "swing a pendulum")
planets = {"opt.gravity": np.outer([1.62, 3.71, 9.81], [0.0, 0.0, -1.0])}  # Moon, Mars, Earth
clocks = gymnasium.make_vec("mine/Clock-v0", num_envs=3, params=planets)
clocks.reset(seed=0)
angles = np.array([clocks.step(np.zeros((3, 1), np.float32))[4]["angle"] for _ in range(300)])
print("quarter swings in s:", (angles > 0).argmin(0) * clocks.unwrapped.task.dt)
print("π/2 √(length / g): ", (np.pi / 2 / np.sqrt([1.62, 3.71, 9.81])).round(2))
