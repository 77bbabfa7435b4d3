"""Keeping sheep and wolves at a target by removing some of them: the environments `dynrl/WSG-SS-v0` and kin."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import Space, spaces

from dynrl.abm import DoseHistory, DoseLimits, Rounding
from dynrl.envs.digital_twins.wolf_sheep.model import Variant, WolfSheep, WolfSheepParams, WolfSheepState
from dynrl.envs.digital_twins.wolf_sheep.picture import grid_image, grid_picture
from dynrl.functional import FunctionalEnv, check_actions

__all__ = ["HIGHEST_FRACTION", "WolfSheepControl", "WolfSheepControlParams", "WolfSheepControlState"]

HIGHEST_FRACTION = 0.2
"""Largest fraction of a species that one step may remove."""

_TAIL = 200  # steps at the end over which J1 is the mean


class WolfSheepControlParams(NamedTuple):
    """Attributes:
    patient: constants of the model.
    spread: standard deviation of the logarithm of (gain_wolf, gain_sheep, p_wolf, p_sheep, regrowth) between episodes;
        0 for the same patient always.
    target: sheep and wolves that are aimed at `[2]`.
    later_target: those from step `switch` on `[2]`.
    switch: step at which the target changes; 2^30 for never.
    noise: standard deviation of the logarithm of observed counts.
    least_sheep: fewer sheep than that count as a violation.
    """

    patient: WolfSheepParams
    spread: Any
    target: Any
    later_target: Any
    switch: Any
    noise: Any
    least_sheep: Any


class WolfSheepControlState(NamedTuple):
    """Attributes:
    micro: grid and animals.
    patient: constants of this episode.
    time: steps of the model so far, int32 `[]`.
    macro: wolves, sheep, grown patches `[3]`.
    seen: what was last observed of them, scaled `[3]`.
    history: the last observations and doses, oldest first `[H, 5]`.
    doses: what was given, for the limits.
    dose: fractions of the last step, within the limits `[2]`.
    amount: sheep and wolves removed in the last step of the environment `[2]`.
    removed: in the whole episode `[2]`.
    flags: whether the last action was clipped to the space, changed by a limit, cut to the animals there `[3]` bool.
    terms: reward terms of sheep and wolves in the last step `[2]`.
    cost_sums: sum of q over all steps and over the last ones `[2]`.
    peak: largest fraction given `[]`.
    overflow: births cancelled for want of room in this episode, int32 `[]`.
    violations: steps with too few sheep, int32 `[]`.
    """

    micro: WolfSheepState
    patient: WolfSheepParams
    time: Any
    macro: Any
    seen: Any
    history: Any
    doses: DoseHistory
    dose: Any
    amount: Any
    removed: Any
    flags: Any
    terms: Any
    cost_sums: Any
    peak: Any
    overflow: Any
    violations: Any


@dataclass(frozen=True)
class WolfSheepControl(FunctionalEnv):
    """Hold a herd at a target by removing animals (after Böttcher, Fonseca, Laubenbacher, Phil. Trans. A, 2025).

    ## Description
    Sheep eat grass and wolves eat sheep, by NetLogo's rules (`WolfSheep`). Before each step of the model a fraction of
    either species is removed, as whole animals chosen at random. Left alone, 51 × 51 cells carry about 160 sheep and 76
    wolves; 200 and 50 are wanted.

    ## Action space
    `Box(0, 0.2, (2,), float32)`: fractions of sheep and of wolves removed in each of the next `hold` steps; from −0.2
    with `allow_stocking`, where negative fractions add animals. Outside the space an action is clipped. `limits` then
    project it; a real number of animals becomes a whole one by `rounding`.

    ## Observation space
    `obs="box"`: `macro` and what else is switched on, concatenated, float32; `obs="dict"` names the parts:

    | part | meaning | shown |
    |---|---|---|
    | `macro` | wolves, sheep, grown patches over 50, 200, 1000 (on 51 × 51 cells); 0 where not `visible` | always |
    | `target` | wanted sheep and wolves over 200 and 50 | `show_target` |
    | `budget_left` | share of the dose budget | with `limits.budget` |
    | `history` | the last `history` macro parts and doses (in units of 0.2), oldest first `[H, 5]` | `history > 0` |
    | `image` | grown, sheep and wolves per cell, saturating uint8 `[3, H, W]` | `image`, with `obs="dict"` |

    Counts are multiplied by log-normal `noise` and renewed every `observe_every` actions.

    ## Rewards
    −q, q = ((sheep − sheep*) / sheep*)² + ((wolves − wolves*) / wolves*)², its mean over the steps that an action is
    held; absolute errors where a target is 0. `info["reward_terms"]` has the two terms.

    ## Starting state
    100 sheep and 50 wolves (in proportion to the area) at random cells, half of the grass grown. With `spread` every
    episode is another patient: five constants are multiplied by exp(spread · N(0, 1)).

    ## Episode end
    Never terminates: a species that died out goes on costing. Truncated after `horizon` actions.

    ## Info
    `wolves`, `sheep`, `grass`, `dose` (fractions given), `removed` and `removed_total` (animals, sheep first),
    `action_projected`, `clipped`, `limited`, `saturated`, `overflow` (births cancelled so far), `invalid`, `extinct`,
    `reward_terms`, `cost` (`dose`, `below_minimum`), `violations`, `dose_total`, `dose_peak`, `patient`, `J1` (mean q
    over the last 200 steps of the episode; before them, over all so far) and `J1_full` (over all so far).

    ## Reset options
    Any constant of `WolfSheepParams`, and `patient`, all of them at once: then no other patient is drawn.

    ## Arguments
    Those marked (params) only set the default `params`, a `WolfSheepControlParams`.

    Args:
        height, width, variant, torus, capacity_sheep, capacity_wolves, rounding, allow_stocking, energy_init, batches:
            of the model, see `WolfSheep`.
        horizon: actions per episode.
        hold: steps of the model per action.
        limits: peak, budget, interval and rate of the fractions, see `DoseLimits`.
        spread: see above (params).
        target, later_target: sheep and wolves; None for 200 and 50 in proportion to the area, and for no
            change (params).
        switch: step of the model from which `later_target` holds; None for half of the horizon (params).
        noise, least_sheep: see `WolfSheepControlParams` (params).
        obs, show_target, image, history, observe_every, visible: see above.

    Raises:
        ValueError: a setting out of range.

    ## Version history
    v0: first version. Same seed, same machine: the same bytes; across back ends only the same distribution.
    """

    metadata: ClassVar[Mapping[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 20}
    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        "horizon": (4, 12),
        "hold": (1, 3),
        "obs": ("box", "dict"),
        "history": (0, 2),
        "rounding": ("stochastic", "half_up", "floor"),
        "allow_stocking": (False, True),
    }

    height: int = 51
    width: int = 51
    variant: Variant = "netlogo"
    _: dataclasses.KW_ONLY
    torus: bool = True
    capacity_sheep: int = 1024
    capacity_wolves: int = 512
    rounding: Rounding = "stochastic"
    allow_stocking: bool = False
    energy_init: Literal["float", "int"] = "float"
    batches: int = 32
    horizon: int = 600
    hold: int = 1
    limits: DoseLimits = field(default_factory=DoseLimits)
    spread: float = field(default=0.0, compare=False)
    target: tuple[float, float] | None = field(default=None, compare=False)
    later_target: tuple[float, float] | None = field(default=None, compare=False)
    switch: int | None = field(default=None, compare=False)
    noise: float = field(default=0.0, compare=False)
    least_sheep: float = field(default=0.0, compare=False)
    obs: Literal["box", "dict"] = "box"
    show_target: bool = False
    image: bool = False
    history: int = 0
    observe_every: int = 1
    visible: tuple[str, ...] = ("wolves", "sheep", "grass")

    def __post_init__(self) -> None:
        if self.obs not in ("box", "dict"):
            raise ValueError(f"obs is {self.obs!r}, expected 'box' or 'dict'")
        for name, least in (("horizon", 1), ("hold", 1), ("history", 0), ("observe_every", 1)):
            value = getattr(self, name)
            if int(value) != value or value < least:
                raise ValueError(f"{name} is {value!r}, expected a whole number of at least {least}")
        if self.image and self.obs == "box":
            raise ValueError("image is True, but a Box holds no image beside numbers; take obs='dict'")
        for name in ("spread", "noise", "least_sheep"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value!r}, expected a finite number of at least 0")
        for name in ("target", "later_target"):
            value = getattr(self, name)
            if value is not None and not (
                np.shape(value) == (2,) and np.isfinite(value).all() and min(value) >= 0
            ):
                raise ValueError(f"{name} is {value!r}, expected (sheep, wolves), both at least 0")
        object.__setattr__(self, "visible", tuple(self.visible))
        unknown = sorted(set(self.visible) - set(WolfSheep.macro_names))
        if unknown:
            raise ValueError(f"visible has {unknown[0]!r}, expected some of {WolfSheep.macro_names}")
        _ = self.model

    @cached_property
    def model(self) -> WolfSheep:
        """The agent-based model."""
        return WolfSheep(
            self.height,
            self.width,
            self.variant,
            self.torus,
            self.capacity_sheep,
            self.capacity_wolves,
            self.rounding,
            self.allow_stocking,
            self.energy_init,
            self.batches,
        )

    @cached_property
    def action_space(self) -> Space:  # type: ignore[override]
        low = -HIGHEST_FRACTION if self.allow_stocking else 0.0
        return spaces.Box(low, HIGHEST_FRACTION, (2,), np.float32)

    @cached_property
    def observation_space(self) -> Space:  # type: ignore[override]
        parts = self._parts
        if self.obs == "dict":
            return spaces.Dict(parts)
        low = np.concatenate([part.low.reshape(-1) for part in parts.values()])
        high = np.concatenate([part.high.reshape(-1) for part in parts.values()])
        return spaces.Box(low, high, dtype=np.float32)

    @cached_property
    def _parts(self) -> dict[str, Any]:
        slots = np.array([self.capacity_wolves, self.capacity_sheep, self.model.grid.cells], np.float32)
        most = (slots / np.array(self.model.macro_scale)).astype(np.float32)
        # Noise may multiply a count by more; what is shown is cut at 4 times the capacity.
        parts: dict[str, spaces.Box] = {
            "macro": spaces.Box(np.zeros(3, np.float32), 4 * most, dtype=np.float32)
        }
        if self.show_target:
            parts["target"] = spaces.Box(0.0, np.inf, (2,), np.float32)
        if self.limits.budget is not None:
            parts["budget_left"] = spaces.Box(0.0, 1.0, (1,), np.float32)
        if self.history:
            low = np.tile(np.array([0, 0, 0, -1, -1], np.float32), (self.history, 1))
            high = np.tile(np.concatenate([4 * most, np.ones(2, np.float32)]), (self.history, 1))
            parts["history"] = spaces.Box(low, high, dtype=np.float32)
        if self.image:
            parts["image"] = spaces.Box(0, 255, (3, self.height, self.width), np.uint8)
        return parts

    def get_default_params(self) -> WolfSheepControlParams:  # type: ignore[override]
        area = self.model.grid.cells / 51**2
        target = (200.0 * area, 50.0 * area) if self.target is None else self.target
        later = target if self.later_target is None else self.later_target
        middle = self.horizon * self.hold // 2 if self.switch is None else self.switch
        return WolfSheepControlParams(
            patient=self.model.default_params(),
            spread=np.float32(self.spread),
            target=np.array(target, np.float32),
            later_target=np.array(later, np.float32),
            switch=np.int32(2**30 if self.later_target is None else middle),
            noise=np.float32(self.noise),
            least_sheep=np.float32(self.least_sheep),
        )

    def check_actions(self, actions: np.ndarray) -> np.ndarray:
        """Finite numbers of the right shape; what is outside the space is clipped later, and said in `info`."""
        return check_actions(spaces.Box(-np.inf, np.inf, (2,), np.float32), actions)

    def apply_options(
        self, params: WolfSheepControlParams, options: Mapping[str, Any]
    ) -> WolfSheepControlParams:
        """Constants of one episode, see the class."""
        known = ("patient", *WolfSheepParams._fields)
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise ValueError(f"unknown reset option {unknown[0]!r}; known: {', '.join(known)}")
        patient, spread = params.patient, params.spread
        if "patient" in options:
            given = options["patient"]
            patient = given if isinstance(given, WolfSheepParams) else WolfSheepParams(**given)
            spread = np.float32(0)
        patient = patient._replace(**{name: options[name] for name in options if name != "patient"})
        return params._replace(patient=self.model.checked(patient), spread=spread)

    def initial(self, rng: Any, params: Any = None) -> WolfSheepControlState:
        keys = jax.random.split(rng, 3)
        patient = drawn_patient(keys[0], params.patient, params.spread)
        micro = self.model.init(keys[1], patient)
        macro = self.model.macro(micro)
        nothing, none = jnp.zeros(2, jnp.float32), jnp.zeros((), jnp.int32)
        seen = self._observed(macro, keys[2], params)
        return WolfSheepControlState(
            micro=micro,
            patient=patient,
            time=none,
            macro=macro,
            seen=seen,
            history=jnp.zeros((self.history, 5), jnp.float32),
            doses=self.limits.start(2),
            dose=nothing,
            amount=nothing,
            removed=nothing,
            flags=jnp.zeros(3, bool),
            terms=nothing,
            cost_sums=nothing,
            peak=jnp.zeros((), jnp.float32),
            overflow=none,
            violations=none,
        )

    def transition(
        self, state: WolfSheepControlState, action: Any, rng: Any, params: Any = None
    ) -> WolfSheepControlState:
        action = jnp.asarray(action, jnp.float32)
        low = -HIGHEST_FRACTION if self.allow_stocking else 0.0
        clipped = jnp.clip(action, low, HIGHEST_FRACTION)
        projected = self.limits.project(jnp.where(jnp.isfinite(action), clipped, 0.0), state.doses)
        # A dose that is not finite goes on to the model, which counts it as 0 and remembers.
        dose = jnp.where(jnp.isfinite(action), projected.dose, action)
        given = projected.dose
        keys = jax.random.split(rng, self.hold + 1)
        first = state._replace(amount=jnp.zeros(2, jnp.float32), terms=jnp.zeros(2, jnp.float32))
        first = first._replace(flags=first.flags.at[2].set(False))
        if self.hold == 1:
            state = self._step(first, dose, keys[0], params)
        else:
            state = jax.lax.scan(
                lambda now, key: (self._step(now, dose, key, params), None), first, keys[:-1]
            )[0]
        # One comparison of the raw action, so that NaN counts as changed.
        flags = jnp.stack([jnp.any(~(clipped == action)), projected.changed, state.flags[2]])
        fresh = (state.time // self.hold) % self.observe_every == 0
        seen = jnp.where(fresh, self._observed(state.macro, keys[-1], params), state.seen)
        history = state.history
        if self.history:
            row = jnp.concatenate([seen, given / HIGHEST_FRACTION])
            history = jnp.concatenate([history[1:], row[None]])
        return state._replace(
            seen=seen,
            history=history,
            dose=given,
            flags=flags,
            doses=self.limits.after(given, state.doses),
            peak=jnp.maximum(state.peak, jnp.abs(given).max()),
        )

    def _step(self, state: WolfSheepControlState, dose: Any, key: Any, params: Any) -> WolfSheepControlState:
        stepped = self.model.step(state.micro, dose, key, state.patient)
        target = jnp.where(state.time + 1 >= params.switch, params.later_target, params.target)
        counts = stepped.macro[jnp.array([1, 0])]
        error = jnp.where(target > 0, (counts - target) / jnp.where(target > 0, target, 1), counts)
        in_tail = state.time >= self.horizon * self.hold - _TAIL
        q = jnp.sum(error**2)
        return state._replace(
            micro=stepped.state,
            macro=stepped.macro,
            time=state.time + 1,
            amount=state.amount + stepped.intervention.amount,
            removed=state.removed + stepped.intervention.amount,
            flags=state.flags.at[2].set(state.flags[2] | stepped.intervention.saturated),
            terms=state.terms - error**2 / self.hold,
            cost_sums=state.cost_sums + jnp.stack([q, jnp.where(in_tail, q, 0.0)]),
            overflow=state.overflow + stepped.overflow,
            violations=state.violations + (counts[0] < params.least_sheep),
        )

    def _observed(self, macro: Any, key: Any, params: Any) -> Any:
        scale = np.array(self.model.macro_scale, np.float32)
        shown = np.array([name in self.visible for name in self.model.macro_names], np.float32)
        noise = jnp.exp(params.noise * jax.random.normal(key, (3,), jnp.float32))
        return jnp.clip(macro / scale * noise * shown, 0, self._parts["macro"].high)

    def observation(self, state: WolfSheepControlState, rng: Any, params: Any = None) -> Any:
        parts: dict[str, Any] = {"macro": state.seen}
        if self.show_target:
            target = jnp.where(state.time + 1 >= params.switch, params.later_target, params.target)
            scale = self.model.macro_scale
            parts["target"] = target / np.array([scale[1], scale[0]], np.float32)
        if self.limits.budget is not None:
            left = 1 - state.doses.spent / max(self.limits.budget, 1e-9)
            parts["budget_left"] = jnp.clip(left, 0, 1)[None]
        if self.history:
            parts["history"] = state.history
        if self.image:
            parts["image"] = grid_image(self.model, state.micro)
        if self.obs == "dict":
            return parts
        return jnp.concatenate([part.reshape(-1) for part in parts.values()]).astype(jnp.float32)

    def reward(
        self, state: Any, action: Any, next_state: WolfSheepControlState, rng: Any, params: Any = None
    ) -> Any:
        return next_state.terms.sum()

    def terminal(self, state: WolfSheepControlState, rng: Any, params: Any = None) -> Any:
        return jnp.zeros((), bool)

    def state_info(self, state: WolfSheepControlState, params: Any = None) -> dict[str, Any]:
        return {
            **dict(zip(self.model.macro_names, state.macro, strict=True)),
            "patient": state.patient._asdict(),
        }

    def transition_info(
        self, state: Any, action: Any, next_state: WolfSheepControlState, params: Any = None
    ) -> dict[str, Any]:
        now = next_state
        whole_mean = now.cost_sums[0] / jnp.maximum(now.time, 1)
        tail_steps = now.time - max(self.horizon * self.hold - _TAIL, 0)
        return {
            **self.state_info(now, params),
            "dose": now.dose,
            "removed": now.amount,
            "removed_total": now.removed,
            "action_projected": now.flags[0] | now.flags[1],
            "clipped": now.flags[0],
            "limited": now.flags[1],
            "saturated": now.flags[2],
            "overflow": now.overflow,
            "invalid": now.micro.invalid,
            "extinct": (now.macro[:2] == 0).any(),
            "reward_terms": {"sheep": now.terms[0], "wolves": now.terms[1]},
            "cost": {
                "dose": jnp.abs(now.dose).sum(),
                "below_minimum": (now.macro[1] < params.least_sheep).astype(jnp.float32),
            },
            "violations": now.violations,
            "dose_total": now.doses.spent,
            "dose_peak": now.peak,
            "J1": jnp.where(tail_steps > 0, now.cost_sums[1] / jnp.maximum(tail_steps, 1), whole_mean),
            "J1_full": whole_mean,
        }

    def render_image(self, state: WolfSheepControlState, params: Any = None) -> np.ndarray:  # type: ignore[override]
        return grid_picture(self.model, state.micro)


def drawn_patient(key: Any, params: WolfSheepParams, spread: Any) -> WolfSheepParams:
    """A synthetic patient: five constants times exp(spread · N(0, 1)), the regrowth time rounded, probabilities at most
    1."""
    factor = jnp.exp(spread * jax.random.normal(key, (5,), jnp.float32))
    regrowth = jnp.floor(params.regrowth * factor[4] + 0.5).astype(jnp.int32)
    return WolfSheepParams(
        gain_sheep=jnp.asarray(params.gain_sheep * factor[0], jnp.float32),
        gain_wolf=jnp.asarray(params.gain_wolf * factor[1], jnp.float32),
        p_sheep=jnp.minimum(params.p_sheep * factor[2], 1.0).astype(jnp.float32),
        p_wolf=jnp.minimum(params.p_wolf * factor[3], 1.0).astype(jnp.float32),
        regrowth=regrowth,
        initial_sheep=jnp.asarray(params.initial_sheep, jnp.int32),
        initial_wolves=jnp.asarray(params.initial_wolves, jnp.int32),
    )
