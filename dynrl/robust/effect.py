"""Parameters that change nothing, found by playing the same actions at several of their values."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from dynrl.robust.sets import UncertaintySet
    from dynrl.robust.vector import RobustVectorEnv

LEVELS = 9


@dataclass(frozen=True)
class Effect:
    """What one parameter does to the trajectories.

    Attributes:
        name: the parameter.
        values: `[LEVELS]`, from low to high, the nominal value among them where it is inside.
        changes: `[LEVELS]`, the largest difference of an observation from that at the next higher value; the last is 0.
        dead: intervals `(from, to)` over which nothing at all changes, their ends to a hundredth of a level.
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
    from dynrl.robust.vector import make_robust_vec

    lanes = make_robust_vec(_several(env), uset.box(), LEVELS * episodes)
    probe = _Probe(lanes, steps, episodes, seed)
    effects = [probe.effect(int(i)) for i in lanes.uset.free]
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


class _Probe:
    """Plays trajectories that differ by one parameter only.

    Args:
        lanes: `LEVELS * episodes` of them.
        steps, episodes, seed: see `check_effect`.
    """

    def __init__(self, lanes: RobustVectorEnv, steps: int, episodes: int, seed: int):
        self.lanes, self.steps, self.episodes, self.seed = lanes, steps, episodes, seed

    def effect(self, i: int) -> Effect:
        """What parameter `i` does over its interval."""
        values = _values(self.lanes.uset, i)
        observed = self.trajectories(i, values)
        changes = np.append(np.abs(np.diff(observed, axis=0)).max(-1), 0.0)
        dead = []
        for first, last in _runs(changes[:-1] == 0):
            begin, end = float(values[first]), float(values[last + 1])
            if first > 0:
                begin = self.edge(i, begin, float(values[first - 1]))
            if last + 2 < LEVELS:
                end = self.edge(i, end, float(values[last + 2]))
            if begin < end:
                dead.append((begin, end))
        return Effect(self.lanes.uset.names[i], values, changes, tuple(dead))

    def edge(self, i: int, dead: float, live: float) -> float:
        """The last value on the way from `dead` to `live` that changes nothing yet, to a part in `LEVELS**2`."""
        for _ in range(2):
            values = np.linspace(dead, live, LEVELS)
            if self.lanes.uset.params[i].dtype is int:
                values = np.round(values)
            observed = self.trajectories(i, values)
            equal = (observed == observed[0]).all(-1)
            last = int(np.argmin(equal)) - 1 if not equal.all() else LEVELS - 1
            if last == LEVELS - 1:
                return float(values[-1])
            dead, live = float(values[last]), float(values[last + 1])
        return dead

    def trajectories(self, i: int, values: np.ndarray) -> np.ndarray:
        """Observations `[LEVELS, episodes * steps * n]` at `LEVELS` values of parameter `i`, the others nominal."""
        lanes, episodes = self.lanes, self.episodes
        psi = np.repeat(lanes.nominal[None], LEVELS * episodes, axis=0)
        psi[:, i] = np.repeat(values, episodes)
        observation, _ = lanes.reset(
            seed=[self.seed + k for k in range(episodes)] * LEVELS, options={"psi": psi}
        )
        rng, space = np.random.default_rng(self.seed), lanes.single_action_space
        rows = [observation]
        for _ in range(self.steps):
            space.seed(int(rng.integers(2**31)))
            observation, *_ = lanes.step(np.stack([space.sample() for _ in range(episodes)] * LEVELS))
            rows.append(observation)
        stacked = np.stack(rows).reshape(self.steps + 1, LEVELS, episodes, -1)
        return np.moveaxis(stacked, 1, 0).reshape(LEVELS, -1)


def _runs(chosen: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of every run of True."""
    padded = np.concatenate([[False], chosen, [False]])
    turns = np.flatnonzero(padded[1:] != padded[:-1])
    return [(int(begin), int(end) - 1) for begin, end in zip(turns[::2], turns[1::2], strict=True)]
