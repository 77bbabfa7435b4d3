"""Vaccinating and keeping apart: the epidemic as an environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from dynrl.abm.dose_actions import Dose, check_doses, given_dose
from dynrl.abm.draws import Rounding
from dynrl.envs.digital_twins.sir.model import SIRModel, SIRParams, SIRState, checked_params
from dynrl.functional import FunctionalEnv

__all__ = ["GridSIR", "GridSIRParams", "GridSIRState"]

Array = Any
_COLOURS = np.array([[226, 226, 214], [214, 62, 50], [96, 110, 130], [84, 160, 96]], np.uint8)  # S, I, R, V


class GridSIRParams(NamedTuple):
    """Attributes:
    epidemic: rates and people infected at the beginning.
    vaccine_cost: of vaccinating everybody `[]`.
    restriction_cost: of a day without any contacts `[]`.
    """

    epidemic: SIRParams
    vaccine_cost: Any
    restriction_cost: Any


class GridSIRState(NamedTuple):
    """Attributes:
    people: the microstate.
    time: days played `[]` int32.
    dose: of the last action.
    vaccinated: people vaccinated in the last action `[]` float32.
    terms: of the last reward, by name.
    """

    people: SIRState
    time: Array
    dose: Dose
    vaccinated: Array
    terms: Mapping[str, Array]


@dataclass(frozen=True)
class GridSIR(FunctionalEnv):
    """Stop an epidemic on a grid with vaccines and fewer contacts, neither of which is free.

    ## Description
    One person lives in each cell and meets the 8 neighbours every day (or everybody, `mixing="full"`). See `SIRModel`.

    ## Action space
    `Box([0, 0], [0.1, 1], (2,), float32)`, held for `hold` days: the share of the susceptible to vaccinate on a day,
    and the share of contacts to avoid. More is cut (`info["clipped"]`); negative numbers and NaN are refused.

    ## Observation space
    `Dict`:

    | key | shape | meaning | min | max |
    |---|---|---|---|---|
    | `macro` | [4] | susceptible, infected, recovered, vaccinated, as shares of all people | 0 | 1 |
    | `time` | [1] | part of the episode that has passed | 0 | 1 |
    | `image` | [4, H, W] uint8 | the same four, 255 where the person is (if `image`) | 0 | 255 |

    ## Rewards
    The sum of three terms, `infection`: minus the share of people infected while the action held; `vaccination`: minus
    `vaccine_cost` times the share vaccinated; `restriction`: minus `restriction_cost` times the share of contacts
    avoided times days.

    ## Starting state
    `infected` people at random cells. `reset(options={"beta": ..., "infected": ...})` sets any constant for one
    episode.

    ## Episode end
    Terminates when nobody is infected; truncated after `horizon` actions.

    ## Info
    `counts` by name, `time` in days, `dose` (people vaccinated while the action held, contacts avoided),
    `reward_terms`, `clipped`, `action_projected` (the same), `saturated` (never, here: a share of those who are there),
    `invalid_action`, `overflow` (always 0), `patient` (the rates).

    Args:
        horizon: actions per episode.
        hold: days for which an action holds.
        height, width, mixing, torus, rounding: see `SIRModel`.
        image: whether to show the grid.
        beta, gamma, infected, vaccine_cost, restriction_cost: of the default `params`.

    Raises:
        ValueError: rates outside [0, 1], negative costs, more infected than people, wrong sizes.

    ## Version history
    v0: first version.
    """

    metadata: ClassVar[Mapping[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}
    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        "height": (1, 12),
        "width": (7, 20),
        "mixing": ("grid", "full"),
        "torus": (True, False),
        "hold": (1, 3),
        "image": (False, True),
        "infected": (0, 3),
        "gamma": (0.2, 1.0),
        "rounding": ("stochastic", "half_up", "floor"),
    }

    horizon: int = 150
    hold: int = 1
    height: int = field(default=50, kw_only=True)
    width: int = field(default=50, kw_only=True)
    mixing: Literal["grid", "full"] = field(default="grid", kw_only=True)
    torus: bool = field(default=True, kw_only=True)
    rounding: Rounding = field(default="stochastic", kw_only=True)
    image: bool = field(default=False, kw_only=True)
    beta: float = field(default=0.12, kw_only=True, compare=False)
    gamma: float = field(default=0.2, kw_only=True, compare=False)
    infected: int = field(default=10, kw_only=True, compare=False)
    vaccine_cost: float = field(default=0.2, kw_only=True, compare=False)
    restriction_cost: float = field(default=0.01, kw_only=True, compare=False)

    def __post_init__(self) -> None:
        for name in ("horizon", "hold"):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} is {value!r}, expected a whole number of at least 1")
        self.get_default_params()

    @cached_property
    def model(self) -> SIRModel:
        """The epidemic."""
        return SIRModel(self.height, self.width, self.mixing, self.torus, self.rounding)

    @cached_property
    def action_space(self) -> spaces.Box:  # type: ignore[override]
        return spaces.Box(np.zeros(2, np.float32), np.array(self.model.control_high, np.float32))

    @cached_property
    def observation_space(self) -> spaces.Dict:  # type: ignore[override]
        shown: dict[str, Any] = {
            "macro": spaces.Box(0.0, 1.0, (4,), np.float32),
            "time": spaces.Box(0.0, 1.0, (1,), np.float32),
        }
        if self.image:
            shown["image"] = spaces.Box(0, 255, (4, self.height, self.width), np.uint8)
        return spaces.Dict(shown)

    def get_default_params(self) -> GridSIRParams:  # type: ignore[override]
        epidemic = SIRParams(self.beta, self.gamma, self.infected)
        return self._checked(GridSIRParams(epidemic, self.vaccine_cost, self.restriction_cost))

    def _checked(self, params: GridSIRParams) -> GridSIRParams:
        costs = []
        for name in ("vaccine_cost", "restriction_cost"):
            cost = np.asarray(getattr(params, name), np.float32)
            if not (np.isfinite(cost) & (cost >= 0)).all():
                raise ValueError(f"{name} is {cost}, expected a finite number of at least 0")
            costs.append(cost)
        return GridSIRParams(checked_params(params.epidemic, self.model.grid.cells), *costs)

    def check_actions(self, actions: np.ndarray) -> np.ndarray:
        return check_doses(self.action_space, actions)

    def apply_options(self, params: GridSIRParams, options: Mapping[str, Any]) -> GridSIRParams:
        """Reset options: beta, gamma, infected, vaccine_cost, restriction_cost."""
        for name, value in options.items():
            if name in SIRParams._fields:
                params = params._replace(epidemic=params.epidemic._replace(**{name: value}))
            elif name in ("vaccine_cost", "restriction_cost"):
                params = params._replace(**{name: value})
            else:
                known = (*SIRParams._fields, "vaccine_cost", "restriction_cost")
                raise ValueError(f"unknown reset option {name!r}; known are {', '.join(known)}")
        return self._checked(params)

    def initial(self, rng: Any, params: Any = None) -> GridSIRState:
        no, zero = jnp.zeros((), bool), jnp.zeros((), jnp.float32)
        return GridSIRState(
            people=self.model.init(rng, params.epidemic),
            time=jnp.zeros((), jnp.int32),
            dose=Dose(jnp.zeros(2, jnp.float32), no, no),
            vaccinated=zero,
            terms={"infection": zero, "vaccination": zero, "restriction": zero},
        )

    def transition(self, state: GridSIRState, action: Any, rng: Any, params: Any = None) -> GridSIRState:
        dose = given_dose(action, 0.0, self.model.control_high)

        def day(people: SIRState, number: Any) -> Any:
            stepped = self.model.step(people, dose.amount, jax.random.fold_in(rng, number), params.epidemic)
            return stepped.state, (stepped.intervention.amount[0], stepped.state.infections)

        people, (vaccinated, infections) = jax.lax.scan(day, state.people, jnp.arange(self.hold))
        everybody = jnp.float32(self.model.grid.cells)
        return GridSIRState(
            people=people,
            time=state.time + self.hold,
            dose=dose,
            vaccinated=vaccinated.sum(),
            terms={
                "infection": -infections.sum() / everybody,
                "vaccination": -params.vaccine_cost * vaccinated.sum() / everybody,
                "restriction": -params.restriction_cost * dose.amount[1] * self.hold,
            },
        )

    def observation(self, state: GridSIRState, rng: Any, params: Any = None) -> dict[str, Array]:
        shown = {
            "macro": self.model.macro(state.people) / self.model.grid.cells,
            "time": jnp.minimum(state.time / (self.horizon * self.hold), 1.0)[None].astype(jnp.float32),
        }
        if self.image:
            layers = state.people.status[None] == jnp.arange(4)[:, None, None]
            shown["image"] = jnp.where(layers, 255, 0).astype(jnp.uint8)
        return shown

    def reward(self, state: Any, action: Any, next_state: Any, rng: Any, params: Any = None) -> Any:
        return sum(next_state.terms.values())

    def terminal(self, state: GridSIRState, rng: Any, params: Any = None) -> Any:
        return ~(state.people.status == 1).any()

    def state_info(self, state: GridSIRState, params: Any = None) -> dict[str, Any]:
        numbers = self.model.macro(state.people).astype(jnp.int32)
        return {
            "counts": dict(zip(self.model.macro_names, numbers, strict=True)),
            "time": state.time,
            "overflow": jnp.zeros((), jnp.int32),
            "patient": params.epidemic._asdict(),
        }

    def transition_info(self, state: Any, action: Any, next_state: Any, params: Any = None) -> dict[str, Any]:
        return {
            **self.state_info(next_state, params),
            "dose": jnp.stack([next_state.vaccinated, next_state.dose.amount[1]]),
            "reward_terms": dict(next_state.terms),
            "clipped": next_state.dose.clipped,
            "action_projected": next_state.dose.clipped,
            "invalid_action": next_state.dose.invalid,
            "saturated": jnp.zeros((), bool),
        }

    def render_image(self, state: GridSIRState, params: Any = None) -> np.ndarray:  # type: ignore[override]
        """Susceptible pale, infected red, recovered grey, vaccinated green."""
        size = max(-(-408 // max(self.height, self.width)), 1)
        return np.repeat(np.repeat(_COLOURS[state.people.status], size, axis=0), size, axis=1)
