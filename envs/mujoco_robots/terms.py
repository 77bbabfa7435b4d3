"""What several robots' rewards and ends have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dynrl.physics.state import PhysicsState, namespace

if TYPE_CHECKING:
    import mujoco


def control_cost(weight: float, action: Any) -> Any:
    """Return `weight * |action|^2`, `[...]`, in the precision of the action `[..., nu]`, as Gymnasium does."""
    return weight * namespace(action).square(action).sum(-1)


def inside(value: Any, bounds: tuple[float, float]) -> Any:
    """Return whether `value` lies strictly between the bounds."""
    return (bounds[0] < value) & (value < bounds[1])


def distance_from_origin(qpos: Any) -> Any:
    """Return the length of the first two coordinates, `[...]`."""
    xp = namespace(qpos)
    return xp.sqrt(xp.square(qpos[..., :2]).sum(-1))


def rows(array: Any) -> Any:
    """Return `[..., a, b]` as `[..., a * b]`."""
    return array.reshape((*array.shape[:-2], array.shape[-2] * array.shape[-1]))


def around(start: Any, scale: float, uniform: Any) -> Any:
    """Return `start` plus uniform noise in ±scale, from numbers in [0, 1)."""
    return start + scale * (2.0 * uniform - 1.0)


def uniform_start(model: mujoco.MjModel, scale: float, uniform: Any) -> tuple[Any, Any]:
    """Return the model's start at rest plus uniform noise in ±scale on every position and velocity."""
    return around(model.qpos0, scale, uniform[..., : model.nq]), around(0.0, scale, uniform[..., model.nq :])


def never(state: PhysicsState) -> Any:
    """Return False, `[...]` bool: the task never terminates."""
    return namespace(state.time).zeros_like(state.time, dtype=bool)
