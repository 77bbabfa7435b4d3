"""What the environments with one auction per step have in common: spaces, rules, rewards, what is told afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from gymnasium import Space, spaces

from dynrl.auctions import DELTA_MAX, AuctionRules, Campaign
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.observation import ActionMode
from dynrl.auctions.replay import settle
from dynrl.envs.auctions.picture import EpisodeCurve, episode_picture
from dynrl.functional import FunctionalEnv

__all__ = ["Auction", "BiddingEnv", "BiddingState", "LastAuction", "Totals", "resolved_budget"]


class Auction(NamedTuple):
    """One request, every leaf `[]`, or a column of them.

    Attributes:
        click: clicks (0 or 1, or a count) that the impression brings.
        price: market price in ticks.
        theta: predicted click probability.
        floor: reserve price in ticks, 0 without one.
        segment: segment number, 0 without segments.
    """

    click: Any
    price: Any
    theta: Any
    floor: Any
    segment: Any


class LastAuction(NamedTuple):
    """How the last auction ended, leaves `[]`: the request, ticks bid, whether the wish was cut, whether it was won,
    ticks paid, clicks received."""

    auction: Auction
    bid: Any
    clipped: Any
    won: Any
    cost: Any
    click: Any


class Totals(NamedTuple):
    """Sums over the episode so far, leaves `[]`: impressions won, clicks, ticks paid, theta of the impressions won."""

    wins: Any
    clicks: Any
    cost: Any
    expected_clicks: Any


class BiddingState(NamedTuple):
    """Attributes:
    t_left: auctions left, the one on offer included.
    b_left: ticks left.
    row: row of the auction on offer.
    episode: number of the episode.
    offer: the auction on offer, all zero when the episode is over.
    last: how the last auction ended.
    totals: sums over the episode.
    """

    t_left: Any
    b_left: Any
    row: Any
    episode: Any
    offer: Auction
    last: LastAuction
    totals: Totals


@dataclass(frozen=True, kw_only=True)
class BiddingEnv(FunctionalEnv):
    """One auction per step, from a log (`BidReplay`) or a market (`BidSim`), whose docstrings are the manual.

    Subclasses say where auctions come from. Their `params` are NamedTuples with at least `budget`, `value` and
    `least_price` (all `[]`) and `segments` `[S]`, the segment numbers.
    """

    x64: ClassVar[bool] = True
    gymnasium_class: ClassVar[str | None] = "dynrl.envs.auctions.face:BiddingGymnasiumEnv"
    metadata: ClassVar[Mapping[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}
    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        "horizon": (7, 50),
        "budget_ratio": (1 / 32, 0.5),
        "tie": ("win", "lose"),
        "pricing": ("second", "first"),
        "obs": ("box", "dict"),
        "action": ("bid", "discrete", "multiplier"),
        "objective": ("click", "pctr", "profit"),
        "feedback": ("win_only", "full", "min_bid_to_win"),
        "show_segment": (False, True),
        "end_when_broke": (False, True),
    }

    horizon: int = 1000
    budget: int | None = field(default=None, compare=False)
    budget_ratio: float = field(default=0.125, compare=False)
    delta_max: int = DELTA_MAX
    tie: Literal["win", "lose"] = "win"
    pricing: Literal["second", "first"] = "second"
    obs: Literal["box", "dict"] = "box"
    action: ActionMode = "bid"
    objective: Literal["click", "pctr", "profit"] = "click"
    value: float | None = field(default=None, compare=False)
    feedback: Literal["win_only", "full", "min_bid_to_win"] = "win_only"
    show_segment: bool = False
    end_when_broke: bool = False
    campaign: Campaign | None = field(default=None, compare=False)
    model: CampaignModel | None = field(default=None, compare=False)

    def _check_settings(self) -> None:
        for name, choices in (
            ("obs", ("box", "dict")),
            ("action", ("bid", "discrete", "multiplier")),
            ("objective", ("click", "pctr", "profit")),
            ("feedback", ("win_only", "full", "min_bid_to_win")),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, expected one of {', '.join(map(repr, choices))}"
                )
        if self.value is not None and not (np.isfinite(self.value) and self.value >= 0):
            raise ValueError(f"value is {self.value}, expected the worth of a click in ticks")
        _ = self.rules

    def known_campaign(self) -> Campaign:
        """The counts that a budget ratio and the worth of a click are taken from."""
        raise NotImplementedError

    @cached_property
    def rules(self) -> AuctionRules:
        """Horizon, budget, largest bid, tie and pricing behind the default `params`."""
        budget = resolved_budget(self.budget, self.budget_ratio, self.horizon, self.known_campaign)
        return AuctionRules(self.horizon, budget, self.delta_max, self.tie, self.pricing)

    def click_value(self) -> float:
        """Ticks that a click is worth, for `objective="profit"`: `value`, or the campaign's cost per click."""
        if self.value is not None:
            return float(self.value)
        return self.known_campaign().cpc if self.objective == "profit" else 0.0

    @property
    def least_segment(self) -> int:
        """-1 where some auctions belong to no segment, else 0."""
        return 0

    @cached_property
    def action_space(self) -> Space:  # type: ignore[override]
        if self.action == "discrete":
            return spaces.Discrete(self.delta_max + 1)
        return spaces.Box(0.0, float(self.delta_max) if self.action == "bid" else np.inf, (1,), np.float32)

    @cached_property
    def observation_space(self) -> Space:  # type: ignore[override]
        segments = len(self.default_params.segments)
        least = self.least_segment
        if self.obs == "box":
            width = 4 + (segments if self.show_segment else 0)
            high = np.ones(width, np.float32)
            high[3] = np.inf
            return spaces.Box(np.zeros(width, np.float32), high, dtype=np.float32)
        known = {
            "t_left": spaces.Discrete(self.horizon + 1),
            "b_left": spaces.Box(0, self.rules.budget, (1,), np.int64),
            "theta": spaces.Box(0.0, 1.0, (1,), np.float64),
            "floor": spaces.Box(0, np.iinfo(np.int64).max, (1,), np.int64),
        }
        if self.show_segment:
            known["segment"] = spaces.Discrete(segments - least, start=least)
        return spaces.Dict(known)

    def next_offer(self, row: Any, rng: Any, params: Any) -> Auction:
        """The auction of `row`."""
        raise NotImplementedError

    def upcoming(self, state: BiddingState, key: np.ndarray, params: Any) -> tuple[Auction, bool]:
        """The auctions that will follow the one on offer in `state`, columns `[n]` of NumPy arrays, and whether they
        are all that can follow in this episode.

        Args:
            state: in NumPy.
            key: the episode's raw key `[2]`, as it stands with `state`.
            params: in NumPy.
        """
        raise NotImplementedError

    def begun(self, row: Any, episode: Any, rng: Any, params: Any) -> BiddingState:
        """The state at the start of an episode whose first auction is `row`."""
        zero, none = jnp.zeros((), int), jnp.zeros((), float)
        nothing = Auction(zero, zero, none, zero, zero)
        return BiddingState(
            t_left=jnp.asarray(self.horizon, int),
            b_left=jnp.asarray(params.budget, int),
            row=jnp.asarray(row, int),
            episode=jnp.asarray(episode, int),
            offer=self.next_offer(row, rng, params),
            last=LastAuction(nothing, zero, jnp.zeros((), bool), jnp.zeros((), bool), zero, zero),
            totals=Totals(zero, zero, zero, none),
        )

    def transition(self, state: BiddingState, action: Any, rng: Any, params: Any = None) -> BiddingState:
        offer = state.offer
        wish = action if self.action == "discrete" else action[0]
        wish = jnp.asarray(wish, float)
        if self.action == "multiplier":
            wish = wish * offer.theta
        wish = jnp.floor(jnp.where(wish > 0, wish, 0.0))  # also for the NaN that nobody could refuse
        limit = jnp.minimum(state.b_left, self.delta_max)
        bid = jnp.minimum(wish, limit.astype(float)).astype(int)
        won, cost = settle(bid, offer.price, offer.floor, self.tie, self.pricing)
        click = jnp.where(won, offer.click, 0)
        t_left = state.t_left - 1
        following = self.next_offer(state.row + 1, rng, params)
        totals = state.totals
        return BiddingState(
            t_left=t_left,
            b_left=state.b_left - cost,
            row=state.row + 1,
            episode=state.episode,
            offer=Auction(*(jnp.where(t_left > 0, leaf, jnp.zeros_like(leaf)) for leaf in following)),
            last=LastAuction(offer, bid, wish > limit, won, cost, click),
            totals=Totals(
                totals.wins + won,
                totals.clicks + click,
                totals.cost + cost,
                totals.expected_clicks + jnp.where(won, offer.theta, 0.0),
            ),
        )

    def observation(self, state: BiddingState, rng: Any, params: Any = None) -> Any:
        offer = state.offer
        if self.obs == "dict":
            shown = {
                "t_left": state.t_left,
                "b_left": state.b_left[None],
                "theta": offer.theta[None],
                "floor": offer.floor[None],
            }
            return shown | ({"segment": offer.segment} if self.show_segment else {})
        numbers = jnp.stack(
            [
                state.t_left / self.horizon,
                state.b_left / params.budget,
                offer.theta,
                offer.floor / self.delta_max,
            ]
        )
        if self.show_segment:
            marks = (offer.segment == params.segments) & (state.t_left > 0)
            numbers = jnp.concatenate([numbers, marks.astype(numbers.dtype)])
        return numbers.astype(jnp.float32)

    def reward(
        self, state: BiddingState, action: Any, next_state: BiddingState, rng: Any, params: Any = None
    ) -> Any:
        last = next_state.last
        if self.objective == "click":
            return last.click.astype(float)
        if self.objective == "pctr":
            return jnp.where(last.won, last.auction.theta, 0.0)
        return params.value * last.click - last.cost

    def terminal(self, state: BiddingState, rng: Any, params: Any = None) -> Any:
        over = state.t_left <= 0
        return over | (state.b_left < params.least_price) if self.end_when_broke else over

    def state_info(self, state: BiddingState, params: Any = None) -> dict[str, Any]:
        return {
            "t_left": state.t_left,
            "b_left": state.b_left,
            "row": state.row,
            "episode_number": state.episode,
        }

    def transition_info(
        self, state: BiddingState, action: Any, next_state: BiddingState, params: Any = None
    ) -> dict[str, Any]:
        last = next_state.last
        seen = last.won if self.feedback == "win_only" else jnp.ones_like(last.won)
        info = {
            "won": last.won,
            "cost": last.cost,
            "click": last.click,
            "theta": last.auction.theta,
            "bid": last.bid,
            "clipped": last.clipped,
            "t_left": next_state.t_left,
            "b_left": next_state.b_left,
            "row": state.row,
            "episode_number": next_state.episode,
            "market_price": jnp.where(seen, last.auction.price, jnp.nan),
            "market_price_seen": seen,
            "totals": next_state.totals._asdict(),
        }
        if self.feedback == "min_bid_to_win":
            needed = last.auction.price + (self.tie == "lose")
            info["min_bid_to_win"] = jnp.maximum(needed, last.auction.floor)
        return info

    def render_image(self, state: BiddingState, params: Any = None) -> np.ndarray:  # type: ignore[override]
        curve = EpisodeCurve(int(params.budget), self.horizon)
        curve.add(self.horizon - int(state.t_left), int(state.totals.cost), False, False)
        return episode_picture(curve, state.totals._asdict())


def resolved_budget(budget: int | None, ratio: float, horizon: int, campaign: Any) -> int:
    """Ticks per episode: as given, or from the ratio c0 and what `campaign()` returns.

    Raises:
        ValueError: not a positive whole number.
    """
    if budget is None:
        return campaign().budget(horizon, ratio)
    if int(budget) != budget or budget < 1:
        raise ValueError(f"budget is {budget}, expected a whole number of at least 1 tick")
    return int(budget)
