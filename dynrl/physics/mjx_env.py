"""MuJoCo tasks on MJX: pure functions in JAX, for `lax.scan`, `vmap`, GPUs and Brax's trainers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from dynrl.functional import FunctionalEnv
from dynrl.physics.batch import Simulations
from dynrl.physics.mjx_model import SOLVERS, import_mjx, put_model, replaced, variable_fields
from dynrl.physics.rendering import Screen
from dynrl.physics.snapshot import read_field
from dynrl.physics.state import PhysicsState
from dynrl.physics.task import MujocoTask

# mjMAXVAL: MuJoCo calls a simulation unstable when a position, velocity or acceleration is beyond it.
_UNSTABLE = 1e10
_IN_IMPL = ("cinert", "cfrc_ext", "ten_velocity")
_NEEDS_ACTUATION = {"qfrc_actuator", "actuator_force", "ten_velocity"}
_NEEDS_ALL = {"qfrc_constraint", "sensordata"}


class MjxState(NamedTuple):
    """Attributes:
    physics: what the task sees.
    warmstart: accelerations that the solver begins with `[nv]`.
    diverged: whether the last step could not be computed, `[]` bool; `physics` is then what it was before it.
    """

    physics: PhysicsState
    warmstart: Any
    diverged: Any


@dataclass(frozen=True)
class MjxEnv(FunctionalEnv):
    """A MuJoCo task whose physics is MJX, MuJoCo in JAX.

    `params` is a dict of model fields by their names in `mujoco.batch.MODEL_FIELDS`: those that MJX reads while it
    runs (masses, inertias, friction, damping, gravity, gains, ...). They are data: another value, or one per
    simulation, costs no compilation. `complete` fills in the fields that a caller does not care about. MJX computes no
    constants, so what MuJoCo derives from masses and inertias must come along;
    `dynrl.physics.parameters.ParameterMap` gives both.

    Observations and rewards agree with the C engine to 1e-6 in float64 as long as nothing touches anything else;
    contacts amplify rounding, and there only distributions agree. A simulation that diverges (NaN, or beyond MuJoCo's
    limit of 1e10) keeps its last state and its episode terminates without reward, `info["diverged"]`.

    Compiling a robot that has contacts takes a minute or two, and on a CPU the C engine is then faster: MJX is for
    GPUs, and for programs that must be one piece of JAX.

    Args:
        task: model, observation, reward and end.
        x64: compute in float64; float32 otherwise.
        solver: `"newton"` or `"cg"` in place of the model's own solver, which MJX may lack: the solution is the same up
            to the solver's tolerance.

    Raises:
        ValueError: the model uses something that MJX lacks, or no such solver; names the task.
        ImportError: MJX is not installed.
    """

    engine: ClassVar[str] = "jax"

    task: MujocoTask
    x64: bool = False  # type: ignore[misc]
    solver: str | None = None

    def __post_init__(self) -> None:
        if self.solver is not None and self.solver not in SOLVERS:
            raise ValueError(f"solver is {self.solver!r}, expected None or one of {sorted(SOLVERS)}.")
        self._model  # noqa: B018 (what MJX refuses is said here, not in the middle of a compilation)

    @property
    def horizon(self) -> int | None:  # type: ignore[override]
        """Steps after which an episode is truncated: the task's."""
        return self.task.horizon

    @property
    def metadata(self) -> dict[str, Any]:  # type: ignore[override]
        """Gymnasium's: pictures are drawn with the C engine's renderer."""
        return {"render_modes": ["rgb_array"], "render_fps": max(1, round(1.0 / self.task.dt))}

    @property
    def action_space(self) -> spaces.Box:  # type: ignore[override]
        return self.task.action_space

    @property
    def observation_space(self) -> spaces.Box:  # type: ignore[override]
        return self.task.observation_space

    def get_default_params(self) -> dict[str, np.ndarray]:  # type: ignore[override]
        return variable_fields(self.task.model, self._model)

    def complete(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return `params` from some model fields, the others nominal.

        Args:
            fields: name -> `[*shape]` (shared) or `[N, *shape]`, as `ParameterMap.fields` gives them.

        Raises:
            ValueError: a field that cannot vary on MJX, and that is not nominal.
        """
        params = dict(self.default_params)
        for name, value in fields.items():
            if name in params:
                params[name] = value
            elif not np.array_equal(np.broadcast_to(self._nominal(name), np.shape(value)), value):
                raise ValueError(
                    f"params name {name!r}, which cannot vary on MJX; expected some of {', '.join(params)}. "
                    "The backend `batch` varies every field."
                )
        return params

    def initial(self, rng: Any, params: Any = None) -> MjxState:
        dtype = self._start.qpos.dtype
        uniform = jax.random.uniform(jax.random.fold_in(rng, 0), (self.task.num_uniform,), dtype)
        normal = jax.random.normal(jax.random.fold_in(rng, 1), (self.task.num_normal,), dtype)
        qpos, qvel = self.task.initial(uniform, normal)
        data = self._start.replace(qpos=jnp.asarray(qpos, dtype), qvel=jnp.asarray(qvel, dtype))
        data = self._at_start(replaced(self._model, params), data)
        physics = self._seen(data)
        if physics.cfrc_ext is not None:  # as Gymnasium's, whose reset does not compute it
            physics = physics._replace(cfrc_ext=jnp.zeros_like(physics.cfrc_ext))
        return MjxState(physics, data.qacc_warmstart, jnp.zeros((), bool))

    def transition(self, state: MjxState, action: Any, rng: Any, params: Any = None) -> MjxState:
        mjx = import_mjx()
        model, before = replaced(self._model, params), state.physics
        data = self._start.replace(
            time=before.time,
            qpos=before.qpos,
            qvel=before.qvel,
            act=before.act,
            ctrl=jnp.asarray(action, before.ctrl.dtype),
            qacc_warmstart=state.warmstart,
        )

        def substep(data: Any, _: None) -> tuple[Any, None]:
            # MJX makes some of its integers int64 where JAX computes in float64; a loop must keep its types.
            return jax.tree.map(
                lambda new, old: jnp.asarray(new, old.dtype), mjx.step(model, data), data
            ), None

        data, _ = jax.lax.scan(substep, data, None, self.task.frame_skip)
        if "cfrc_ext" in self.task.data_fields:
            data = self._with_external_forces(model, data)
        moved = MjxState(self._seen(data), data.qacc_warmstart, jnp.zeros((), bool))
        numbers = jnp.concatenate([data.qpos, data.qvel, data.qacc])
        stable = jnp.all(jnp.abs(numbers) < _UNSTABLE)  # False where one is NaN
        stuck = state._replace(diverged=jnp.ones((), bool))
        return jax.tree.map(lambda new, old: jnp.where(stable, new, old), moved, stuck)

    def observation(self, state: MjxState, rng: Any, params: Any = None) -> Any:
        return self.task.observation(state.physics)

    def reward(self, state: MjxState, action: Any, next_state: MjxState, rng: Any, params: Any = None) -> Any:
        reward = self.task.outcome(state.physics, action, next_state.physics).reward
        return jnp.where(next_state.diverged, 0.0, reward)

    def terminal(self, state: MjxState, rng: Any, params: Any = None) -> Any:
        return self.task.terminal(state.physics) | state.diverged

    def state_info(self, state: MjxState, params: Any = None) -> dict[str, Any]:
        return dict(self.task.reset_info(state.physics))

    def transition_info(
        self, state: MjxState, action: Any, next_state: MjxState, params: Any = None
    ) -> dict[str, Any]:
        outcome = self.task.outcome(state.physics, action, next_state.physics)
        return {**outcome.info, "diverged": next_state.diverged}

    def render_image(self, state: MjxState, params: Any = None) -> np.ndarray:  # type: ignore[override]
        """Draw the state with the C engine's renderer; needs EGL or OSMesa."""
        simulations, screen = self._studio
        simulations.set_params(self.default_params if params is None else params)
        simulations.begin(None, np.asarray(state.physics.qpos)[None], np.asarray(state.physics.qvel)[None])
        return screen.picture(simulations, 0)

    @cached_property
    def _studio(self) -> tuple[Simulations, Screen]:
        return Simulations(self.task, 1, 1), Screen(self.task)

    @cached_property
    def _model(self) -> Any:
        with jax.enable_x64(self.x64):
            model = put_model(self.task.model, type(self.task).__name__, self.solver, self.engine)
        return self._prepared(model)

    def _prepared(self, model: Any) -> Any:
        """The engine's model with what this task asks of it."""
        return model

    @cached_property
    def _start(self) -> Any:
        with jax.enable_x64(self.x64), jax.ensure_compile_time_eval():
            return self._make_data()

    def _make_data(self) -> Any:
        return import_mjx().make_data(self._model)

    def _nominal(self, name: str) -> np.ndarray:
        return read_field(self.task.model, name)

    def _seen(self, data: Any) -> PhysicsState:
        wanted = {name: _field(data, name) for name in self.task.data_fields}
        return PhysicsState(data.time, data.qpos, data.qvel, data.act, data.ctrl, **wanted)

    def _with_external_forces(self, model: Any, data: Any) -> Any:
        return import_mjx().rne_postconstraint(model, data)

    def _at_start(self, model: Any, data: Any) -> Any:
        """What `mj_forward` computes, as far as it is needed: its solver takes as long to compile as a step."""
        mjx, names = import_mjx(), set(self.task.data_fields)
        if not names:
            return data
        if names & _NEEDS_ALL:
            return mjx.forward(model, data)
        stages: Sequence[Any] = (mjx.kinematics, mjx.com_pos, mjx.tendon, mjx.com_vel)
        if names & _NEEDS_ACTUATION:
            stages = (*stages[:3], mjx.transmission, mjx.fwd_velocity, mjx.fwd_actuation)
        for stage in stages:
            data = stage(model, data)
        return data

    def __getstate__(self) -> dict[str, Any]:
        # Device arrays stay here; they are made again from the settings.
        return {field.name: vars(self)[field.name] for field in dataclasses.fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)


def _field(data: Any, name: str) -> Any:
    return vars(data._impl)[name] if name in _IN_IMPL else vars(data)[name]
