"""A MuJoCo task: a model, and what is observed, rewarded and ended, on arrays of any leading shape."""

from __future__ import annotations

import abc
import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import mujoco
import numpy as np
from gymnasium import spaces

from dynrl.physics.models import model_path
from dynrl.physics.state import CORE_FIELDS, DATA_FIELDS, PhysicsState


class Outcome(NamedTuple):
    """What a step gave.

    Attributes:
        reward: `[...]`.
        info: its terms and what else is worth knowing, arrays `[...]` or `[..., k]`.
        terminated: `terminal(after)`, `[...]` bool, where the reward had to find it out; None elsewhere.
    """

    reward: Any
    info: Mapping[str, Any]
    terminated: Any = None


@dataclass(frozen=True)
class MujocoTask(abc.ABC):
    """Base class of tasks on a MuJoCo model. A subclass is a frozen dataclass of settings and a few pure functions.

    The functions take `PhysicsState`s and actions of any leading shape `[...]` (one simulation, a thousand, or a traced
    one inside `jax.vmap`) and use `namespace(array)`, so that one text serves NumPy and JAX. Constants of the physics
    are the model's; engines vary them per simulation (`params`: `Mapping[MjModel field name, array [..., *shape]]`).

    Attributes:
        xml_file: path of the model, or the name of one of Gymnasium's.
        frame_skip: physics steps per action.
        horizon: steps after which an episode is truncated; None means never.
        data_fields: fields of `PhysicsState` beyond `time, qpos, qvel, act, ctrl` that the functions read.
        camera: of pictures: attributes of `mujoco.MjvCamera`; empty for the model's own free view.
        option_choices: constructor arguments and values worth trying, drawn by `dynrl.testing.check_env`.
    """

    xml_file: str
    frame_skip: int
    horizon: int | None
    data_fields: ClassVar[tuple[str, ...]] = ()
    camera: ClassVar[Mapping[str, Any]] = {}
    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {}

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):  # from YAML or JSON; a task is hashable
                object.__setattr__(self, field.name, tuple(value))
            if field.name.endswith("_range"):
                _check_range(field.name, value)
        if self.frame_skip < 1:
            raise ValueError(f"frame_skip is {self.frame_skip}, expected at least 1.")
        if self.horizon is not None and self.horizon < 1:
            raise ValueError(f"horizon is {self.horizon}, expected at least 1, or None.")
        unknown = [name for name in self.data_fields if name not in DATA_FIELDS]
        if unknown:
            raise ValueError(f"data_fields names {unknown[0]!r}, expected some of {', '.join(DATA_FIELDS)}.")

    # -- what a task says ---------------------------------------------------------------------------------------

    @abc.abstractmethod
    def observation(self, state: PhysicsState) -> Any:
        """Return the observation `[..., n]`."""

    @abc.abstractmethod
    def outcome(self, before: PhysicsState, action: Any, after: PhysicsState) -> Outcome:
        """Return reward `[...]` and info of a step.

        Args:
            before, after: around the step.
            action: `[..., nu]`, float32 as in `action_space`.
        """

    @abc.abstractmethod
    def terminal(self, state: PhysicsState) -> Any:
        """Return whether the episode ends in this state, `[...]` bool."""

    @abc.abstractmethod
    def initial(self, uniform: Any, normal: Any) -> tuple[Any, Any]:
        """Return the start `(qpos [..., nq], qvel [..., nv])` that belongs to random numbers.

        Args:
            uniform: `[..., num_uniform]`, uniform in [0, 1).
            normal: `[..., num_normal]`, standard normal.
        """

    def reset_info(self, state: PhysicsState) -> Mapping[str, Any]:
        """Return the info of a reset. Default: nothing."""
        return {}

    @property
    def num_uniform(self) -> int:
        """How many uniform numbers `initial` takes. Default: one per position and velocity."""
        return self.model.nq + self.model.nv

    @property
    def num_normal(self) -> int:
        """How many standard normal numbers `initial` takes. Default: none."""
        return 0

    def spec(self) -> mujoco.MjSpec:
        """Return a fresh, editable description of the nominal model.

        Raises:
            FileNotFoundError: no such model file.
        """
        return mujoco.MjSpec.from_file(str(model_path(self.xml_file)))

    # -- what follows from it -----------------------------------------------------------------------------------

    @cached_property
    def model(self) -> mujoco.MjModel:
        """The nominal model. Engines copy it; do not write to it."""
        with warnings.catch_warnings():
            # Gymnasium's HalfCheetah uses it; whoever makes that environment can do nothing about it.
            warnings.filterwarnings("ignore", message="compiler attribute 'settotalmass'")
            return self.spec().compile()

    @cached_property
    def dt(self) -> float:
        """Seconds between two actions."""
        return float(self.model.opt.timestep) * self.frame_skip

    @cached_property
    def action_space(self) -> spaces.Box:
        """The actuators' control ranges, float32 `[nu]`.

        Raises:
            ValueError: an actuator without one.
        """
        low, high = self.model.actuator_ctrlrange.astype(np.float32).T
        for i in np.flatnonzero(low >= high):
            raise ValueError(
                f"{self.xml_file}: actuator {i} ({self.model.actuator(i).name!r}) has no range of controls; give it "
                "one in the model, such as ctrlrange='-1 1'."
            )
        return spaces.Box(low, high, dtype=np.float32)

    @cached_property
    def observation_space(self) -> spaces.Box:
        """Unbounded float64 `[n]`."""
        size = np.shape(self.observation(self.nominal_state()))[-1]
        return spaces.Box(-np.inf, np.inf, (size,), np.float64)

    def nominal_state(self) -> PhysicsState:
        """Return the model's own start, arrays without leading axes, after `mj_forward`."""
        data = mujoco.MjData(self.model)
        mujoco.mj_forward(self.model, data)
        named = {name: np.array(getattr(data, name)) for name in (*CORE_FIELDS, *self.data_fields)}
        return PhysicsState(**named)

    def __getstate__(self) -> dict[str, Any]:
        # Settings only: what is derived from them is built again, and a model is large.
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)


def _check_range(name: str, value: Any) -> None:
    if len(value) != 2 or not value[0] <= value[1]:
        raise ValueError(f"{name} is {value}, expected (low, high) with low <= high.")
