"""Spending a budget evenly or better: one step is one time slot of auctions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from typing import Any, ClassVar, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from gymnasium import Space, spaces

from dynrl.auctions import DELTA_MAX, AuctionLog, AuctionRules, Campaign, Market
from dynrl.auctions.in_order import auctions_in_order
from dynrl.auctions.model import CampaignModel
from dynrl.envs.auctions.bid_sim import model_of
from dynrl.envs.auctions.bidding import resolved_budget
from dynrl.envs.auctions.default_log import default_model
from dynrl.envs.auctions.even_spend import even_spend_slope
from dynrl.envs.auctions.picture import pacing_picture
from dynrl.envs.auctions.slots import LogSlots, MarketSlots, log_slots, market_slots, slot_auctions
from dynrl.functional import FunctionalEnv

__all__ = ["RELATIVE_CHANGES", "Pacing", "PacingParams", "PacingState"]

RELATIVE_CHANGES = (-0.50, -0.15, -0.08, -0.03, -0.01, 0.0, 0.01, 0.03, 0.08, 0.15, 0.50)
"""Changes of lambda, where a bid is theta / lambda: the actions of DRLB (Wu et al., CIKM 2018)."""

_RANGE = 100.0  # relative changes keep the multiplier within 1/100 and 100


class PacingParams(NamedTuple):
    """Attributes:
    source: where the slots' auctions come from.
    first: number of the first episode (of a log).
    budget: ticks per episode.
    value: ticks that a click is worth.
    base: ticks per unit of click probability that multiplier 1 bids.
    theta_avg: mean click probability, unit of the observation.
    traffic: mean number of auctions in a slot, unit of the observation.
    """

    source: LogSlots | MarketSlots
    first: Any
    budget: Any
    value: Any
    base: Any
    theta_avg: Any
    traffic: Any


class SlotResult(NamedTuple):
    """What a slot brought, leaves `[]`: its auctions, impressions won, clicks, ticks paid, theta of the impressions
    won, mean theta of the auctions."""

    auctions: Any
    wins: Any
    clicks: Any
    cost: Any
    expected_clicks: Any
    mean_theta: Any


class PacingState(NamedTuple):
    """Attributes:
    slot: slots played.
    b_left: ticks left.
    episode: number of the episode.
    multiplier: the last one, 1 at the start.
    last: result of the last slot, zero at the start.
    totals: sums over the episode.
    spent: ticks paid in each slot `[T]`.
    multipliers: played in each slot `[T]`.
    """

    slot: Any
    b_left: Any
    episode: Any
    multiplier: Any
    last: SlotResult
    totals: SlotResult
    spent: Any
    multipliers: Any


@dataclass(frozen=True)
class Pacing(FunctionalEnv):
    """Choose a bid multiplier for each time slot, so that the budget lasts and buys the most.

    ## Description
    In a slot every request is bid floor(multiplier · base · theta) ticks, at most `delta_max`, in row order: the money
    is used up inside the slot exactly where auctions held one after the other would use it up. The base bid is the one
    that spends the budget evenly under the model, so 1 is the multiplier of the plan.

    ## Action space
    | `action` | space | multiplier |
    |---|---|---|
    | `"multiplier"` | `Box(0, max_multiplier, (1,), float32)` | the number |
    | `"log_multiplier"` | `Box(-1, 1, (1,), float32)` | max_multiplier to the power of the number |
    | `"relative"` | `Discrete(11)` | the last one divided by 1 + `RELATIVE_CHANGES[action]`, within 1/100 and 100 |

    ## Observation space
    float32; numbers of the last slot are 0 in the first:

    | index | meaning | min | max |
    |---|---|---|---|
    | 0 | slots left / T | 0 | 1 |
    | 1 | ticks left / B | 0 | 1 |
    | 2 | ticks paid in the last slot / (B / T) | 0 | 10 |
    | 3 | win rate of the last slot | 0 | 1 |
    | 4 | ticks per impression in the last slot / delta_max | 0 | 10 |
    | 5 | mean click probability of the last slot / average | 0 | 10 |
    | 6 | last multiplier (1 at the start) | 0 | 100 |
    | 7 | auctions of the last slot / average | 0 | 10 |

    ## Rewards
    `objective="pctr"`: sum of theta over the impressions won; `"click"`: clicks, the same with more noise; `"profit"`:
    `value` · clicks − ticks paid.

    ## Starting state
    All slots and all money left. From a log, episodes follow each other in log order, from the front again after the
    last; a seed, and `reset(options={"episode": k})`, begin anew. From a market, requests are drawn as in `BidSim`.

    ## Episode end
    Terminates after `horizon` slots. Truncated where the log ends inside an episode.

    ## Info
    At each step `auctions`, `wins`, `clicks`, `cost`, `expected_clicks` and `mean_theta` of the slot, `multiplier`,
    `b_left`, `slot`, `episode_number` and `totals`, the same sums over the episode so far.

    ## Arguments
    Those marked (params) only set the default `params`, a `PacingParams`.

    Args:
        log: auctions with click probabilities, or the path of a file that `dynrl.auctions.readers.read_log` reads; None
            to draw from a market (params).
        market: None for that of `model`, or of a small generated campaign (params).
        horizon: T, slots per episode.
        auctions_per_slot: rows of the log, or mean number of drawn requests, in a slot (params).
        slots_by: `"count"`, or `"time"` for a log whose episodes are days, cut into `horizon` equal stretches (params).
        traffic: weight of each slot's number of drawn requests; None for even traffic (params).
        budget: B in ticks; None for `budget_ratio` (params).
        budget_ratio: c0 in B = floor(CPM · auctions of an episode · c0) (params).
        base_bid: ticks per unit of click probability; None for the slope that spends the budget evenly in expectation
            under `model`, `market` or the log (params).
        max_multiplier: largest multiplier, above 1.
        delta_max: largest bid, in ticks.
        tie: whether a bid equal to the market price wins.
        pricing: `"second"`: pay the market price; `"first"`: pay the bid.
        action, objective: see above.
        value: ticks that a click is worth; None for the campaign's cost per click (params).
        campaign: counts of the training period (params).
        model: what is known of the campaign beforehand (params).

    Raises:
        ValueError: unknown settings, a log that cannot be replayed, both a log and a market, or a budget below one
            tick.

    ## Version history
    v0: first version.
    """

    x64: ClassVar[bool] = True
    metadata: ClassVar[Mapping[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 5}
    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        "horizon": (4, 12),
        "auctions_per_slot": (5, 40),
        "budget_ratio": (1 / 8, 0.5),
        "action": ("multiplier", "log_multiplier", "relative"),
        "objective": ("click", "pctr", "profit"),
        "tie": ("win", "lose"),
        "pricing": ("second", "first"),
    }

    log: AuctionLog | str | PathLike[str] | None = field(default=None, compare=False)
    market: Market | None = field(default=None, compare=False, kw_only=True)
    horizon: int = field(default=48, kw_only=True)
    auctions_per_slot: int = field(default=100, compare=False, kw_only=True)
    slots_by: Literal["count", "time"] = field(default="count", compare=False, kw_only=True)
    traffic: tuple[float, ...] | None = field(default=None, compare=False, kw_only=True)
    budget: int | None = field(default=None, compare=False, kw_only=True)
    budget_ratio: float = field(default=0.125, compare=False, kw_only=True)
    base_bid: float | None = field(default=None, compare=False, kw_only=True)
    max_multiplier: float = field(default=4.0, kw_only=True)
    delta_max: int = field(default=DELTA_MAX, kw_only=True)
    tie: Literal["win", "lose"] = field(default="win", kw_only=True)
    pricing: Literal["second", "first"] = field(default="second", kw_only=True)
    action: Literal["multiplier", "log_multiplier", "relative"] = field(default="multiplier", kw_only=True)
    objective: Literal["pctr", "click", "profit"] = field(default="pctr", kw_only=True)
    value: float | None = field(default=None, compare=False, kw_only=True)
    campaign: Campaign | None = field(default=None, compare=False, kw_only=True)
    model: CampaignModel | None = field(default=None, compare=False, kw_only=True)

    def __post_init__(self) -> None:
        for name, choices in (
            ("action", ("multiplier", "log_multiplier", "relative")),
            ("objective", ("pctr", "click", "profit")),
            ("slots_by", ("count", "time")),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, expected one of {', '.join(map(repr, choices))}"
                )
        for name in ("horizon", "auctions_per_slot"):
            if int(getattr(self, name)) != getattr(self, name) or getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a whole number of at least 1")
        if not 1 < self.max_multiplier <= _RANGE:
            raise ValueError(f"max_multiplier is {self.max_multiplier}, expected more than 1 and at most 100")
        if self.log is not None and self.market is not None:
            raise ValueError("give either log or market: the auctions come from one of them")
        if self.log is not None and not isinstance(self.log, AuctionLog):
            from dynrl.auctions.readers import read_log

            object.__setattr__(self, "log", read_log(self.log))
        if self.log is None and self.market is None and self.model is None:
            object.__setattr__(self, "model", default_model())
        if self.base_bid is not None and not (np.isfinite(self.base_bid) and self.base_bid > 0):
            raise ValueError(f"base_bid is {self.base_bid}, expected a positive number of ticks")
        _ = self.rules

    @cached_property
    def _source(self) -> LogSlots | MarketSlots:
        if isinstance(self.log, AuctionLog):
            return log_slots(self.log, self.horizon, self.auctions_per_slot, self.slots_by)
        return market_slots(self._known_market, self.horizon, self.auctions_per_slot, self.traffic)

    @cached_property
    def _known_market(self) -> Market:
        if self.market is not None:
            return self.market
        if self.model is not None:
            return self.model.market
        assert isinstance(self.log, AuctionLog)
        return CampaignModel.from_campaign(Campaign.from_log(self.log, self.delta_max), self.log.theta).market

    def _known_campaign(self) -> Campaign:
        if self.campaign is not None:
            return self.campaign
        if self.model is not None and self.market is None:
            return self.model.campaign
        if isinstance(self.log, AuctionLog):
            return Campaign.from_log(self.log, self.delta_max)
        return model_of(self._known_market).campaign

    @cached_property
    def rules(self) -> AuctionRules:
        """The rules behind the default `params`; their horizon is the mean number of auctions of an episode."""
        auctions = max(round(float(np.mean(self._source.count)) * self.horizon), 1)
        budget = resolved_budget(self.budget, self.budget_ratio, auctions, self._known_campaign)
        return AuctionRules(auctions, budget, self.delta_max, self.tie, self.pricing)

    @cached_property
    def action_space(self) -> Space:  # type: ignore[override]
        if self.action == "relative":
            return spaces.Discrete(len(RELATIVE_CHANGES))
        if self.action == "log_multiplier":
            return spaces.Box(-1.0, 1.0, (1,), np.float32)
        return spaces.Box(0.0, self.max_multiplier, (1,), np.float32)

    @cached_property
    def observation_space(self) -> spaces.Box:  # type: ignore[override]
        high = np.array([1, 1, 10, 1, 10, 10, _RANGE, 10], np.float32)
        return spaces.Box(np.zeros(8, np.float32), high, dtype=np.float32)

    def get_default_params(self) -> PacingParams:  # type: ignore[override]
        market, rules = self._known_market, self.rules
        base = self.base_bid
        if base is None:
            base = even_spend_slope(market, rules.budget / rules.horizon, self.delta_max, self.pricing)
        value = self.value
        if value is None:
            value = self._known_campaign().cpc if self.objective == "profit" else 0.0
        return PacingParams(
            source=self._source,
            first=np.int64(0),
            budget=np.int64(rules.budget),
            value=np.float64(value),
            base=np.float64(base),
            theta_avg=np.float64(market.theta_avg),
            traffic=np.float64(np.mean(self._source.count)),
        )

    def apply_options(self, params: PacingParams, options: Mapping[str, Any]) -> PacingParams:
        """Reset option `episode`: its number in the log."""
        unknown = sorted(set(options) - {"episode"})
        if unknown:
            raise ValueError(f"unknown reset option {unknown[0]!r}; the only one is 'episode'")
        if "episode" not in options:
            return params
        episode, count = options["episode"], len(params.source.count) // self.horizon
        if not isinstance(episode, (int, np.integer)) or not 0 <= episode < count:
            raise ValueError(
                f"reset option episode is {episode!r}, expected a whole number from 0 to {count - 1}"
            )
        return params._replace(first=np.int64(episode))

    def initial(self, rng: Any, params: Any = None) -> PacingState:
        return self._begun(params.first, params)

    def following(self, last: PacingState, rng: Any, params: Any = None) -> PacingState:
        episode = last.episode + 1
        if isinstance(params.source, LogSlots):
            episode = episode % (len(params.source.count) // self.horizon)
        return self._begun(episode, params)

    def _begun(self, episode: Any, params: Any) -> PacingState:
        whole, real = jnp.zeros((), int), jnp.zeros((), float)
        nothing = SlotResult(whole, whole, whole, whole, real, real)
        return PacingState(
            slot=whole,
            b_left=jnp.asarray(params.budget, int),
            episode=jnp.asarray(episode, int),
            multiplier=jnp.ones((), float),
            last=nothing,
            totals=nothing,
            spent=jnp.zeros(self.horizon, int),
            multipliers=jnp.zeros(self.horizon),
        )

    def transition(self, state: PacingState, action: Any, rng: Any, params: Any = None) -> PacingState:
        multiplier = self._multiplier(state.multiplier, action)
        auctions, there = slot_auctions(params.source, state.slot, state.episode, self.horizon, rng)
        slope = jnp.where(multiplier > 0, multiplier, 0.0) * params.base  # 0 also for a NaN
        wish = jnp.minimum(jnp.floor(slope * auctions.theta), self.delta_max).astype(int)
        won, cost = auctions_in_order(
            wish, auctions.price, auctions.floor, there, state.b_left, self.tie, self.pricing
        )
        count = there.sum()
        theta = jnp.where(there, auctions.theta, 0.0).sum()
        last = SlotResult(
            auctions=count,
            wins=won.sum(),
            clicks=jnp.where(won, auctions.click, 0).sum(),
            cost=cost.sum(),
            expected_clicks=jnp.where(won, auctions.theta, 0.0).sum(),
            mean_theta=theta / jnp.maximum(count, 1),
        )
        sums = [before + now for before, now in zip(state.totals, last, strict=True)]
        held = jnp.maximum(sums[0], 1)
        mean = (state.totals.mean_theta * state.totals.auctions + theta) / held
        return PacingState(
            slot=state.slot + 1,
            b_left=state.b_left - last.cost,
            episode=state.episode,
            multiplier=multiplier,
            last=last,
            totals=SlotResult(*sums)._replace(mean_theta=mean),
            spent=state.spent.at[state.slot].set(last.cost),
            multipliers=state.multipliers.at[state.slot].set(multiplier),
        )

    def _multiplier(self, before: Any, action: Any) -> Any:
        if self.action == "relative":
            changed = before / (1.0 + jnp.asarray(RELATIVE_CHANGES, float)[action])
            return jnp.clip(changed, 1 / _RANGE, _RANGE)
        number = jnp.asarray(action[0], float)
        return self.max_multiplier**number if self.action == "log_multiplier" else number

    def observation(self, state: PacingState, rng: Any, params: Any = None) -> Any:
        last = state.last
        wins, auctions = jnp.maximum(last.wins, 1), jnp.maximum(last.auctions, 1)
        numbers = [
            1.0 - state.slot / self.horizon,
            state.b_left / params.budget,
            last.cost / (params.budget / self.horizon),
            last.wins / auctions,
            last.cost / wins / self.delta_max,
            last.mean_theta / params.theta_avg,
            state.multiplier,
            last.auctions / params.traffic,
        ]
        high = jnp.asarray(self.observation_space.high)
        return jnp.minimum(
            jnp.stack([jnp.asarray(number, float) for number in numbers]).astype(jnp.float32), high
        )

    def reward(
        self, state: PacingState, action: Any, next_state: PacingState, rng: Any, params: Any = None
    ) -> Any:
        last = next_state.last
        if self.objective == "pctr":
            return last.expected_clicks
        if self.objective == "click":
            return last.clicks.astype(float)
        return params.value * last.clicks - last.cost

    def terminal(self, state: PacingState, rng: Any, params: Any = None) -> Any:
        return state.slot >= self.horizon

    def truncated(self, state: PacingState, rng: Any, params: Any = None) -> Any:
        if not isinstance(params.source, LogSlots):
            return jnp.zeros((), bool)
        rows = params.source.rows.price.shape[0] - params.source.lanes.shape[0]
        place = jnp.minimum(state.episode * self.horizon + state.slot, params.source.start.shape[0] - 1)
        return jnp.asarray(params.source.start)[place] >= rows

    def state_info(self, state: PacingState, params: Any = None) -> dict[str, Any]:
        return {"slot": state.slot, "b_left": state.b_left, "episode_number": state.episode}

    def transition_info(
        self, state: PacingState, action: Any, next_state: PacingState, params: Any = None
    ) -> dict[str, Any]:
        return {
            **next_state.last._asdict(),
            "multiplier": next_state.multiplier,
            "slot": next_state.slot,
            "b_left": next_state.b_left,
            "episode_number": next_state.episode,
            "totals": next_state.totals._asdict(),
        }

    def render_image(self, state: PacingState, params: Any = None) -> np.ndarray:  # type: ignore[override]
        slots = int(state.slot)
        return pacing_picture(
            state.spent[:slots],
            state.multipliers[:slots],
            int(params.budget),
            self.horizon,
            state.totals._asdict(),
        )
