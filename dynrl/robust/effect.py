"""Parameters that change nothing, found by playing the same actions at several of their values."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from dynrl.robust.sets import UncertaintySet

LEVELS = 9


@dataclass(frozen=True)
class Effect:
    """What one parameter does to the trajectories.

    Attributes:
        name: the parameter.
        values: `[LEVELS]`, from low to high, the nominal value among them where it is inside.
        changes: `[LEVELS]`, the largest difference of an observation from that at the next higher value; the last is 0.
        dead: intervals `(from, to)` over which nothing at all changes.
    """

    name: str
    values: np.ndarray
    changes: np.ndarray
    dead: tuple[tuple[float, float], ...]

    @property
    def has_effect(self) -> bool:
        """Whether anything changes anywhere."""
        return bool((self.changes > 0).any())


def check_effect(
    uset: UncertaintySet, env: Any, steps: int = 200, episodes: int = 4, seed: int = 0, warn: bool = True
) -> list[Effect]:
    """Compare trajectories along each parameter, the others nominal, under the same random actions and starts.

    A friction below that of the foot, or a sideways force on a planar robot, moves nothing: trajectories are equal
    bit for bit. Such intervals are reported, and a warning names them.

    Args:
        uset: the parameters.
        env: what `make_robust_vec` takes (an id, a task, a functional environment, a function that makes an env), or a
            Gymnasium env, which is left alone.
        steps: per trajectory; an episode that ends begins anew.
        episodes: trajectories per value, from different starts.
        seed: of starts and actions.
        warn: whether to warn.

    Returns:
        one `Effect` per free parameter.

    Warns:
        UserWarning: a parameter, or part of its interval, has no effect.
    """
    from dynrl.robust.sets import UncertaintySet
    from dynrl.robust.vector import make_robust_vec

    lanes = make_robust_vec(_several(env), UncertaintySet(uset.params, uset.inertia), LEVELS * episodes)
    bound = lanes.uset
    effects = []
    for i in bound.free:
        values = _values(bound, i)
        psi = np.repeat(bound.nominal[None], LEVELS * episodes, axis=0)
        psi[:, i] = np.repeat(values, episodes)
        observed = _trajectories(lanes, psi, steps, episodes, seed)
        effects.append(_effect(bound.names[i], values, observed))
    lanes.close()
    if warn:
        for effect in effects:
            for begin, end in effect.dead:
                where = (
                    f"between {begin:.4g} and {end:.4g}" if effect.has_effect else "anywhere in its interval"
                )
                warnings.warn(
                    f"parameter {effect.name!r} has no effect {where}: trajectories are equal.", stacklevel=2
                )
    return effects


def _several(env: Any) -> Any:
    """What makes environments like the one given, without its wrappers."""
    import gymnasium

    if not isinstance(env, gymnasium.Env):
        return env
    from dynrl.robust.binding import world_of

    bare = env.unwrapped
    world = world_of(bare)
    if world.task is not None or world.func_env is not None:
        return world.func_env if world.func_env is not None else world.task
    if bare.spec is None:
        raise ValueError(
            f"{type(bare).__name__} has no spec to make others from; give a function that makes the env."
        )
    return lambda: gymnasium.make(bare.spec)


def _values(uset: UncertaintySet, i: int) -> np.ndarray:
    from dynrl.robust.sets import UncertaintySet

    values = UncertaintySet([uset.params[i]]).from_unit(np.linspace(0, 1, LEVELS)[:, None])[:, 0]
    nominal = uset.nominal[i]
    if uset.low[i] < nominal < uset.high[i]:
        values[int(np.clip(np.abs(values - nominal).argmin(), 1, LEVELS - 2))] = nominal
    return np.sort(values)


def _trajectories(lanes: Any, psi: np.ndarray, steps: int, episodes: int, seed: int) -> np.ndarray:
    """Observations `[LEVELS, episodes * steps * n]`, of which lanes with the same start differ by psi only."""
    rng = np.random.default_rng(seed)
    starts = [seed + k for k in range(episodes)] * LEVELS
    observation, _ = lanes.reset(seed=starts, options={"psi": psi})
    rows = [observation]
    space = lanes.single_action_space
    for _ in range(steps):
        space.seed(int(rng.integers(2**31)))
        actions = np.stack([space.sample() for _ in range(episodes)] * LEVELS)
        observation, *_ = lanes.step(actions)
        rows.append(observation)
    stacked = np.stack(rows).reshape(steps + 1, LEVELS, episodes, -1)
    return np.moveaxis(stacked, 1, 0).reshape(LEVELS, -1)


def _effect(name: str, values: np.ndarray, observed: np.ndarray) -> Effect:
    changes = np.append(np.abs(np.diff(observed, axis=0)).max(-1), 0.0)
    dead: list[tuple[float, float]] = []
    for k in range(len(values) - 1):
        if changes[k] > 0 or values[k] == values[k + 1]:
            continue
        if dead and dead[-1][1] == values[k]:
            dead[-1] = (dead[-1][0], float(values[k + 1]))
        else:
            dead.append((float(values[k]), float(values[k + 1])))
    return Effect(name, values, changes, tuple(dead))
