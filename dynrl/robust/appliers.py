"""How psi reaches one Gymnasium environment of each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import gymnasium
import numpy as np

from dynrl.robust.binding import (
    Columns,
    World,
    force_element,
    nominal_attribute,
    parameter_map,
    scaled,
    task_of,
    world_of,
)
from dynrl.robust.sets import UncertaintySet

if TYPE_CHECKING:
    from dynrl.functional import FunctionalEnv

# MuJoCo's own warnings that a simulation has diverged (mjWARN_BADQPOS, BADQVEL, BADQACC).
_UNSTABLE = (3, 4, 5)


class Applier(Protocol):
    """Applies vectors `[d]` to an unwrapped environment, which is always passed, so that copies stay apart."""

    def apply(self, env: Any, psi: np.ndarray) -> None:
        """Set all parameters, from the nominal values."""

    def after_reset(self, env: Any, psi: np.ndarray) -> None:
        """Repeat what a reset took away."""

    def refuse_while_running(self, old: np.ndarray, new: np.ndarray) -> None:
        """Raise ValueError where a change needs a new episode."""

    def diverged(self, env: Any) -> bool:
        """Whether the last step blew up."""


def applier_of(env: Any, uset: UncertaintySet) -> Applier:
    """The way to set this environment's parameters.

    Raises:
        ValueError: a parameter that it does not have.
    """
    world = world_of(env)
    if task_of(env) is not None:
        return MujocoApplier(world, uset, ours=True)
    if world.func_env is not None:
        return FunctionalApplier(world.func_env, uset)
    if world.model is not None:
        return MujocoApplier(world, uset, ours=False)
    return AttributeApplier(world, uset)


class AttributeApplier:
    """Plain attributes of a plain environment."""

    def __init__(self, world: World, uset: UncertaintySet):
        self._params, columns = uset.params, Columns(uset.params)
        self._columns = columns.attr
        self._nominal = [nominal_attribute(world, uset.params[i]) for i in self._columns]

    def apply(self, env: Any, psi: np.ndarray) -> None:
        values = scaled(self._params, self._columns, psi, self._nominal)
        for i, value in zip(self._columns, values, strict=True):
            setattr(env, self._params[i].parsed.pattern, self._params[i].dtype(value))
        _derive_attributes(env)

    def after_reset(self, env: Any, psi: np.ndarray) -> None:
        pass

    def refuse_while_running(self, old: np.ndarray, new: np.ndarray) -> None:
        pass

    def diverged(self, env: Any) -> bool:
        return False


class MujocoApplier:
    """Model fields, forces and attributes of a MuJoCo environment: ours on the C engine, or Gymnasium's and its kin."""

    def __init__(self, world: World, uset: UncertaintySet, ours: bool):
        self._ours, columns = ours, Columns(uset.params)
        self._model, self._force = columns.model, columns.force
        self._map = parameter_map(uset, world, num_threads=1)
        self._elements = [force_element(world, uset.params[i]) for i in columns.force]
        self._bodies = 0 if world.model is None else world.model.nbody
        self._names = uset.names
        self._params, self._attr = uset.params, columns.attr
        self._nominal = [nominal_attribute(world, uset.params[i]) for i in columns.attr]

    def apply(self, env: Any, psi: np.ndarray) -> None:
        if self._map is not None and self._ours:
            env.set_params(self._map.fields(psi[self._model]))
        elif self._map is not None:
            self._map.apply(env.model, psi[self._model])
        for i, value in zip(self._attr, scaled(self._params, self._attr, psi, self._nominal), strict=True):
            setattr(env, self._params[i].parsed.pattern, self._params[i].dtype(value))
        self.after_reset(env, psi)

    def after_reset(self, env: Any, psi: np.ndarray) -> None:
        if not self._elements:
            return
        forces = np.zeros((self._bodies, 6))
        for column, (body, axis) in zip(self._force, self._elements, strict=True):
            forces[body, axis] = psi[column]
        if self._ours:
            env.set_forces(forces)
        else:
            env.data.xfrc_applied[:] = forces

    def refuse_while_running(self, old: np.ndarray, new: np.ndarray) -> None:
        if self._map is None or self._map.recompute != "recompile":
            return
        for column, target in zip(self._model, self._map.targets, strict=True):
            if target.attribute.recompute == "recompile" and old[column] != new[column]:
                raise ValueError(
                    f"{self._names[column]!r} cannot change in a running episode; use reset(options={{'psi': ...}})."
                )

    def diverged(self, env: Any) -> bool:
        if self._ours:
            return False  # the environment says so itself
        warning = env.data.warning
        bad = sum(int(warning[kind].number) for kind in _UNSTABLE)
        for kind in _UNSTABLE:
            warning[kind].number = 0
        return bad > 0


class FunctionalApplier:
    """Leaves of a functional environment's `params`, or model fields of a task on MJX."""

    def __init__(self, func_env: FunctionalEnv, uset: UncertaintySet):
        from dynrl.robust.evaluation.params import ParamsOf

        delay = Columns(uset.params).delay
        self._constant = [i for i in range(uset.dim) if i not in delay]
        constants = [uset.names[i] for i in self._constant]
        self._params_of = ParamsOf(func_env, uset.subset(constants)) if constants else None

    def apply(self, env: Any, psi: np.ndarray) -> None:
        if self._params_of is None:
            return
        import jax

        rows = self._params_of(psi[None, self._constant])
        defaults = self._params_of.env.default_params
        # Only what the parameters set has an axis of rows.
        env.params = jax.tree.map(
            lambda leaf, one: leaf[0] if np.ndim(leaf) > one.ndim else leaf, rows, defaults
        )

    def after_reset(self, env: Any, psi: np.ndarray) -> None:
        pass

    def refuse_while_running(self, old: np.ndarray, new: np.ndarray) -> None:
        pass

    def diverged(self, env: Any) -> bool:
        return False


def _derive_attributes(env: gymnasium.Env) -> None:
    """Bring attributes up to date that an environment computed from others once, in its constructor."""
    from gymnasium.envs.classic_control import CartPoleEnv

    if isinstance(env, CartPoleEnv):
        env.total_mass = env.masspole + env.masscart
        env.polemass_length = env.masspole * env.length
