"""Bidding in a simulated market: one auction per step."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.auctions import Campaign, Market
from dynrl.auctions.model import CampaignModel
from dynrl.envs.auctions.bidding import Auction, BiddingEnv, BiddingState
from dynrl.envs.auctions.default_log import default_model
from dynrl.faces.episode import split_key

__all__ = ["BidSim", "MarketTables", "SimParams", "draw_auction", "market_tables", "model_of", "request_from"]

_CHUNK = 1024
"""Auctions that the single-step face draws at a time."""


class MarketTables(NamedTuple):
    """A `Market` as cumulative tables.

    Attributes:
        share: `[S]` cumulative probability of the segments.
        price: `[S, delta_max + 1]` cumulative price probability; what is missing to 1 is never won.
        theta: `[S, K]` click probabilities.
        theta_mass: `[S, K]` their cumulative probabilities.
    """

    share: Any
    price: Any
    theta: Any
    theta_mass: Any


class SimParams(NamedTuple):
    """Attributes:
    market: cumulative tables.
    budget: ticks per episode.
    value: ticks that a click is worth.
    least_price: smallest price that occurs, in ticks.
    segments: `[S]` segment numbers.
    """

    market: MarketTables
    budget: Any
    value: Any
    least_price: Any
    segments: Any


@dataclass(frozen=True)
class BidSim(BiddingEnv):
    """Bid in a market of independent requests, one per step.

    ## Description
    Each request belongs to a segment; within it, the click probability comes from the segment's atoms and the market
    price, independently, from its price probabilities (by the inverse distribution function). An impression is clicked
    with exactly that probability. Prices above `delta_max`, the tail of the market, are never won.

    Actions, observations, rewards, info and the other arguments are those of `BidReplay`; the reserve price is 0,
    `row` counts auctions and `episode_number` episodes since the last seed.

    ## Starting state
    T auctions and B ticks left, and the first request. Each step draws four uniform numbers from its key, in the order
    segment, price, theta, click, whatever the bid: with one seed every bidder meets the same auctions.

    ## Episode end
    Terminates after T auctions, or with `end_when_broke` when the money left is below the smallest price that occurs.

    Args:
        market: None for that of `model`, or of a small generated campaign (params).
        model: what agents are told of the campaign before they bid; None for the truth about `market`.

    Raises:
        ValueError: unknown settings, a market with another `delta_max`, or a budget below one tick.

    ## Version history
    v0: first version.
    """

    market: Market | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.market is None:
            model = default_model() if self.model is None else self.model
            object.__setattr__(self, "market", model.market)
            object.__setattr__(self, "model", model)
        elif self.model is None:
            object.__setattr__(self, "model", model_of(self.market))
        if self._world.delta_max != self.delta_max:
            raise ValueError(
                f"the market has prices up to {self._world.delta_max}, but delta_max is {self.delta_max}; "
                "they must be the same"
            )
        self._check_settings()

    @property
    def _world(self) -> Market:
        assert self.market is not None
        return self.market

    @cached_property
    def _truth(self) -> Campaign:
        return model_of(self._world).campaign

    def known_campaign(self) -> Campaign:
        return self._truth if self.campaign is None else self.campaign

    def get_default_params(self) -> SimParams:  # type: ignore[override]
        return SimParams(
            market=market_tables(self._world),
            budget=np.int64(self.rules.budget),
            value=np.float64(self.click_value()),
            least_price=np.int64((self._world.price_pmf > 0).argmax()),
            segments=np.arange(len(self._world.share), dtype=np.int32),
        )

    def next_offer(self, row: Any, rng: Any, params: SimParams) -> Auction:
        return draw_auction(rng, params.market)

    def initial(self, rng: Any, params: Any = None) -> BiddingState:
        return self.begun(0, 0, rng, params)

    def following(self, last: BiddingState, rng: Any, params: Any = None) -> BiddingState:
        return self.begun(last.row, last.episode + 1, rng, params)

    def upcoming(self, state: BiddingState, key: np.ndarray, params: Any) -> tuple[Auction, bool]:
        left = int(state.t_left) - 1
        count = min(_CHUNK, self.horizon)
        with jax.enable_x64(self.x64):
            columns = jax.device_get(_draw_ahead(key, params.market, count))
        return Auction(*(column[:left] for column in columns)), left <= count


def market_tables(market: Market) -> MarketTables:
    """The market as what `draw_auction` looks up."""
    price = market.pmf.cumsum(1)
    # Without a tail, no uniform number may fall between a sum of 1 - 1e-16 and 1.
    price[:, -1] = np.where(price[:, -1] > 1 - 1e-9, 1.0, price[:, -1])
    return MarketTables(
        share=market.share.cumsum(), price=price, theta=market.theta, theta_mass=market.theta_mass.cumsum(1)
    )


def draw_auction(rng: Any, market: MarketTables) -> Auction:
    """One request, its market price and whether the impression would be clicked."""
    return request_from(jax.random.uniform(rng, (4,), float), market)


def request_from(uniforms: Any, market: MarketTables) -> Auction:
    """The request that four uniform numbers `[4]` (segment, price, theta, click) stand for; a price of `delta_max + 1`
    means the tail, never won."""
    of_segment, of_price, of_theta, of_click = uniforms
    segment = _index(jnp.asarray(market.share), of_segment, len(market.share) - 1)
    price = _index(jnp.asarray(market.price)[segment], of_price, market.price.shape[1])
    atom = _index(jnp.asarray(market.theta_mass)[segment], of_theta, market.theta.shape[1] - 1)
    theta = jnp.asarray(market.theta)[segment, atom]
    return Auction((of_click < theta).astype(int), price, theta, jnp.zeros((), int), segment)


def _index(cumulative: Any, uniform: Any, largest: int) -> Any:
    found = jnp.searchsorted(cumulative, uniform, side="right", method="scan_unrolled")
    return jnp.minimum(found, largest).astype(int)


@partial(jax.jit, static_argnums=2)
def _draw_ahead(key: Any, market: MarketTables, count: int) -> Auction:
    _, keys = jax.lax.scan(lambda key, _: split_key(key), key, length=count)
    return jax.vmap(draw_auction, in_axes=(0, None))(keys, market)


def model_of(market: Market, impressions: int = 1_000_000) -> CampaignModel:
    """The truth about a market as a campaign of so many impressions with the expected counts."""
    counts = np.rint(market.price_pmf * impressions).astype(np.int64)
    above = max(impressions - int(counts.sum()), 0)
    total = int(counts.sum()) + above
    cost = int(counts @ np.arange(len(counts)))
    return CampaignModel(
        Campaign(total, round(market.theta_avg * total), cost, counts, above), market, train=None
    )
