"""ORTB: bids that are optimal when the chance of winning follows a simple curve (Zhang et al., KDD 2014)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from dynrl.agents.auctions.agent import BidAgent
from dynrl.agents.auctions.tuning import Objective, average_bids, match_spend, training_episodes, tune
from dynrl.auctions.bidder import Bidder, Request
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.rules import AuctionRules
from dynrl.auctions.serving import Ortb1Policy, Ortb2Policy
from dynrl.errors import ConfigError

__all__ = [
    "ORTB1",
    "ORTB2",
    "Ortb1Bidder",
    "Ortb2Bidder",
    "OrtbConfig",
    "fit_win_curve",
    "ortb1_bid",
    "ortb2_bid",
]


def ortb1_bid(theta: Any, c: Any, lam: Any) -> Any:
    """`sqrt(c theta / lam + c^2) - c`, the maximiser of `(theta - lam a) w(a)` for `w(a) = a / (c + a)`, in ticks."""
    return jnp.sqrt(c * theta / lam + c**2) - c


def ortb2_bid(theta: Any, c: Any, lam: Any) -> Any:
    """The maximiser of `(theta - lam a) w(a)` for `w(a) = a^2 / (c^2 + a^2)`, in ticks.

    The real root of `a^3 + 3 c^2 a = 2 c^2 theta / lam` by Cardano's formula.
    """
    root = jnp.cbrt((theta + jnp.sqrt((c * lam) ** 2 + theta**2)) / (c * lam))
    return c * (root - 1 / root)


def fit_win_curve(cdf: NDArray[np.float64], power: Literal[1, 2]) -> float:
    """c of the curve `a^power / (c^power + a^power)` that is nearest to a win rate, by least squares.

    Args:
        cdf: `[delta_max + 1]`, chance that a bid of 0, 1, ... ticks wins.
        power: 1 for ORTB1, 2 for ORTB2.
    """
    from scipy.optimize import minimize_scalar

    bids = np.arange(len(cdf), dtype=np.float64)

    def misfit(log_c: float) -> float:
        return float(((bids**power / (np.exp(power * log_c) + bids**power) - cdf) ** 2).sum())

    # the misfit may have several valleys on a spiky curve, so look at all scales before descending
    grid = np.linspace(np.log(0.1), np.log(100 * len(cdf)), 200)
    best = int(np.argmin([misfit(value) for value in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    return float(np.exp(minimize_scalar(misfit, bounds=(low, high), method="bounded").x))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Ortb1Bidder(Bidder):
    """`floor(sqrt(c theta / lam + c^2) - c)`.

    Attributes:
        c: ticks at which half of the auctions are won.
        lam: clicks per tick, the price of money.
        delta_max: largest bid, in ticks.
    """

    c: Any
    lam: Any
    delta_max: Any

    def bid(self, memory: Any, request: Request) -> tuple[Any, Any]:
        return jnp.floor(ortb1_bid(request.theta, self.c, self.lam)), memory

    def serving(self) -> Ortb1Policy:
        return Ortb1Policy(float(self.c), float(self.lam), int(self.delta_max))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Ortb2Bidder(Bidder):
    """`ortb2_bid`, floored; attributes as those of `Ortb1Bidder`."""

    c: Any
    lam: Any
    delta_max: Any

    def bid(self, memory: Any, request: Request) -> tuple[Any, Any]:
        return jnp.floor(ortb2_bid(request.theta, self.c, self.lam)), memory

    def serving(self) -> Ortb2Policy:
        return Ortb2Policy(float(self.c), float(self.lam), int(self.delta_max))


@dataclass(frozen=True)
class OrtbConfig:
    """Settings of `ORTB1` and `ORTB2`.

    Attributes:
        c: of the win curve, in ticks; None to fit it to the market's prices.
        lam: clicks per tick; None to choose it.
        tuning: `"replay"` of the training rows over 64 values evenly spaced in the logarithm, or `"spend"`: the one
            whose expected spend in the market model meets the budget (needs no training rows).
        objective: what the replay maximises.
    """

    c: float | None = None
    lam: float | None = None
    tuning: Literal["replay", "spend"] = "replay"
    objective: Objective = "clicks"

    def __post_init__(self) -> None:
        for name in ("c", "lam"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} is {value}, expected a positive number")


class ORTB1(BidAgent):
    """Optimal bidding when bid `a` wins with probability `a / (c + a)`: concave in the click probability.

    Bids more than a linear bidder on cheap requests and less on dear ones. Use it as the classical non-linear baseline,
    and in first-price auctions, for which its derivation really holds: it charges the bid itself. It does not react to
    the money left.

    `c` and `lam` are found by the constructor: `learn` changes nothing.

    Source: Zhang, Yuan and Wang, "Optimal real-time bidding for display advertising", KDD 2014, equation 13.

    Attributes:
        c, lam: the values in use.
    """

    Config = OrtbConfig
    bidder_class: ClassVar[Callable[..., Any]] = Ortb1Bidder
    power: ClassVar[Literal[1, 2]] = 1

    @classmethod
    def make_bidder(cls, config: Any, model: CampaignModel, rules: AuctionRules) -> Any:
        market = model.market
        c = fit_win_curve(np.cumsum(market.price_pmf), cls.power) if config.c is None else config.c
        if config.lam is not None:
            return cls.bidder_class(c, config.lam, rules.delta_max)
        # lam at which the request of average click probability gets each of the bids
        lams = market.theta_avg * _price_of_money(average_bids(rules), c, cls.power)
        bidder = cls.bidder_class(c, lams[0], rules.delta_max)
        if config.tuning == "replay":
            episodes = training_episodes(model, rules)
            # `ties` prefers the last, the smallest lam and largest bid, as for Lin
            return tune(bidder, "lam", lams, episodes, rules, objective=config.objective).bidder
        formula = ortb1_bid if cls.power == 1 else ortb2_bid
        with jax.enable_x64(True):
            strength = match_spend(
                market,
                lambda s: np.asarray(formula(jnp.asarray(market.theta), c, 1 / s)),
                rules,
                1 / lams[0] / 1e3,
                1 / lams[-1] * 1e3,
            )
        return cls.bidder_class(c, 1 / strength, rules.delta_max)

    @property
    def c(self) -> float:
        return float(self.bidder.c)

    @property
    def lam(self) -> float:
        return float(self.bidder.lam)


class ORTB2(ORTB1):
    """Optimal bidding when bid `a` wins with probability `a^2 / (c^2 + a^2)`: hardly any auction is won at low bids.

    As `ORTB1` in everything else.

    Source: Zhang, Yuan and Wang, KDD 2014, equation 17.
    """

    bidder_class: ClassVar[Callable[..., Any]] = Ortb2Bidder
    power: ClassVar[Literal[1, 2]] = 2


def _price_of_money(bid: NDArray[np.float64], c: float, power: int) -> NDArray[np.float64]:
    """lam at which a request of click probability 1 gets `bid`: the formulas solved for lam."""
    if power == 1:
        return c / ((bid + c) ** 2 - c**2)
    return 2 * c**2 / (bid**3 + 3 * c**2 * bid)
