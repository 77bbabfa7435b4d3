"""Many advertisers compete for the slots of many requests: the world behind `AuctionParallelEnv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import Space, spaces
from numpy.typing import ArrayLike

from dynrl.auctions.multi_slot import cpa_score, requests_in_order
from dynrl.functional import FunctionalEnv

__all__ = ["Competition", "CompetitionParams", "CompetitionState", "Sums"]


class CompetitionParams(NamedTuple):
    """Attributes:
    budget: money of each advertiser for the episode `[A]`.
    target_cpa: what a conversion is worth to each `[A]`.
    level: mean conversion probability of each `[A]`.
    user_spread, own_spread: standard deviations of the logarithm of conversion probabilities: what all advertisers see
        alike in a request, and each by itself `[]`.
    season: factor on conversion probabilities in each time step `[T]`.
    exposure: probability that a slot is shown if the one above was `[k]`.
    reserve: reserve price `[]`.
    """

    budget: Any
    target_cpa: Any
    level: Any
    user_spread: Any
    own_spread: Any
    season: Any
    exposure: Any
    reserve: Any


class Sums(NamedTuple):
    """Per advertiser, leaves `[A]`: slots won, impressions shown, money paid, conversions, their expectation, and the
    mean value (target CPA · probability) of the requests."""

    won: Any
    shown: Any
    cost: Any
    conversions: Any
    expected_conversions: Any
    mean_value: Any


class CompetitionState(NamedTuple):
    """Attributes:
    step: time steps played.
    left: money of each advertiser `[A]`.
    multipliers: last ones `[A]`, 1 at the start.
    last: sums over the last time step.
    totals: sums over the episode.
    least_winning: mean price of the last slot in the last time step.
    """

    step: Any
    left: Any
    multipliers: Any
    last: Sums
    totals: Sums
    least_winning: Any


@dataclass(frozen=True)
class Competition(FunctionalEnv):
    """One auctioneer, k slots, A advertisers: a step is a time step of many requests, and an action the multipliers of
    all advertisers, so that whole markets run side by side (`VectorEnv`, `rollout`, `vmap`).

    ## Description
    In each request advertiser a sees the probability p that the impression converts, worth target CPA · p, and bids
    multiplier · target CPA · p, never more than its money. The k highest bids win the slots (see
    `dynrl.auctions.multi_slot`). Probabilities are log-normal around the advertiser's level, with a part that all
    advertisers see alike; they are drawn from the step's key whatever the bids. The layout, 48 advertisers and 48 time
    steps, the slots and the score are those of AuctionNet (Su et al., NeurIPS 2024); the values are synthetic.

    ## Action space
    `Box(0, max_multiplier, (A,), float32)`.

    ## Observation space
    `[A, 8]` float32, one row per advertiser:

    | index | meaning | min | max |
    |---|---|---|---|
    | 0 | time steps left / T | 0 | 1 |
    | 1 | money left / budget | 0 | 1 |
    | 2 | money paid in the last step / (budget / T) | 0 | 10 |
    | 3 | share of the last step's requests in which it was shown | 0 | 1 |
    | 4 | price per impression in the last step / (target CPA · level) | 0 | 10 |
    | 5 | mean value in the last step / (target CPA · level) | 0 | 10 |
    | 6 | last multiplier | 0 | 10 |
    | 7 | cost per conversion so far / target CPA | 0 | 10 |

    ## Rewards
    The sum over advertisers of what `rewards` gives: `objective="conversions"`; `"expected"`, the same with less noise;
    or `"score"`, the change of conversions · min(1, (target / real CPA)²).

    ## Episode end
    Terminates after `horizon` time steps.

    ## Info
    `rewards` and the sums of the step `[A]`, `score` and `totals` so far, `left`, `least_winning`.

    ## Arguments
    Those marked (params) only set the default `params`.

    Args:
        advertisers: A.
        horizon: T, time steps per episode.
        requests: requests in a time step.
        slots: k.
        budget: money of all advertisers or each; None for different ones that are worth saving (params).
        target_cpa: of all advertisers or each; None for different ones between 60 and 130 (params).
        exposure: of each slot (params).
        reserve: reserve price (params).
        pricing: `"second"` (generalised second price) or `"first"`.
        objective: see above.
        max_multiplier: largest multiplier.
        seed: of the default advertisers (params).

    Raises:
        ValueError: names the argument.
    """

    x64: ClassVar[bool] = True
    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        "advertisers": (1, 4),
        "horizon": (3, 6),
        "requests": (20, 200),
        "pricing": ("second", "first"),
        "objective": ("conversions", "expected", "score"),
    }

    advertisers: int = 48
    horizon: int = 48
    requests: int = 500
    slots: int = 3
    budget: ArrayLike | None = field(default=None, compare=False)
    target_cpa: ArrayLike | None = field(default=None, compare=False)
    exposure: tuple[float, ...] | None = field(default=None, compare=False)
    reserve: float = field(default=0.01, compare=False)
    pricing: Literal["second", "first"] = "second"
    objective: Literal["conversions", "expected", "score"] = "conversions"
    max_multiplier: float = 5.0
    seed: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        for name in ("advertisers", "horizon", "requests", "slots"):
            value = getattr(self, name)
            if int(value) != value or value < 1:
                raise ValueError(f"{name} is {value}, expected a whole number of at least 1")
        if self.pricing not in ("second", "first"):
            raise ValueError(f"pricing is {self.pricing!r}, expected 'second' or 'first'")
        if self.objective not in ("conversions", "expected", "score"):
            raise ValueError(
                f"objective is {self.objective!r}, expected 'conversions', 'expected' or 'score'"
            )
        if not 0 < self.max_multiplier <= 10:
            raise ValueError(f"max_multiplier is {self.max_multiplier}, expected a number in (0, 10]")
        for name, length in (
            ("budget", self.advertisers),
            ("target_cpa", self.advertisers),
            ("exposure", self.slots),
        ):
            given = getattr(self, name)
            if given is not None and np.shape(given) not in ((), (length,)):
                raise ValueError(f"{name} has shape {np.shape(given)}, expected one number or {length}")
            if given is not None and not (np.isfinite(given).all() and (np.asarray(given) > 0).all()):
                raise ValueError(f"{name} is {given}, expected positive numbers")
        if self.exposure is not None and (np.asarray(self.exposure) > 1).any():
            raise ValueError(f"exposure is {self.exposure}, expected probabilities")
        if not (np.isfinite(self.reserve) and self.reserve >= 0):
            raise ValueError(f"reserve is {self.reserve}, expected a price of at least 0")

    @cached_property
    def action_space(self) -> Space:  # type: ignore[override]
        return spaces.Box(0.0, self.max_multiplier, (self.advertisers,), np.float32)

    @cached_property
    def observation_space(self) -> spaces.Box:  # type: ignore[override]
        high = np.tile(np.array([1, 1, 10, 1, 10, 10, 10, 10], np.float32), (self.advertisers, 1))
        return spaces.Box(np.zeros_like(high), high, dtype=np.float32)

    def get_default_params(self) -> CompetitionParams:  # type: ignore[override]
        rng = np.random.default_rng(self.seed)
        cpa = rng.uniform(60.0, 130.0, self.advertisers)
        level = 1e-3 * rng.lognormal(0.0, 0.3, self.advertisers)
        if self.target_cpa is not None:
            cpa = np.broadcast_to(np.asarray(self.target_cpa, float), cpa.shape)
        fair_share = self.horizon * self.requests * self.slots / self.advertisers
        budget = 0.1 * fair_share * rng.uniform(0.5, 1.5, self.advertisers)
        if self.budget is not None:
            budget = np.broadcast_to(np.asarray(self.budget, float), budget.shape)
        exposure = 0.9 ** np.arange(self.slots) if self.exposure is None else self.exposure
        return CompetitionParams(
            budget=np.array(budget),
            target_cpa=np.array(cpa),
            level=level,
            user_spread=np.float64(0.6),
            own_spread=np.float64(0.6),
            season=1.0 + 0.3 * np.sin(2 * np.pi * np.arange(self.horizon) / self.horizon),
            exposure=np.broadcast_to(np.asarray(exposure, float), (self.slots,)).copy(),
            reserve=np.float64(self.reserve),
        )

    def initial(self, rng: Any, params: Any = None) -> CompetitionState:
        zero = jnp.zeros(self.advertisers)
        nothing = Sums(*(zero for _ in Sums._fields))
        return CompetitionState(
            step=jnp.zeros((), int),
            left=jnp.asarray(params.budget, float),
            multipliers=jnp.ones(self.advertisers),
            last=nothing,
            totals=nothing,
            least_winning=jnp.zeros(()),
        )

    def probabilities(self, step: Any, rng: Any, params: Any) -> Any:
        """Conversion probabilities `[A, requests]` of one time step."""
        shared, own = jax.random.split(rng)
        user = params.user_spread * jax.random.normal(shared, (self.requests,))
        # Half of a step goes into these numbers: single precision is enough for a spread.
        private = params.own_spread * jax.random.normal(own, (self.advertisers, self.requests), jnp.float32)
        centre = -0.5 * (params.user_spread**2 + params.own_spread**2)  # so that the mean is the level
        mean = jnp.asarray(params.level) * jnp.asarray(params.season)[step]
        return jnp.minimum(mean[:, None] * jnp.exp(user[None] + private + centre), 1.0)

    def transition(
        self, state: CompetitionState, action: Any, rng: Any, params: Any = None
    ) -> CompetitionState:
        for_values, for_slots, for_conversions = jax.random.split(rng, 3)
        probability = self.probabilities(state.step, for_values, params)
        multipliers = jnp.asarray(action, float)
        multipliers = jnp.where(
            multipliers > 0, multipliers, 0.0
        )  # also for the NaN that nobody could refuse
        value = jnp.asarray(params.target_cpa)[:, None] * probability
        shape = (self.slots, self.requests)
        outcome, left = requests_in_order(
            multipliers[:, None] * value,
            state.left,
            jax.random.uniform(for_slots, shape, float),
            params.exposure,
            params.reserve,
            self.pricing,
        )
        chance = jnp.take_along_axis(probability, jnp.maximum(outcome.winner, 0), axis=0) * outcome.exposed
        converted = jax.random.uniform(for_conversions, shape, float) < chance
        # an empty slot's number, -1, becomes one beyond the advertisers, which is dropped
        winner = jnp.where(outcome.winner < 0, self.advertisers, outcome.winner).reshape(-1)

        def count(leaf: Any) -> Any:
            zero = jnp.zeros(self.advertisers, jnp.int32)
            return zero.at[winner].add(leaf.reshape(-1).astype(jnp.int32), mode="drop").astype(float)

        # Fractions are added up in a fixed order, which a scatter on a GPU does not keep.
        mine = winner == jnp.arange(self.advertisers, dtype=winner.dtype)[:, None]
        last = Sums(
            won=count(outcome.winner >= 0),
            shown=count(outcome.exposed),
            cost=state.left - left,
            conversions=count(converted),
            expected_conversions=jnp.where(mine, chance.reshape(-1), 0.0).sum(1),
            mean_value=value.mean(1),
        )
        totals = Sums(*(before + now for before, now in zip(state.totals, last, strict=True)))
        mean = (state.totals.mean_value * state.step + last.mean_value) / (state.step + 1)
        return CompetitionState(
            step=state.step + 1,
            left=left,
            multipliers=multipliers,
            last=last,
            totals=totals._replace(mean_value=mean),
            least_winning=outcome.least_winning.mean(),
        )

    def observation(self, state: CompetitionState, rng: Any, params: Any = None) -> Any:
        last, totals = state.last, state.totals
        usual = jnp.asarray(params.target_cpa) * params.level
        one = jnp.ones(self.advertisers)
        columns = [
            one - state.step / self.horizon,
            state.left / params.budget,
            last.cost / (jnp.asarray(params.budget) / self.horizon),
            last.shown / self.requests,
            last.cost / jnp.maximum(last.shown, 1.0) / usual,
            last.mean_value / usual,
            state.multipliers,
            totals.cost / jnp.maximum(totals.conversions, 1.0) / params.target_cpa,
        ]
        shown = jnp.stack(columns, 1).astype(jnp.float32)
        return jnp.minimum(shown, jnp.asarray(self.observation_space.high))

    def rewards(self, state: CompetitionState, next_state: CompetitionState, params: Any) -> Any:
        """Of each advertiser `[A]` for the step between two states."""
        if self.objective == "conversions":
            return next_state.last.conversions
        if self.objective == "expected":
            return next_state.last.expected_conversions
        return self.score(next_state, params) - self.score(state, params)

    def score(self, state: CompetitionState, params: Any) -> Any:
        """conversions · min(1, (target / real CPA)²) so far `[A]`."""
        return cpa_score(state.totals.conversions, state.totals.cost, params.target_cpa)

    def reward(
        self, state: CompetitionState, action: Any, next_state: CompetitionState, rng: Any, params: Any = None
    ) -> Any:
        return self.rewards(state, next_state, params).sum()

    def terminal(self, state: CompetitionState, rng: Any, params: Any = None) -> Any:
        return state.step >= self.horizon

    def state_info(self, state: CompetitionState, params: Any = None) -> dict[str, Any]:
        return {"left": state.left}

    def transition_info(
        self, state: CompetitionState, action: Any, next_state: CompetitionState, params: Any = None
    ) -> dict[str, Any]:
        return {
            "rewards": self.rewards(state, next_state, params),
            **next_state.last._asdict(),
            "left": next_state.left,
            "score": self.score(next_state, params),
            "totals": next_state.totals._asdict(),
            "least_winning": next_state.least_winning,
        }
