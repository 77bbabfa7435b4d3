"""Small arms for tests of MJX: one that compiles in seconds, one that uses much of what MJX reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco

from dynrl.physics.state import PhysicsState, namespace
from dynrl.physics.task import MujocoTask, Outcome

FREE = """
<mujoco>
  <option timestep="0.01" integrator="Euler"/>
  <worldbody>
    <body name="upper">
      <joint name="shoulder" axis="0 1 0" damping="0.1"/>
      <geom type="capsule" fromto="0 0 0 0 0 -.4" size=".03" contype="0" conaffinity="0"/>
      <body name="lower" pos="0 0 -.4">
        <joint name="elbow" axis="0 1 0" damping="0.1" stiffness="0.5" armature="0.01"/>
        <geom type="capsule" fromto="0 0 0 0 0 -.4" size=".03" contype="0" conaffinity="0"/>
        <site name="tip" pos="0 0 -.4"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor joint="elbow" gear="2" ctrllimited="true" ctrlrange="-1 1"/>
  </actuator>
</mujoco>
"""

RICH = """
<mujoco>
  <option timestep="0.005" integrator="RK4" density="1.2" viscosity="0.1" wind="1 0 0"/>
  <worldbody>
    <geom name="floor" type="plane" size="2 2 .1" pos="0 0 -.68"/>
    <body name="upper" gravcomp="0.1">
      <joint name="shoulder" axis="0 1 0" damping="0.1" frictionloss="0.05" limited="true" range="-60 60"/>
      <geom type="capsule" fromto="0 0 0 0 0 -.4" size=".03" contype="0" conaffinity="0"/>
      <body name="lower" pos="0 0 -.4">
        <joint name="elbow" axis="0 1 0" damping="0.1" stiffness="0.5" limited="true" range="-90 90"
               actuatorfrclimited="true" actuatorfrcrange="-1.5 1.5"/>
        <geom name="tool" type="capsule" fromto="0 0 0 0 0 -.3" size=".03"/>
        <site name="tip" pos="0 0 -.3"/>
      </body>
    </body>
  </worldbody>
  <tendon>
    <fixed name="both" stiffness="0.3" damping="0.05">
      <joint joint="shoulder" coef="0.5"/><joint joint="elbow" coef="0.5"/>
    </fixed>
  </tendon>
  <actuator>
    <position joint="elbow" kp="3" kv="0.1" forcelimited="true" forcerange="-2 2"/>
  </actuator>
</mujoco>
"""


@dataclass(frozen=True)
class FreeArm(MujocoTask):
    """Two links that nothing touches; the observation is positions, velocities and the tip."""

    xml_file: str = "free arm"
    frame_skip: int = 2
    horizon: int | None = 50
    data_fields = ("site_xpos", "subtree_com", "cinert", "cvel", "xpos")

    def spec(self) -> mujoco.MjSpec:
        return mujoco.MjSpec.from_string(FREE)

    def observation(self, state: PhysicsState) -> Any:
        tip = state.site_xpos[..., 0, :]
        derived = [
            state.subtree_com[..., 0, :],
            state.cinert[..., 2, :],
            state.cvel[..., 2, :],
            state.xpos[..., 2, :],
        ]
        return namespace(state.qpos).concatenate((state.qpos, state.qvel, tip, *derived), -1)

    def outcome(self, before: PhysicsState, action: Any, after: PhysicsState) -> Outcome:
        forward = after.site_xpos[..., 0, 0] - before.site_xpos[..., 0, 0]
        return Outcome(forward - 0.1 * (action**2).sum(-1), {"forward": forward})

    def terminal(self, state: PhysicsState) -> Any:
        return abs(state.qpos[..., 0]) > 100.0

    def initial(self, uniform: Any, normal: Any) -> tuple[Any, Any]:
        spread = 2.0 * uniform - 1.0
        return spread[..., :2], 3.0 * spread[..., 2:]


@dataclass(frozen=True)
class RichArm(FreeArm):
    """The same with limits, dry friction, drag, a tendon, a servo, and a floor that the tool strikes."""

    xml_file: str = "rich arm"
    frame_skip: int = 1

    def spec(self) -> mujoco.MjSpec:
        return mujoco.MjSpec.from_string(RICH)

    def initial(self, uniform: Any, normal: Any) -> tuple[Any, Any]:
        spread = 2.0 * uniform - 1.0  # near hanging, where the tool touches the floor
        return 0.3 * spread[..., :2], 3.0 * spread[..., 2:]
