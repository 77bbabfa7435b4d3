"""`dynrl/Reacher-v0`: bring the tip of a two-joint arm to a point."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from dynrl.envs.mujoco_robots.terms import around, never
from dynrl.physics.state import PhysicsState, namespace
from dynrl.physics.task import MujocoTask, Outcome

__all__ = ["Reacher"]


@dataclass(frozen=True)
class Reacher(MujocoTask):
    """Bring the tip of a two-joint arm close to a point in the plane.

    ## Description
    Equal to Gymnasium's `Reacher-v5`, step by step. 50 actions a second.

    ## Action space
    `Box(-1, 1, (2,), float32)`, torques on the two joints in units of 200 N m.

    ## Observation space
    `Box(-inf, inf, (10,), float64)`:

    | index | meaning | unit |
    |---|---|---|
    | 0, 1 | cosines of the two joint angles | 1 |
    | 2, 3 | sines of the two joint angles | 1 |
    | 4, 5 | position of the point | m |
    | 6, 7 | angular velocities of the joints | rad/s |
    | 8, 9 | from the point to the tip | m |

    ## Rewards
    `reward_dist`: minus `reward_dist_weight` times the distance from tip to point; `reward_ctrl`: minus
    `reward_control_weight` times the squared length of the action.

    ## Starting state
    Joints uniform in ±0.1 rad and ±0.005 rad/s; the point uniform in the disc of radius 0.2 m, at rest.

    ## Episode end
    Truncated after `horizon` steps; it never terminates.

    ## Arguments
    `xml_file`, `frame_skip`, `horizon`, `reward_dist_weight`, `reward_control_weight`.
    """

    xml_file: str = "reacher.xml"
    frame_skip: int = 2
    horizon: int | None = 50
    reward_dist_weight: float = 1.0
    reward_control_weight: float = 1.0
    data_fields: ClassVar[tuple[str, ...]] = ("xpos",)
    camera: ClassVar[Mapping[str, Any]] = {"trackbodyid": 0}
    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        "reward_control_weight": (0.1, 1.0),
        "horizon": (1, 20, None),
    }

    @cached_property
    def _bodies(self) -> tuple[int, int]:
        return self.model.body("fingertip").id, self.model.body("target").id

    def _gap(self, state: PhysicsState) -> Any:
        tip, target = self._bodies
        return state.xpos[..., tip, :] - state.xpos[..., target, :]

    def observation(self, state: PhysicsState) -> Any:
        """Return joint angles on the circle, the point, velocities and the gap, `[..., 10]`."""
        xp, angles = namespace(state.qpos), state.qpos[..., :2]
        parts = (
            xp.cos(angles),
            xp.sin(angles),
            state.qpos[..., 2:],
            state.qvel[..., :2],
            self._gap(state)[..., :2],
        )
        return xp.concatenate(parts, -1)

    def outcome(self, before: PhysicsState, action: Any, after: PhysicsState) -> Outcome:
        """Return minus distance and control cost."""
        xp = namespace(after.qpos)
        distance = -xp.sqrt(xp.square(self._gap(after)).sum(-1)) * self.reward_dist_weight
        control = -namespace(action).square(action).sum(-1) * self.reward_control_weight
        return Outcome(distance + control, {"reward_dist": distance, "reward_ctrl": control})

    def terminal(self, state: PhysicsState) -> Any:
        """Return False."""
        return never(state)

    @property
    def num_uniform(self) -> int:
        """Two per joint, and two for the point."""
        return 6

    def initial(self, uniform: Any, normal: Any) -> tuple[Any, Any]:
        """Return a nearly straight arm and a point in the disc."""
        xp = namespace(uniform)
        joints = around(0.0, 0.1, uniform[..., :2])
        radius, angle = 0.2 * xp.sqrt(uniform[..., 2:3]), 2.0 * math.pi * uniform[..., 3:4]
        point = xp.concatenate((radius * xp.cos(angle), radius * xp.sin(angle)), -1)
        start = xp.concatenate((joints + self.model.qpos0[:2], point), -1)
        speeds = around(0.0, 0.005, uniform[..., 4:])
        return start, xp.concatenate((speeds, xp.zeros_like(point)), -1)
