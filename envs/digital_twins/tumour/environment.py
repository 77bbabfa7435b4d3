"""Dosing a drug against a tumour: the lattice as an environment."""

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
from dynrl.abm.space import counts
from dynrl.envs.digital_twins.tumour.model import TumourImmuneModel, TumourParams, TumourState, checked_params
from dynrl.functional import FunctionalEnv

__all__ = ["TumourEnvParams", "TumourEnvState", "TumourImmune"]

Array = Any


class TumourEnvParams(NamedTuple):
    """Attributes:
    patient: constants of the lattice.
    alpha: weight of the tumour against the dose in the reward `[]`.
    """

    patient: TumourParams
    alpha: Any


class TumourEnvState(NamedTuple):
    """Attributes:
    micro: the lattice.
    first: tumour cells at the beginning `[]` float32.
    time: steps of the lattice played `[]` int32.
    dose: of the last action.
    terms: of the last reward, by name.
    """

    micro: TumourState
    first: Array
    time: Array
    dose: Dose
    terms: Mapping[str, Array]


@dataclass(frozen=True)
class TumourImmune(FunctionalEnv):
    """Give a drug that keeps immune cells on the right side, and as little of it as will do.

    ## Description
    Immune cells of type 1 kill tumour cells; where tumour cells crowd, they turn into type 2, which helps the tumour to
    grow and protects it. The drug turns type 2 back. Both types are drawn to debris of dead tumour cells. See
    `TumourImmuneModel` for the rules. Over an episode an untreated tumour fills more than 60 % of the lattice, a
    constant full dose clears it, a constant half dose does not.

    ## Action space
    `Box(0, 1, (1,), float32)`: the dose, held for `hold` steps. More is cut (`info["clipped"]`); negative doses and NaN
    are refused.

    ## Observation space
    `Dict`:

    | key | shape | meaning | min | max |
    |---|---|---|---|---|
    | `macro` | [5] | tumour, type 1, type 2 cells, debris, drug level, scaled | 0 | inf |
    | `time` | [1] | part of the episode that has passed | 0 | 1 |
    | `image` | [3, H, W] uint8 | tumour (0 or 255), type 1 and type 2 (60 per cell), with `observe="image"` | 0 | 255 |

    The scales are half the lattice, 300, 300, a sixteenth of the lattice and 1. `observe="counts"` (default) leaves the
    image out, `observe="image"` the `macro`.

    ## Rewards
    `tumour`: alpha · (C_before − C_after) / log C_0, where C is the number of tumour cells and C_0 that at the
    beginning (at least 2); `dose`: −(1 − alpha) · dose. alpha = 0.8.

    ## Starting state
    A disc of tumour cells in the middle, immune cells of type 1 at random sites. `reset(options={"radius": 5, ...})`
    sets any constant for one episode.

    ## Episode end
    Terminates when no tumour cell is left; truncated after `horizon` actions.

    ## Info
    `counts` (tumour, type 1, type 2), `cleared`, `covered` (share of the lattice with a tumour cell), `time` in steps,
    `dose`, `drug`, `reward_terms`, `clipped`, `action_projected` (the same), `saturated` (the same), `invalid_action`,
    `overflow`, `patient` (the constants).

    Args:
        horizon: actions per episode.
        hold: steps for which an action holds.
        height, width, capacity: see `TumourImmuneModel`.
        observe: `"counts"` or `"image"`.
        alpha: of the default `params`.
        patient: of the default `params`.

    Raises:
        ValueError: sizes that are no whole numbers, constants outside their range.

    ## Version history
    v0: first version.
    """

    metadata: ClassVar[Mapping[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}
    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        "height": (1, 16),
        "width": (9, 16),
        "capacity": (160, 256),
        "hold": (1, 3),
        "observe": ("counts", "image"),
    }

    horizon: int = 60
    hold: int = 10
    height: int = field(default=64, kw_only=True)
    width: int = field(default=64, kw_only=True)
    capacity: int = field(default=1024, kw_only=True)
    observe: Literal["counts", "image"] = field(default="counts", kw_only=True)
    alpha: float = field(default=0.8, kw_only=True, compare=False)
    patient: TumourParams = field(default=TumourParams(), kw_only=True, compare=False)

    def __post_init__(self) -> None:
        for name in ("horizon", "hold"):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} is {value!r}, expected a whole number of at least 1")
        if self.observe not in ("counts", "image"):
            raise ValueError(f"observe is {self.observe!r}, expected 'counts' or 'image'")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha is {self.alpha!r}, expected a number from 0 to 1")
        _ = self.model
        self._checked(self.patient)

    @cached_property
    def model(self) -> TumourImmuneModel:
        """The lattice."""
        return TumourImmuneModel(self.height, self.width, self.capacity)

    @cached_property
    def action_space(self) -> spaces.Box:  # type: ignore[override]
        return spaces.Box(0.0, 1.0, (1,), np.float32)

    @cached_property
    def observation_space(self) -> spaces.Dict:  # type: ignore[override]
        shown: dict[str, Any] = {"time": spaces.Box(0.0, 1.0, (1,), np.float32)}
        if self.observe == "counts":
            shown["macro"] = spaces.Box(0.0, np.inf, (len(self.model.macro_names),), np.float32)
        else:
            shown["image"] = spaces.Box(0, 255, (3, self.height, self.width), np.uint8)
        return spaces.Dict(shown)

    def get_default_params(self) -> TumourEnvParams:  # type: ignore[override]
        return TumourEnvParams(self._checked(self.patient), np.float32(self.alpha))

    def _checked(self, patient: TumourParams) -> TumourParams:
        if np.max(patient.immune) > self.capacity:
            raise ValueError(f"immune is {patient.immune}, but capacity is {self.capacity}")
        return checked_params(patient)

    def check_actions(self, actions: np.ndarray) -> np.ndarray:
        return check_doses(self.action_space, actions)

    def apply_options(self, params: TumourEnvParams, options: Mapping[str, Any]) -> TumourEnvParams:
        """Reset options: any field of `TumourParams`."""
        unknown = sorted(set(options) - set(TumourParams._fields))
        if unknown:
            raise ValueError(
                f"unknown reset option {unknown[0]!r}; known are {', '.join(TumourParams._fields)}"
            )
        return params._replace(patient=self._checked(params.patient._replace(**options)))

    def initial(self, rng: Any, params: Any = None) -> TumourEnvState:
        micro = self.model.init(rng, params.patient)
        no, zero = jnp.zeros((), bool), jnp.zeros((), jnp.float32)
        return TumourEnvState(
            micro=micro,
            first=micro.tumour.sum().astype(jnp.float32),
            time=jnp.zeros((), jnp.int32),
            dose=Dose(jnp.zeros(1, jnp.float32), no, no),
            terms={"tumour": zero, "dose": zero},
        )

    def transition(self, state: TumourEnvState, action: Any, rng: Any, params: Any = None) -> TumourEnvState:
        dose = given_dose(action, 0.0, 1.0)

        def one(micro: TumourState, number: Any) -> Any:
            key = jax.random.fold_in(rng, number)
            return self.model.step(micro, dose.amount, key, params.patient).state, None

        micro, _ = jax.lax.scan(one, state.micro, jnp.arange(self.hold))
        less = state.micro.tumour.sum() - micro.tumour.sum()
        return TumourEnvState(
            micro=micro,
            first=state.first,
            time=state.time + self.hold,
            dose=dose,
            terms={
                "tumour": params.alpha * less / jnp.log(jnp.maximum(state.first, 2.0)),
                "dose": -(1 - params.alpha) * dose.amount[0],
            },
        )

    def observation(self, state: TumourEnvState, rng: Any, params: Any = None) -> dict[str, Array]:
        passed = jnp.minimum(state.time / (self.horizon * self.hold), 1.0)[None].astype(jnp.float32)
        if self.observe == "counts":
            macro = self.model.macro(state.micro) / jnp.asarray(self.model.macro_scale, jnp.float32)
            return {"time": passed, "macro": macro}
        immune = state.micro.immune
        layers = [state.micro.tumour * 255]
        for kind in (1, 2):
            of_kind = immune.alive & (immune.attributes["kind"] == kind)
            layers.append(
                60 * counts(immune.cell, of_kind, self.model.grid.cells).reshape(self.model.grid.shape)
            )
        return {"time": passed, "image": jnp.stack(layers).astype(jnp.uint8)}

    def reward(self, state: Any, action: Any, next_state: Any, rng: Any, params: Any = None) -> Any:
        return sum(next_state.terms.values())

    def terminal(self, state: TumourEnvState, rng: Any, params: Any = None) -> Any:
        return ~state.micro.tumour.any()

    def state_info(self, state: TumourEnvState, params: Any = None) -> dict[str, Any]:
        macro = self.model.macro(state.micro)
        return {
            "counts": dict(zip(self.model.macro_names[:3], macro[:3].astype(jnp.int32), strict=True)),
            "cleared": macro[0] == 0,
            "covered": macro[0] / self.model.grid.cells,
            "time": state.time,
            "drug": state.micro.drug,
            "overflow": state.micro.overflow,
            "patient": params.patient._asdict(),
        }

    def transition_info(self, state: Any, action: Any, next_state: Any, params: Any = None) -> dict[str, Any]:
        return {
            **self.state_info(next_state, params),
            "dose": next_state.dose.amount[0],
            "reward_terms": dict(next_state.terms),
            "clipped": next_state.dose.clipped,
            "action_projected": next_state.dose.clipped,
            "saturated": next_state.dose.clipped,
            "invalid_action": next_state.dose.invalid,
        }

    def render_image(self, state: TumourEnvState, params: Any = None) -> np.ndarray:  # type: ignore[override]
        """Tumour pink on dark ground, debris brown, type 1 green, type 2 orange, the brighter the more of them."""
        micro, cells = state.micro, self.height * self.width
        picture = np.full((cells, 3), 24.0)
        picture += np.minimum(micro.debris.reshape(-1, 1), 1) * np.array([70.0, 45.0, 20.0])
        picture[micro.tumour.reshape(-1)] = (196, 120, 140)
        for kind, colour in ((1, (70, 200, 110)), (2, (245, 150, 40))):
            of_kind = micro.immune.alive & (micro.immune.attributes["kind"] == kind)
            number = np.bincount(micro.immune.cell[of_kind], minlength=cells)[:, None]
            picture = np.where(number > 0, np.array(colour) * (0.7 + 0.075 * number), picture)
        size = max(-(-408 // max(self.height, self.width)), 1)
        square = picture.astype(np.uint8).reshape(self.height, self.width, 3)
        return np.repeat(np.repeat(square, size, axis=0), size, axis=1)
