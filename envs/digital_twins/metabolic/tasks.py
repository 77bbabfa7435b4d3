"""Three tasks of feeding the metabolic network: a high yield, a fixed amount of substrate, a product level to hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from dynrl.abm.draws import whole
from dynrl.envs.digital_twins.metabolic.environment import FeedingEnv, FeedingState, whole_number
from dynrl.envs.digital_twins.metabolic.model import MetabolicState
from dynrl.envs.digital_twins.metabolic.rules import MACRO_SCALE, MetabolicParams, checked_rates

__all__ = ["BudgetParams", "MetBudget", "MetTrack", "MetYield", "TrackParams", "YieldParams"]

Array = Any


class YieldParams(NamedTuple):
    """Attributes:
    rates: of the network.
    start: macrostate at a reset `[7]`.
    """

    rates: MetabolicParams
    start: Any


class BudgetParams(NamedTuple):
    """Attributes:
    rates: of the network.
    start: macrostate at a reset `[7]`.
    budget: molecules of substrate in an episode `[]`.
    """

    rates: MetabolicParams
    start: Any
    budget: Any


class TrackParams(NamedTuple):
    """Attributes:
    rates: of the network.
    start: macrostate at a reset `[7]`.
    setpoint_low, setpoint_high: between which the levels are drawn `[]`.
    effort: cost of a molecule of inflow `[]`.
    """

    rates: MetabolicParams
    start: Any
    setpoint_low: Any
    setpoint_high: Any
    effort: Any


class Totals(NamedTuple):
    """Molecules harvested and supplied in the time that counts, leaves `[]` int32."""

    harvested: Array
    supplied: Array

    @classmethod
    def none(cls) -> Totals:
        """Nothing yet."""
        return cls(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def ratio(self) -> Array:
        """Harvested over supplied; 0 where nothing was supplied."""
        return jnp.where(self.supplied > 0, self.harvested / jnp.maximum(self.supplied, 1), 0.0).astype(
            jnp.float32
        )


@dataclass(frozen=True)
class MetYield(FeedingEnv):
    """Feed a metabolic network so that most of the substrate comes out as product (objective J2).

    ## Description
    On a torus of 40 × 40 cells, E1 turns substrate into an intermediate, E2 turns two intermediates into a product, and
    the product blocks E1. All three decay or are harvested at random. Little substrate is lost before enzymes meet it;
    much of it is blocked: in between, near an inflow of 4, the yield has a maximum (0.049; 0.035 at 1 and 0.040 at 12).
    The rules are those of `dynrl.envs.digital_twins.metabolic.sequential.run`; see `MetabolicGrid` on exactness.

    ## Action space
    `Box(0, control_limit, (1,), float32)`: inflow, molecules per step, held for `hold` steps; a fraction is a
    probability. More than the limit is cut (`info["clipped"]`); negative numbers and NaN are refused.

    ## Observation space
    `Dict`:

    | key | shape | meaning | unit |
    |---|---|---|---|
    | `macro` | [7] | free S, I, P; E1 free, inhibited; E2 half, full | 200, 100, 15, 60, 60, 120, 120 |
    | `time` | [1] | part of the episode that has passed | 0 to 1 |
    | `history` | [history, 7] | the last macrostates, oldest first (if `history` > 0) | as `macro` |
    | `image` | [5, L, L] uint8 | S, I, P, E1, E2 per cell (if `image`) | molecules |

    ## Rewards
    J2 = harvested / supplied in the second half of the episode, given as it changes: the rewards of an episode add up
    to J2 (0 where nothing was supplied). A schedule that feeds in the first half and hardly in the second can make J2
    as large as it likes, because the ratio does not ask where the product came from; compare only inflows that do not
    change, or take `MetBudget`.

    ## Starting state
    No molecules, free enzymes at random cells. `reset(options={"start": [...], "kx": ...})` sets the seven numbers and
    any rate for one episode.

    ## Episode end
    Never terminates; truncated after `horizon` actions (`horizon · hold` steps).

    ## Info
    `counts` by name, `time` in steps, `dose` and `harvested` (molecules while the action held), `yield` (J2 so far),
    `reward_terms`, `clipped`, `action_projected` (the same), `saturated`, `invalid_action` (NaN in compiled code, which
    counts as 0), `overflow`, `patient` (the rates).

    Args:
        horizon: actions per episode.
        hold: steps for which an action holds.
        length, n1, n2, capacity, rounding, control_limit: see `MetabolicGrid`.
        image, history: what to show besides.
        rates: of the default `params`.

    Raises:
        ValueError: sizes that are no whole numbers, rates outside [0, 1].

    ## Version history
    v0: first version.
    """

    horizon: int = 200

    def get_default_params(self) -> YieldParams:  # type: ignore[override]
        return YieldParams(checked_rates(self.rates), self.start)

    def task_start(self, rng: Any, params: Any) -> Totals:
        return Totals.none()

    def task_after(self, task: Totals, micro: MetabolicState, time: Array, params: Any) -> Totals:
        counts = time > self.steps // 2
        return Totals(
            task.harvested + jnp.where(counts, micro.harvested, 0),
            task.supplied + jnp.where(counts, micro.supplied, 0),
        )

    def terms(self, before: Totals, after: Totals, params: Any) -> dict[str, Array]:
        return {"yield": after.ratio() - before.ratio()}

    def task_info(self, state: FeedingState, params: Any) -> dict[str, Array]:
        return {"yield": state.task.ratio()}


@dataclass(frozen=True)
class MetBudget(FeedingEnv):
    """Spread a fixed amount of substrate over time, so that most of it comes out as product.

    ## Description
    The network of `MetYield`, from the empty state, with exactly `budget` molecules to give: an inflow is cut to what
    is left, and raised where the rest could otherwise not be given any more at `control_limit` molecules per step. A
    constant inflow yields about 0.025; good schedules more than double it.

    ## Action space
    As `MetYield`.

    ## Observation space
    As `MetYield`, and `budget_left` [1], the part of the budget that is left, 0 to 1.

    ## Rewards
    Molecules harvested while the action held, over the budget; the rewards of an episode add up to the yield (0 for a
    budget of 0).

    ## Starting state
    As `MetYield`; the reset option `budget` sets the budget of one episode.

    ## Episode end
    Never terminates; truncated after `horizon` actions. What has not been harvested by then is lost.

    ## Info
    As `MetYield`, with `yield` over the whole episode so far, and `budget_left` in molecules. `saturated` says that the
    budget changed an inflow.

    Args:
        horizon: actions per episode.
        hold: steps for which an action holds.
        budget: molecules in an episode; None for one per step.
        length, n1, n2, capacity, rounding, control_limit, image, history, rates: as `MetYield`.

    Raises:
        ValueError: a budget that cannot be given within the episode.

    ## Version history
    v0: first version.
    """

    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        **FeedingEnv.option_choices,
        "budget": (None, 0, 5),
    }

    budget: int | None = field(default=None, compare=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.budget is not None:
            self._checked_budget(self.budget)
        if self.control_limit < 1:
            raise ValueError(
                f"control_limit is {self.control_limit}, expected at least 1 whole molecule per step"
            )

    def _checked_budget(self, budget: Any) -> np.int32:
        whole_number("budget", budget, 0)
        most = int(self.control_limit) * self.steps
        if budget > most:
            raise ValueError(
                f"budget is {budget}, but only {most} molecules can be given in {self.steps} steps"
            )
        return np.int32(budget)

    def get_default_params(self) -> BudgetParams:  # type: ignore[override]
        budget = self.steps if self.budget is None else self.budget
        return BudgetParams(checked_rates(self.rates), self.start, np.int32(budget))

    def task_option(self, params: Any, name: str, value: Any) -> Any:
        if name != "budget":
            return super().task_option(params, name, value)
        return params._replace(budget=self._checked_budget(value))

    def task_spaces(self) -> dict[str, spaces.Box]:
        return {"budget_left": spaces.Box(0.0, 1.0, (1,), np.float32)}

    def task_start(self, rng: Any, params: Any) -> Totals:
        return Totals.none()

    def permitted(self, inflow: Array, task: Totals, time: Array, rng: Any, params: Any) -> Array:
        most = int(self.control_limit)
        left = params.budget - task.supplied
        least = jnp.maximum(left - most * (self.steps - time), 0)
        return jnp.clip(whole(rng, inflow, self.rounding), least, jnp.minimum(left, most)).astype(jnp.float32)

    def task_after(self, task: Totals, micro: MetabolicState, time: Array, params: Any) -> Totals:
        return Totals(task.harvested + micro.harvested, task.supplied + micro.supplied)

    def terms(self, before: Totals, after: Totals, params: Any) -> dict[str, Array]:
        gained = (after.harvested - before.harvested) / jnp.maximum(params.budget, 1)
        return {"harvest": jnp.where(params.budget > 0, gained, 0.0).astype(jnp.float32)}

    def task_observation(self, state: FeedingState, params: Any) -> dict[str, Array]:
        left = (params.budget - state.task.supplied) / jnp.maximum(params.budget, 1)
        return {"budget_left": left[None].astype(jnp.float32)}

    def task_info(self, state: FeedingState, params: Any) -> dict[str, Array]:
        return {"yield": state.task.ratio(), "budget_left": params.budget - state.task.supplied}


class Tracking(NamedTuple):
    """Attributes:
    setpoints: the levels of the episode `[k]`.
    level: the one that holds now `[]`.
    error: sum of squared relative errors so far `[]`.
    supplied: molecules so far `[]` int32.
    """

    setpoints: Array
    level: Array
    error: Array
    supplied: Array


@dataclass(frozen=True)
class MetTrack(FeedingEnv):
    """Keep the product at a level that changes every `period` steps.

    ## Description
    The network of `MetYield`. At a reset one level P* per period is drawn uniformly between `setpoint_low` and
    `setpoint_high`.

    ## Action space
    As `MetYield`.

    ## Observation space
    As `MetYield`, and `setpoint` [1], the present level in units of 15 molecules.

    ## Rewards
    Minus the mean over the steps of an action of ((P − P*) / P*)² + effort · inflow. For P* = 0 the error is absolute.

    ## Starting state
    As `MetYield`; reset options `setpoint_low`, `setpoint_high` and `effort` set them for one episode.

    ## Episode end
    Never terminates; truncated after `horizon` actions.

    ## Info
    As `MetYield`, with `setpoint` instead of `yield`.

    Args:
        horizon: actions per episode.
        hold: steps for which an action holds.
        period: steps between changes of the level.
        setpoint_low, setpoint_high, effort: of the default `params`.
        length, n1, n2, capacity, rounding, control_limit, image, history, rates: as `MetYield`.

    Raises:
        ValueError: negative levels or effort, a low level above the high one.

    ## Version history
    v0: first version.
    """

    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        **FeedingEnv.option_choices,
        "period": (4, 300),
        "setpoint_low": (0.0, 6.0),
    }

    period: int = field(default=300, kw_only=True)
    setpoint_low: float = field(default=5.0, compare=False, kw_only=True)
    setpoint_high: float = field(default=20.0, compare=False, kw_only=True)
    effort: float = field(default=1e-3, compare=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number("period", self.period, 1)
        self._checked(self.get_default_params())

    @staticmethod
    def _checked(params: TrackParams) -> TrackParams:
        for name in ("setpoint_low", "setpoint_high", "effort"):
            if not (np.isfinite(getattr(params, name)) and getattr(params, name) >= 0):
                raise ValueError(f"{name} is {getattr(params, name)}, expected a finite number of at least 0")
        if params.setpoint_low > params.setpoint_high:
            raise ValueError(
                f"setpoint_low is {params.setpoint_low}, above setpoint_high {params.setpoint_high}"
            )
        return params

    def get_default_params(self) -> TrackParams:  # type: ignore[override]
        levels = (np.float32(value) for value in (self.setpoint_low, self.setpoint_high, self.effort))
        return TrackParams(checked_rates(self.rates), self.start, *levels)

    def apply_options(self, params: Any, options: Mapping[str, Any]) -> Any:
        return self._checked(super().apply_options(params, options))

    def task_option(self, params: Any, name: str, value: Any) -> Any:
        if name not in ("setpoint_low", "setpoint_high", "effort"):
            return super().task_option(params, name, value)
        return params._replace(**{name: np.float32(value)})

    def task_spaces(self) -> dict[str, spaces.Box]:
        return {"setpoint": spaces.Box(0.0, np.inf, (1,), np.float32)}

    def task_start(self, rng: Any, params: Any) -> Tracking:
        periods = -(-self.steps // self.period)
        spread = params.setpoint_high - params.setpoint_low
        levels = params.setpoint_low + spread * jax.random.uniform(rng, (periods,), jnp.float32)
        return Tracking(levels, levels[0], jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32))

    def task_after(self, task: Tracking, micro: MetabolicState, time: Array, params: Any) -> Tracking:
        error = self.model.macro(micro)[2] - task.level
        error = error / jnp.where(task.level > 0, task.level, 1.0)
        following = jnp.minimum(time // self.period, task.setpoints.shape[0] - 1)
        return Tracking(
            task.setpoints, task.setpoints[following], task.error + error**2, task.supplied + micro.supplied
        )

    def terms(self, before: Tracking, after: Tracking, params: Any) -> dict[str, Array]:
        inflow = (after.supplied - before.supplied) / self.hold
        return {
            "error": -(after.error - before.error) / self.hold,
            "effort": (-params.effort * inflow).astype(jnp.float32),
        }

    def task_observation(self, state: FeedingState, params: Any) -> dict[str, Array]:
        return {"setpoint": (state.task.level / MACRO_SCALE[2])[None]}

    def task_info(self, state: FeedingState, params: Any) -> dict[str, Array]:
        return {"setpoint": state.task.level}
