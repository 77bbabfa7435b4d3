"""Feedback control of bids: PID and water level (Zhang et al., WSDM 2016)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from dynrl.agents.auctions.agent import BidAgent
from dynrl.agents.auctions.pacing import slope_by_spend
from dynrl.agents.auctions.shading import win_rate_by_bid
from dynrl.agents.auctions.spend_curve import check_curve, spend_curve
from dynrl.agents.auctions.tuning import Objective, expected_spend, training_episodes, tune
from dynrl.auctions.bidder import Bidder, Request
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.replay import ReplayResult
from dynrl.auctions.rules import AuctionRules
from dynrl.auctions.serving import FeedbackPolicy
from dynrl.errors import ConfigError

__all__ = ["PID", "FeedbackBidder", "Measure", "PIDConfig", "WaterLevel", "WaterLevelConfig"]

Measure = Literal["spend", "win_rate", "ecpc"]
PHI = (-2.0, 5.0)
"""Ends of phi (Zhang et al., WSDM 2016, section 4)."""
LEAST_ERROR = -4.0
"""A slot that spent five times its allotment says no more than that bids are far too high."""


class Loop(NamedTuple):
    """Where the control loop stands, every leaf `[]`.

    Attributes:
        horizon: auctions of the episode.
        slot: running time slot.
        phi: logarithm of the factor on bids.
        total, error: sum of errors so far, and the last one.
        theta, left: click probability of, and ticks left at, the last auction.
        first_t, first_left: auctions and ticks left as the slot began.
        wins, clicks: impressions won in the slot, and their predicted clicks.
    """

    horizon: Any
    slot: Any
    phi: Any
    total: Any
    error: Any
    theta: Any
    left: Any
    first_t: Any
    first_left: Any
    wins: Any
    clicks: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FeedbackBidder(Bidder):
    """`floor(slope * theta * exp(phi))`; once per time slot, `phi = kp e + ki sum(e) + kd (e - last e)` in [-2, 5].

    The error `e = 1 - measured / wanted`, at least -4, is that of the slot just ended. Wins are seen by the money
    that left, so impressions won for nothing go uncounted.

    Attributes:
        slope: ticks per unit of click probability on plan.
        proportional, integral, derivative: gains.
        curve: `[K + 1]`, planned share of the budget spent by the end of each slot, from 0 to 1; its length sets the
            number of slots. A slot is allotted its share of the money left as it begins.
        target: wanted win rate (`measure="win_rate"`), or ticks per predicted click (`"ecpc"`; 1000 ticks are 1 fen).
        delta_max: largest bid, in ticks.
        measure: what is controlled.
    """

    slope: Any
    proportional: Any
    integral: Any
    derivative: Any
    curve: Any
    target: Any
    delta_max: Any
    measure: Measure = field(default="spend", metadata={"static": True})

    def start(self, horizon: Any, budget: Any, key: Any) -> Loop:
        zero, t, b = jnp.zeros((), jnp.float64), jnp.asarray(horizon), jnp.asarray(budget, jnp.float64)
        return Loop(t, jnp.zeros_like(t), zero, zero, zero, zero, b, t, b, zero, zero)

    def bid(self, memory: Loop, request: Request) -> tuple[Any, Loop]:
        won = request.b_left < memory.left
        memory = memory._replace(
            wins=memory.wins + won, clicks=memory.clicks + jnp.where(won, memory.theta, 0.0)
        )
        slots = len(self.curve) - 1
        slot = (memory.horizon - request.t_left) * slots // memory.horizon
        ended = slot != memory.slot
        left = jnp.asarray(request.b_left, jnp.float64)
        after = self._control(memory, self._error(memory, request))._replace(
            slot=slot,
            first_t=jnp.asarray(request.t_left, memory.first_t.dtype),
            first_left=left,
            wins=jnp.zeros_like(memory.wins),
            clicks=jnp.zeros_like(memory.clicks),
        )
        memory = jax.tree.map(lambda new, old: jnp.where(ended, new, old), after, memory)
        bid = jnp.floor(self.slope * request.theta * jnp.exp(memory.phi))
        return bid, memory._replace(left=left, theta=jnp.asarray(request.theta, jnp.float64))

    def _error(self, memory: Loop, request: Request) -> Any:
        spent = memory.first_left - request.b_left
        if self.measure == "spend":
            curve = jnp.asarray(self.curve)
            begun, done = curve[memory.slot], curve[memory.slot + 1]
            planned = memory.first_left * (done - begun) / jnp.maximum(1 - begun, 1e-12)
            measured = jnp.where(planned > 0, spent / jnp.where(planned > 0, planned, 1.0), 1.0)
        elif self.measure == "win_rate":
            measured = memory.wins / jnp.maximum(memory.first_t - request.t_left, 1) / self.target
        else:
            some = memory.clicks > 0
            measured = jnp.where(some, spent / jnp.where(some, memory.clicks, 1.0) / self.target, 0.0)
        return jnp.maximum(1 - measured, LEAST_ERROR)

    def _control(self, memory: Loop, error: Any) -> Loop:
        total = memory.total + error
        wanted = self.proportional * error + self.integral * total + self.derivative * (error - memory.error)
        phi = jnp.clip(wanted, *PHI)
        # the sum stands still while phi is at an end, or it would take as long to come back as it stayed there
        return memory._replace(phi=phi, total=jnp.where(phi == wanted, total, memory.total), error=error)

    def serving(self) -> FeedbackPolicy:
        gains = [float(gain) for gain in (self.proportional, self.integral, self.derivative)]
        return FeedbackPolicy(
            float(self.slope), gains, self.curve, self.measure, float(self.target), int(self.delta_max)
        )


@dataclass(frozen=True)
class PIDConfig:
    """Settings of `PID`.

    Attributes:
        measure: what is controlled: `"spend"`, `"win_rate"` or `"ecpc"`.
        target: wanted win rate, or ticks per predicted click (1000 ticks are 1 fen); unused for spend.
        slots: times per episode that bids are corrected.
        curve: `[slots + 1]` planned share of the budget spent by the end of each slot, from 0 to 1; None for an even
            spend.
        slope: ticks per unit of click probability on plan; None for the slope that meets the target in the model.
        gains: (proportional, integral, derivative); None to choose them by replay of the training rows.
        objective: what the replay maximises (spend), other targets are met as closely as possible.
    """

    measure: Measure = "spend"
    target: float | None = None
    slots: int = 40
    curve: tuple[float, ...] | None = None
    slope: float | None = None
    gains: tuple[float, float, float] | None = None
    objective: Objective = "clicks"

    def __post_init__(self) -> None:
        _check_target(self.measure, self.target)
        check_curve(self.curve, self.slots)
        if self.slope is not None and not self.slope > 0:
            raise ConfigError(f"slope is {self.slope}, expected a positive number")


def _check_target(measure: str, target: float | None) -> None:
    if measure not in get_args(Measure):
        raise ConfigError(f"measure is {measure!r}, expected one of {', '.join(get_args(Measure))}")
    if measure == "spend":
        return
    if target is None or not target > 0 or (measure == "win_rate" and target > 1):
        raise ConfigError(
            f"target is {target}, expected "
            + (
                "a win rate in (0, 1]"
                if measure == "win_rate"
                else "a positive number of ticks per predicted click"
            )
        )


class PID(BidAgent):
    """A linear bid times `exp(phi)`, phi from a PID controller on spend, win rate or cost per click.

    Needs no model of the market, only a start on plan; follows a market that drifts. On spend it keeps a curve (even,
    or `curve` for the traffic of a day). On win rate or eCPC it holds a key figure and lets the spend fall where it
    may. Nothing is optimal about the path, so prefer `Fluid` or RLB where a landscape is known.

    The gains are chosen by the constructor (27 combinations replayed on training rows): `learn` changes nothing.

    Source: Zhang et al., "Feedback control of real-time display advertising", WSDM 2016. Differences: errors are
    relative, so that gains need no units; measured slot by slot rather than since the start; cost
    per click counts predicted clicks, since a slot rarely holds a real one; the integral stands still while phi is at
    an end.

    Attributes:
        gains: (proportional, integral, derivative) in use.
    """

    Config = PIDConfig

    @classmethod
    def make_bidder(cls, config: Any, model: CampaignModel, rules: AuctionRules) -> FeedbackBidder:
        gains = (0.0, 0.0, 0.0) if config.gains is None else config.gains
        bidder = _bidder(config, gains, model, rules)
        if config.gains is not None:
            return bidder
        grid = list(itertools.product([0.0, 0.3, 1.0], [0.03, 0.1, 0.3], [0.0, 0.1, 0.3]))
        return _tuned(bidder, ("proportional", "integral", "derivative"), grid, config, model, rules)

    @property
    def gains(self) -> tuple[float, float, float]:
        bidder = self.bidder
        return float(bidder.proportional), float(bidder.integral), float(bidder.derivative)


@dataclass(frozen=True)
class WaterLevelConfig:
    """Settings of `WaterLevel`, as those of `PIDConfig`, with one gain in place of three.

    Attributes:
        measure, target, slots, curve, slope, objective: see `PIDConfig`.
        gain: gamma of `phi <- phi + gamma e`; None to choose it by replay of the training rows.
    """

    measure: Measure = "spend"
    target: float | None = None
    slots: int = 40
    curve: tuple[float, ...] | None = None
    slope: float | None = None
    gain: float | None = None
    objective: Objective = "clicks"

    def __post_init__(self) -> None:
        _check_target(self.measure, self.target)
        check_curve(self.curve, self.slots)
        for name in ("slope", "gain"):
            number = getattr(self, name)
            if number is not None and not number > 0:
                raise ConfigError(f"{name} is {number}, expected a positive number")


class WaterLevel(BidAgent):
    """The water-level controller: `phi <- phi + gamma e`, the integral part of `PID` alone.

    One gain to choose, slower and smoother than PID; everything else is said there.

    Source: Zhang et al., WSDM 2016, equation 7.

    Attributes:
        gain: gamma in use.
    """

    Config = WaterLevelConfig

    @classmethod
    def make_bidder(cls, config: Any, model: CampaignModel, rules: AuctionRules) -> FeedbackBidder:
        bidder = _bidder(config, (0.0, config.gain or 0.0, 0.0), model, rules)
        if config.gain is not None:
            return bidder
        return _tuned(bidder, "integral", np.geomspace(0.01, 1.0, 12), config, model, rules)

    @property
    def gain(self) -> float:
        return float(self.bidder.integral)


def _bidder(
    config: PIDConfig | WaterLevelConfig,
    gains: tuple[float, float, float],
    model: CampaignModel,
    rules: AuctionRules,
) -> FeedbackBidder:
    slope = _planned_slope(config, model, rules) if config.slope is None else config.slope
    curve = spend_curve(config.curve, config.slots, rules)
    target = 1.0 if config.target is None else config.target
    return FeedbackBidder(slope, *gains, curve, target, rules.delta_max, config.measure)


def _planned_slope(config: PIDConfig | WaterLevelConfig, model: CampaignModel, rules: AuctionRules) -> float:
    """Ticks per unit of click probability that meet the target in the model, or spend the budget if that is less."""
    by_budget, market = slope_by_spend(model, rules), model.market
    if config.measure == "spend" or config.target is None:
        return by_budget
    target, win = config.target, win_rate_by_bid(market, rules)

    def excess(slope: float) -> float:
        bids = np.minimum(slope * market.theta, rules.delta_max)
        won = np.take_along_axis(win, bids.astype(np.int64), axis=1)
        if config.measure == "win_rate":
            return float(market.share @ (market.theta_mass * won).sum(1)) - target
        clicks = float(market.share @ (market.theta_mass * market.theta * won).sum(1))
        return expected_spend(market, bids, rules) - target * clicks

    low, high = by_budget * 1e-6, by_budget
    for _ in range(60):  # both figures rise with the slope
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if excess(middle) > 0 else (middle, high)
    return high


def _tuned(
    bidder: FeedbackBidder,
    name: Any,
    grid: Any,
    config: PIDConfig | WaterLevelConfig,
    model: CampaignModel,
    rules: AuctionRules,
) -> FeedbackBidder:
    objective: Objective | Callable[[ReplayResult], NDArray[np.float64]] = config.objective
    if config.measure != "spend":
        objective = _closeness(config.measure, float(bidder.target))
    episodes = training_episodes(model, rules)
    return tune(bidder, name, grid, episodes, rules, objective=objective).bidder


def _closeness(measure: str, target: float) -> Callable[[ReplayResult], NDArray[np.float64]]:
    """Minus the mean relative distance of the episodes from the target."""

    def score(result: ReplayResult) -> NDArray[np.float64]:
        if measure == "win_rate":
            measured = result.wins / result.auctions
        else:
            measured = result.cost / np.maximum(result.expected_clicks, 1e-12)
        return -np.abs(measured / target - 1).mean(1)

    return score
