"""Where an environment keeps what the parameters of a set address: model fields, leaves of `params`, attributes."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from dynrl.robust.parameter import MODEL_KINDS, Param

if TYPE_CHECKING:
    import mujoco

    from dynrl.functional import FunctionalEnv
    from dynrl.physics.parameters import ParameterMap
    from dynrl.physics.task import MujocoTask
    from dynrl.robust.sets import UncertaintySet


@dataclass(frozen=True)
class World:
    """What there is to set in an environment; each None where there is none.

    Attributes:
        model: the nominal MuJoCo model.
        spec: makes the `MjSpec` that the model was compiled from.
        func_env: the functional environment whose `params` hold the constants.
        env: the plain Gymnasium environment that has attributes.
        task: the task that fixes how long a control step is.
    """

    model: mujoco.MjModel | None = None
    spec: Callable[[], mujoco.MjSpec] | None = None
    func_env: FunctionalEnv | None = None
    env: gymnasium.Env | None = None
    task: MujocoTask | None = None


class Columns:
    """Which columns of psi go where.

    Attributes:
        model, attr, force, delay: indices of the columns of each kind.
    """

    def __init__(self, params: tuple[Param, ...]):
        kinds = [param.kind for param in params]
        self.model = [i for i, kind in enumerate(kinds) if kind in MODEL_KINDS]
        self.attr = [i for i, kind in enumerate(kinds) if kind == "attr"]
        self.force = [i for i, kind in enumerate(kinds) if kind == "force"]
        self.delay = [i for i, kind in enumerate(kinds) if kind == "delay"]


def world_of(thing: Any) -> World:
    """Find the world in a model, a task, an environment of any face, or the id of one.

    Raises:
        TypeError: nothing of the kind.
    """
    if isinstance(thing, str):
        return _world_of_id(thing)
    if isinstance(thing, (gymnasium.Env, gymnasium.vector.VectorEnv)):
        return _world_of_env(thing.unwrapped)
    from dynrl.functional import FunctionalEnv

    if isinstance(thing, FunctionalEnv):
        return _world_of_functional(thing)
    import mujoco

    from dynrl.physics.task import MujocoTask

    if isinstance(thing, mujoco.MjModel):
        return World(model=thing)
    if isinstance(thing, MujocoTask):
        return World(model=thing.model, spec=thing.spec, task=thing)
    raise TypeError(
        f"cannot read nominal values from {type(thing).__name__}; expected a mujoco.MjModel, a MujocoTask, a "
        "FunctionalEnv, a Gymnasium (vector) environment, or the id of one."
    )


def _world_of_id(name: str) -> World:
    from dynrl import registry

    if not name.startswith("dynrl/"):
        env = gymnasium.make(name)
        return _world_of_env(env.unwrapped)
    return world_of(registry.make_world(name))


def _world_of_env(env: Any) -> World:
    from dynrl.faces.gymnasium_env import GymnasiumEnv
    from dynrl.faces.vector_env import VectorEnv

    if isinstance(env, (GymnasiumEnv, VectorEnv)):
        return _world_of_functional(env.func_env)
    if isinstance(env, gymnasium.vector.SyncVectorEnv):
        return _world_of_env(env.envs[0].unwrapped)
    if task_of(env) is not None:
        return world_of(task_of(env))
    if not isinstance(env, gymnasium.Env):
        raise TypeError(
            f"{type(env).__name__} is a vector environment without per-lane parameters; use make_robust_vec."
        )
    model = model_of(env)
    if model is None:
        return World(env=env)
    path = getattr(env, "fullpath", None)
    return World(model=model, spec=None if path is None else partial(_spec_from_file, path), env=env)


def _world_of_functional(func_env: FunctionalEnv) -> World:
    from dynrl.physics.task import MujocoTask

    task = getattr(func_env, "task", None)  # of an MjxEnv; importing that class would load MJX
    if isinstance(task, MujocoTask):
        return World(model=task.model, spec=task.spec, func_env=func_env, task=task)
    return World(func_env=func_env)


def task_of(env: Any) -> Any:
    """The `MujocoTask` of an env on our C engine, else None."""
    from dynrl.physics.single_env import MujocoEnv
    from dynrl.physics.vector_env import MujocoVectorEnv

    return env.task if isinstance(env, (MujocoEnv, MujocoVectorEnv)) else None


def model_of(env: gymnasium.Env) -> mujoco.MjModel | None:
    """The live MuJoCo model of a third-party env (Gymnasium's robots and their kin), else None."""
    import mujoco

    model = getattr(env, "model", None)
    return model if isinstance(model, mujoco.MjModel) else None


def _spec_from_file(path: str) -> mujoco.MjSpec:
    import mujoco

    return mujoco.MjSpec.from_file(path)


def parameter_map(uset: UncertaintySet, world: World, num_threads: int = 0) -> ParameterMap | None:
    """The map of a set's model parameters, None if it has none.

    Raises:
        ValueError: the world has no MuJoCo model, or not these targets.
    """
    from dynrl.physics.parameters import ParameterMap

    chosen = [uset.params[i] for i in Columns(uset.params).model]
    if not chosen:
        return None
    if world.model is None:
        raise ValueError(
            f"{chosen[0].target!r} is a field of a MuJoCo model, and this environment has none; use attr:NAME."
        )
    if world.task is not None and any(param.target == "option.timestep" for param in chosen):
        raise ValueError(
            "'option.timestep' would change how long a control step is, from which a task computes its velocities; "
            "build the task on another model instead."
        )
    return ParameterMap(world.model, chosen, uset.inertia, world.spec, num_threads)


def nominal_values(uset: UncertaintySet, thing: Any) -> np.ndarray:
    """The nominal parameters `[d]` of an environment, after checking every target against it.

    Raises:
        ValueError: a target that it does not have.
    """
    world = world_of(thing)
    nominal = np.array([np.nan if p.known_nominal is None else p.known_nominal for p in uset.params])
    columns = Columns(uset.params)
    fields = parameter_map(uset, world, num_threads=1)
    if fields is not None:
        nominal[columns.model] = fields.nominal
    for i in columns.attr:
        param = uset.params[i]
        value = nominal_attribute(world, param)
        if param.known_nominal is None:
            nominal[i] = value
    for i in columns.force:
        force_element(world, uset.params[i])
    return nominal


def nominal_attribute(world: World, param: Param) -> float:
    """The nominal value of `attr:NAME`: a leaf of the functional env's params, or an attribute of the plain env.

    Raises:
        ValueError: there is no such number.
    """
    name = param.parsed.pattern
    if world.func_env is not None:
        leaves = named_leaves(world.func_env.default_params)
        if name not in leaves:
            raise ValueError(f"{param.target!r}: the params have no leaf {name!r}; {_close(name, leaves)}.")
        if leaves[name].ndim:
            raise ValueError(
                f"{param.target!r}: the leaf has shape {leaves[name].shape}, expected a single number."
            )
        return float(leaves[name])
    if world.env is None:
        raise ValueError(
            f"{param.target!r} is an attribute of a plain environment; a MuJoCo task has model fields, such as "
            "body:torso.mass."
        )
    numbers = [
        n
        for n, v in vars(world.env).items()
        if isinstance(v, (int, float, np.number)) and not n.startswith("_")
    ]
    value = getattr(world.env, name, None)
    defined = getattr(type(world.env), name, None)
    if isinstance(defined, property) and defined.fset is None:
        raise ValueError(
            f"{param.target!r}: {type(world.env).__name__} computes {name!r} from other things and lets nobody set it; "
            "address what it is computed from."
        )
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise ValueError(
            f"{param.target!r}: {type(world.env).__name__} has no number {name!r}; {_close(name, numbers)}."
        )
    return float(value)


def named_leaves(params: Any) -> dict[str, np.ndarray]:
    """The leaves of a pytree of constants under dotted names (`"l"`, `"market.volume"`)."""
    import jax

    flat = jax.tree_util.tree_flatten_with_path(params)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf) for path, leaf in flat}


