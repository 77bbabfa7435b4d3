"""`dynrl/InvertedDoublePendulum-v0`: keep two poles, one on the other, upright on a cart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dynrl.envs.mujoco_robots.terms import around
from dynrl.physics.state import PhysicsState, namespace
from dynrl.physics.task import MujocoTask, Outcome

__all__ = ["InvertedDoublePendulum"]


@dataclass(frozen=True)
class InvertedDoublePendulum(MujocoTask):
    """Keep two poles, one on top of the other, upright on a cart.

    ## Description
    Equal to Gymnasium's `InvertedDoublePendulum-v5`, step by step. 20 actions a second.

    ## Action space
    `Box(-1, 1, (1,), float32)`: force on the cart in units of 500 N.

    ## Observation space
    `Box(-inf, inf, (9,), float64)`:

    | index | meaning | unit |
    |---|---|---|
    | 0 | position of the cart | m |
    | 1, 2 | sines of the two joint angles | 1 |
    | 3, 4 | cosines of the two joint angles | 1 |
    | 5 | velocity of the cart, clipped to ±10 | m/s |
    | 6, 7 | angular velocities of the joints, clipped to ±10 | rad/s |
    | 8 | constraint force on the cart, clipped to ±10 | N |

    ## Rewards
    `reward_survive`: `healthy_reward` while the tip is high; `distance_penalty`: minus 0.01 x² + (y - 2)², with x and y
    the tip's place and height; `velocity_penalty`: minus 0.001 v₁² + 0.005 v₂² of the joints' velocities.

    ## Starting state
    All zero, plus uniform noise in ±`reset_noise_scale` on positions and normal noise of that scale on velocities.

    ## Episode end
    Terminated when the tip is at most 1 m high; truncated after `horizon` steps.

    ## Arguments
    `xml_file`, `frame_skip`, `horizon`, `healthy_reward`, `reset_noise_scale`.
    """

    xml_file: str = "inverted_double_pendulum.xml"
    frame_skip: int = 5
    horizon: int | None = 1000
    healthy_reward: float = 10.0
    reset_noise_scale: float = 0.1
    data_fields: ClassVar[tuple[str, ...]] = ("site_xpos", "qfrc_constraint")
    camera: ClassVar[Mapping[str, Any]] = {"trackbodyid": 0, "distance": 4.1}
    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        "reset_noise_scale": (0.0, 0.1),
        "horizon": (1, 20, None),
    }

    def observation(self, state: PhysicsState) -> Any:
        """Return the cart, the joints on the circle, clipped velocities and the rail's force, `[..., 9]`."""
        xp, angles = namespace(state.qpos), state.qpos[..., 1:]
        parts = (
            state.qpos[..., :1],
            xp.sin(angles),
            xp.cos(angles),
            xp.clip(state.qvel, -10.0, 10.0),
            xp.clip(state.qfrc_constraint[..., :1], -10.0, 10.0),
        )
        return xp.concatenate(parts, -1)

    def outcome(self, before: PhysicsState, action: Any, after: PhysicsState) -> Outcome:
        """Return survival minus the penalties of distance and velocity."""
        x, y = after.site_xpos[..., 0, 0], after.site_xpos[..., 0, 2]
        distance = 0.01 * x**2 + (y - 2.0) ** 2
        velocity = 1e-3 * after.qvel[..., 1] ** 2 + 5e-3 * after.qvel[..., 2] ** 2
        fallen = self.terminal(after)
        survive = self.healthy_reward * ~fallen
        info = {"reward_survive": survive, "distance_penalty": -distance, "velocity_penalty": -velocity}
        return Outcome(survive - distance - velocity, info, fallen)

    def terminal(self, state: PhysicsState) -> Any:
        """Return whether the tip has sunk."""
        return state.site_xpos[..., 0, 2] <= 1.0

    @property
    def num_uniform(self) -> int:
        """One per position."""
        return self.model.nq

    @property
    def num_normal(self) -> int:
        """One per velocity."""
        return self.model.nv

    def initial(self, uniform: Any, normal: Any) -> tuple[Any, Any]:
        """Return noise around the upright rest."""
        return around(self.model.qpos0, self.reset_noise_scale, uniform), self.reset_noise_scale * normal
