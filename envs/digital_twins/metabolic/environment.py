"""Feeding the metabolic network: what its three environments have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from dynrl.abm.dose_actions import Dose, check_doses, given_dose
from dynrl.abm.draws import Rounding
from dynrl.abm.space import counts
from dynrl.envs.digital_twins.metabolic.model import MetabolicGrid, MetabolicState
from dynrl.envs.digital_twins.metabolic.picture import network_picture
from dynrl.envs.digital_twins.metabolic.rules import MACRO_NAMES, MACRO_SCALE, MetabolicParams, checked_rates
from dynrl.functional import FunctionalEnv

__all__ = ["FeedingEnv", "FeedingState", "whole_number"]

Array = Any


class FeedingState(NamedTuple):
    """Attributes:
    micro: the network.
    time: steps of the network played `[]` int32.
    history: the last macrostates, oldest first, scaled `[h, 7]`.
    dose: of the last action.
    supplied: molecules of substrate while the last action held `[]` int32.
    harvested: molecules of product while it held `[]` int32.
    saturated: whether the inflow was cut for want of room or money while it held `[]` bool.
    task: what the task keeps.
    terms: of the last reward, by name.
    """

    micro: MetabolicState
    time: Array
    history: Array
    dose: Dose
    supplied: Array
    harvested: Array
    saturated: Array
    task: Any
    terms: Mapping[str, Array]


@dataclass(frozen=True)
class FeedingEnv(FunctionalEnv):
    """Abstract: an inflow of substrate is chosen and held for some steps of `MetabolicGrid`.

    A task is a subclass that says what it keeps (`task_start`), what may be given (`permitted`), what it adds up after
    each step (`task_after`) and how that is rewarded (`terms`). Its params are a NamedTuple with at least `rates`
    (`MetabolicParams`) and `start` (the macrostate at a reset `[7]`).
    """

    metadata: ClassVar[Mapping[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}
    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        "length": (20,),
        "n1": (15,),
        "n2": (0, 30),
        "capacity": (512,),
        "hold": (1, 3),
        "image": (False, True),
        "history": (0, 2),
        "rounding": ("stochastic", "half_up", "floor"),
    }

    horizon: int = 120
    hold: int = 10
    length: int = field(default=40, kw_only=True)
    n1: int = field(default=60, kw_only=True)
    n2: int = field(default=120, kw_only=True)
    capacity: int = field(default=1536, kw_only=True)
    rounding: Rounding = field(default="stochastic", kw_only=True)
    control_limit: float = field(default=20.0, kw_only=True)
    image: bool = field(default=False, kw_only=True)
    history: int = field(default=0, kw_only=True)
    rates: MetabolicParams = field(default=MetabolicParams(), kw_only=True, compare=False)

    def __post_init__(self) -> None:
        whole_number("horizon", self.horizon, 1)
        whole_number("hold", self.hold, 1)
        whole_number("history", self.history, 0)
        checked_rates(self.rates)
        _ = self.model

    @cached_property
    def model(self) -> MetabolicGrid:
        """The network."""
        return MetabolicGrid(self.length, self.n1, self.n2, self.capacity, self.rounding, self.control_limit)

    @property
    def steps(self) -> int:
        """Steps of the network in an episode."""
        return self.horizon * self.hold

    @cached_property
    def action_space(self) -> spaces.Box:  # type: ignore[override]
        return spaces.Box(0.0, self.control_limit, (1,), np.float32)

    @cached_property
    def observation_space(self) -> spaces.Dict:  # type: ignore[override]
        shown: dict[str, Any] = {
            "macro": spaces.Box(0.0, np.inf, (len(MACRO_NAMES),), np.float32),
            "time": spaces.Box(0.0, 1.0, (1,), np.float32),
            **self.task_spaces(),
        }
        if self.history:
            shown["history"] = spaces.Box(0.0, np.inf, (self.history, len(MACRO_NAMES)), np.float32)
        if self.image:
            shown["image"] = spaces.Box(0, 255, (5, self.length, self.length), np.uint8)
        return spaces.Dict(shown)

    def task_spaces(self) -> dict[str, spaces.Box]:
        """What the task adds to the observation."""
        return {}

    def task_start(self, rng: Any, params: Any) -> Any:
        """What the task keeps, at a reset."""
        raise NotImplementedError

    def permitted(self, inflow: Array, task: Any, time: Array, rng: Any, params: Any) -> Array:
        """The inflow `[]` that may be given in the next step."""
        return inflow

    def task_after(self, task: Any, micro: MetabolicState, time: Array, params: Any) -> Any:
        """What the task keeps after one more step, the `time`-th."""
        raise NotImplementedError

    def terms(self, before: Any, after: Any, params: Any) -> dict[str, Array]:
        """The terms of the reward of an action, from what the task kept before and after it."""
        raise NotImplementedError

    def task_observation(self, state: FeedingState, params: Any) -> dict[str, Array]:
        """Values for `task_spaces`."""
        return {}

    def task_info(self, state: FeedingState, params: Any) -> dict[str, Array]:
        """What the task adds to the info."""
        return {}

    @property
    def start(self) -> np.ndarray:
        """The empty state's macrostate `[7]`."""
        return np.array([0, 0, 0, self.n1, 0, 0, 0], np.float32)

    def check_actions(self, actions: np.ndarray) -> np.ndarray:
        return check_doses(self.action_space, actions)

    def apply_options(self, params: Any, options: Mapping[str, Any]) -> Any:
        """Reset options: any rate by its name, and `start`, the numbers of `MACRO_NAMES` `[7]`."""
        names = MetabolicParams._fields
        for name, value in options.items():
            if name in names:
                params = params._replace(rates=checked_rates(params.rates._replace(**{name: value})))
            elif name == "start":
                params = params._replace(start=self._checked_start(value))
            else:
                params = self.task_option(params, name, value)
        return params

    def task_option(self, params: Any, name: str, value: Any) -> Any:
        """Params under a reset option of the task.

        Raises:
            ValueError: there is no such option.
        """
        known = ("start", *MetabolicParams._fields, *(set(params._fields) - {"rates", "start"}))
        raise ValueError(f"unknown reset option {name!r}; known are {', '.join(known)}")

    def _checked_start(self, value: Any) -> np.ndarray:
        start = np.asarray(value, np.float32)
        if start.shape != (7,) or not np.isfinite(start).all() or (start < 0).any() or (start % 1).any():
            raise ValueError(
                f"reset option start is {value!r}, expected 7 whole numbers: {', '.join(MACRO_NAMES)}"
            )
        if start[3:5].sum() > self.n1 or start[5:7].sum() > self.n2:
            raise ValueError(
                f"reset option start has more enzymes than the {self.n1} E1 and {self.n2} E2 there are"
            )
        held = self.n1 - start[3] + start[5] + 2 * start[6]
        if start[:3].sum() + held > self.capacity:
            raise ValueError(
                f"reset option start needs {int(start[:3].sum() + held)} slots, capacity is {self.capacity}"
            )
        return start

    def initial(self, rng: Any, params: Any = None) -> FeedingState:
        place, task = jax.random.split(rng, 2)
        micro = self.model.placed(place, params.start)
        kept = self.task_start(task, params)
        seen = self.model.macro(micro) / jnp.asarray(MACRO_SCALE)
        none, no = jnp.zeros((), jnp.int32), jnp.zeros((), bool)
        return FeedingState(
            micro=micro,
            time=none,
            history=jnp.broadcast_to(seen, (self.history, 7)),
            dose=Dose(jnp.zeros(1), no, no),
            supplied=none,
            harvested=none,
            saturated=no,
            task=kept,
            terms=jax.tree.map(jnp.zeros_like, self.terms(kept, kept, params)),
        )

    def transition(self, state: FeedingState, action: Any, rng: Any, params: Any = None) -> FeedingState:
        dose = given_dose(action, 0.0, self.control_limit)

        def one(carry: Any, number: Any) -> Any:
            micro, task, cut = carry
            rounding, step = jax.random.split(jax.random.fold_in(rng, number))
            time = state.time + number + 1
            inflow = self.permitted(dose.amount[0], task, time, rounding, params)
            stepped = self.model.step(micro, inflow[None], step, params.rates)
            # Rounding to whole molecules changes an inflow by less than 1; the task by 1 or more.
            changed = jnp.abs(inflow - dose.amount[0]) >= 1
            cut = cut | changed | stepped.intervention.saturated | (stepped.overflow > 0)
            micro = stepped.state
            task = self.task_after(task, micro, time, params)
            return (micro, task, cut), (micro.supplied, micro.harvested)

        start = (state.micro, state.task, jnp.zeros((), bool))
        (micro, task, cut), (supplied, harvested) = jax.lax.scan(one, start, jnp.arange(self.hold))
        seen = self.model.macro(micro) / jnp.asarray(MACRO_SCALE)
        return FeedingState(
            micro=micro,
            time=state.time + self.hold,
            history=jnp.concatenate([state.history, seen[None]])[1:] if self.history else state.history,
            dose=dose,
            supplied=supplied.sum(),
            harvested=harvested.sum(),
            saturated=cut,
            task=task,
            terms=self.terms(state.task, task, params),
        )

    def observation(self, state: FeedingState, rng: Any, params: Any = None) -> dict[str, Array]:
        shown = {
            "macro": self.model.macro(state.micro) / jnp.asarray(MACRO_SCALE),
            "time": jnp.minimum(state.time / self.steps, 1.0)[None].astype(jnp.float32),
            **self.task_observation(state, params),
        }
        if self.history:
            shown["history"] = state.history
        if self.image:
            shown["image"] = self._image(state.micro)
        return shown

    def _image(self, micro: MetabolicState) -> Array:
        """S, I, P, E1, E2 per cell, uint8 `[5, L, L]`, at most 255."""
        cells = self.length**2
        first = jnp.arange(self.n1 + self.n2) < self.n1
        layers = [counts(micro.cell, micro.kind == kind, cells) for kind in (1, 2, 3)]
        layers += [counts(micro.enzyme_cell, who, cells) for who in (first, ~first)]
        return jnp.minimum(jnp.stack(layers), 255).astype(jnp.uint8).reshape(5, self.length, self.length)

    def reward(self, state: Any, action: Any, next_state: Any, rng: Any, params: Any = None) -> Any:
        return sum(next_state.terms.values())

    def terminal(self, state: FeedingState, rng: Any, params: Any = None) -> Any:
        return jnp.zeros((), bool)

    def state_info(self, state: FeedingState, params: Any = None) -> dict[str, Any]:
        macro = self.model.macro(state.micro)
        return {
            "counts": dict(zip(MACRO_NAMES, macro.astype(jnp.int32), strict=True)),
            "time": state.time,
            "overflow": state.micro.overflow,
            "patient": params.rates._asdict(),
            **self.task_info(state, params),
        }

    def transition_info(self, state: Any, action: Any, next_state: Any, params: Any = None) -> dict[str, Any]:
        return {
            **self.state_info(next_state, params),
            "dose": next_state.supplied,
            "harvested": next_state.harvested,
            "reward_terms": dict(next_state.terms),
            "clipped": next_state.dose.clipped,
            "action_projected": next_state.dose.clipped,
            "invalid_action": next_state.dose.invalid,
            "saturated": next_state.saturated,
        }

    def render_image(self, state: FeedingState, params: Any = None) -> np.ndarray:  # type: ignore[override]
        return network_picture(state.micro, self.length, self.n1)


def whole_number(name: str, value: Any, least: int) -> None:
    """Raises:
    ValueError: `value` is no whole number of at least `least`.
    """
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}, expected a whole number of at least {least}")