def with_leaves(params: Any, values: dict[str, np.ndarray]) -> Any:
    """The pytree with some leaves replaced, by dotted name."""
    import jax

    def chosen(path: Any, leaf: Any) -> Any:
        return values.get(jax.tree_util.keystr(path, simple=True, separator="."), leaf)

    return jax.tree_util.tree_map_with_path(chosen, params)


def force_element(world: World, param: Param) -> tuple[int, int]:
    """Row and column of `xfrc_applied [nbody, 6]` that `force:BODY[axis]` means; `#4` is the body with index 4.

    Raises:
        ValueError: no MuJoCo model, or no such body.
    """
    target = param.parsed
    if world.model is None:
        raise ValueError(
            f"{param.target!r} is a force on a body of a MuJoCo model, and this environment has none."
        )
    names = [world.model.body(i).name for i in range(world.model.nbody)]
    if target.pattern in names:
        return names.index(target.pattern), target.index[0]
    if target.pattern.startswith("#") and target.pattern[1:].isdigit():
        if int(target.pattern[1:]) >= len(names):
            raise ValueError(f"{param.target!r}: the model has {len(names)} bodies, numbered from 0.")
        return int(target.pattern[1:]), target.index[0]
    raise ValueError(
        f"{param.target!r}: no body is called {target.pattern!r}; {_close(target.pattern, names)}. A force acts on one "
        "body, by its name or as #4 by its index."
    )


def scaled(
    params: tuple[Param, ...], columns: list[int], psi: np.ndarray, nominal: list[float]
) -> np.ndarray:
    """The values that columns of psi `[..., d]` stand for: themselves, or multiples of the nominal ones."""
    factor = np.array([nominal[k] if params[i].mode == "scale" else 1.0 for k, i in enumerate(columns)])
    return psi[..., columns] * factor


def _close(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.4)
    if close:
        return "did you mean " + " or ".join(repr(match) for match in close) + "?"
    return f"known: {', '.join(filter(None, known)) or 'none'}"
