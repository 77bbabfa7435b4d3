"""Bidding against a log: one auction per step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.auctions import AuctionLog, Campaign
from dynrl.envs.auctions.bidding import Auction, BiddingEnv, BiddingState
from dynrl.envs.auctions.default_log import default_log, default_model

__all__ = ["BidReplay", "ReplayParams"]


class ReplayParams(NamedTuple):
    """Attributes:
    rows: columns `[N]` of the log.
    first: row that the first episode begins with; -1 for row 0, or a drawn episode with `shuffle_episodes`.
    budget: ticks per episode.
    value: ticks that a click is worth.
    least_price: smallest price of the log, in ticks.
    segments: `[S]` segment numbers.
    """

    rows: Auction
    first: Any
    budget: Any
    value: Any
    least_price: Any
    segments: Any


@dataclass(frozen=True)
class BidReplay(BiddingEnv):
    """Bid in the auctions of a log, one per step, as Cai et al. (WSDM 2017) evaluate bidders.

    ## Description
    An episode is T consecutive rows and B ticks. Each step shows a request with its predicted click probability; the
    bid wins where it reaches the logged market price and the reserve price, pays, and brings the logged click. Rivals
    do not react, and only impressions that the logging bidder won are known.

    ## Action space
    | `action` | space | bid in ticks |
    |---|---|---|
    | `"bid"` | `Box(0, delta_max, (1,), float32)` | the whole part |
    | `"discrete"` | `Discrete(delta_max + 1)` | the number |
    | `"multiplier"` | `Box(0, inf, (1,), float32)` | the whole part of action · theta |

    A wish above the money left (or `delta_max`) is cut to it and flagged as `clipped`; NaN, negative values and
    anything else outside the space raise ValueError.

    ## Observation space
    `obs="box"`, float32; zeros in place of the request when the episode is over:

    | index | meaning | min | max |
    |---|---|---|---|
    | 0 | auctions left / T | 0 | 1 |
    | 1 | ticks left / B | 0 | 1 |
    | 2 | predicted click probability | 0 | 1 |
    | 3 | reserve price / delta_max | 0 | inf |
    | 4 ... | segment, one-hot, with `show_segment` | 0 | 1 |

    `obs="dict"`: `t_left` Discrete(T + 1), `b_left` int64 [1] in ticks, `theta` float64 [1], `floor` int64 [1] in
    ticks, and `segment` with `show_segment` (Discrete from -1 where some rows have none).

    ## Rewards
    `objective="click"`: clicks received; `"pctr"`: theta of an impression won, the same with less noise; `"profit"`:
    `value` · clicks − ticks paid.

    ## Starting state
    The first episode begins at row 0, each further one where the log goes on, from the front again after the last;
    a seed begins at row 0 again. `shuffle_episodes` draws the episode instead. `reset(options={"episode": k})` or
    `{"start": row}` chooses one. Environments side by side all begin at the same row unless `params.first` (`[N]`) or
    `shuffle_episodes` says otherwise.

    ## Episode end
    Terminates after T auctions, or with `end_when_broke` when the money left is below the smallest price of the log.
    Truncated where the log ends inside an episode.

    ## Info
    At each step `won`, `cost`, `click`, `theta`, `bid`, `clipped` and `row` of the auction just held, `t_left` and
    `b_left` after it, `episode_number` (SB3 and Gymnasium keep `episode` for themselves), `market_price` (after a win;
    always with feedback `"full"` and `"min_bid_to_win"`), `min_bid_to_win` with that feedback, and `totals` (`wins`,
    `clicks`, `cost`, `expected_clicks`) of the episode at its end. The vector form has every key at every step:
    `market_price` is NaN where `market_price_seen` is False, `totals` are those so far.

    ## Arguments
    Those marked (params) only set the default `params`, a `ReplayParams` whose leaves may differ between environments.

    Args:
        log: auctions with click probabilities, or the path of a file that `dynrl.auctions.readers.read_log` reads; None
            for a small generated one (params).
        horizon: T, auctions per episode.
        budget: B in ticks; None for `budget_ratio` (params).
        budget_ratio: c0 in B = floor(CPM · T · c0), with the average price of `campaign`, `model`, or the log (params).
        delta_max: largest bid, in ticks.
        tie: whether a bid equal to the market price wins, `"win"` or `"lose"`.
        pricing: `"second"`: pay the market price; `"first"`: pay the bid.
        obs, action, objective, feedback, show_segment, end_when_broke: see above.
        value: ticks that a click is worth; None for the cost per click of the campaign (params).
        segment: name of the log's categories that are the segments (params).
        shuffle_episodes: draw each episode, instead of taking them in order.
        campaign: counts of the training period (params).
        model: what agents are told of the campaign before they bid.

    Raises:
        ValueError: unknown settings, a log without click probabilities, with unseen prices or fewer than T rows, or a
            budget below one tick.

    ## Version history
    v0: first version.
    """

    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        **BiddingEnv.option_choices,
        "segment": (None, "exchange"),
        "shuffle_episodes": (False, True),
    }

    log: AuctionLog | str | PathLike[str] | None = field(default=None, compare=False)
    segment: str | None = field(default=None, compare=False, kw_only=True)
    shuffle_episodes: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if self.log is None:
            object.__setattr__(self, "log", default_log())
            if self.model is None:
                object.__setattr__(self, "model", default_model())
        elif not isinstance(self.log, AuctionLog):
            from dynrl.auctions.readers import read_log

            object.__setattr__(self, "log", read_log(self.log))
        if self.segment is not None and self.segment not in self._rows.categories:
            known = ", ".join(sorted(self._rows.categories)) or "none"
            raise ValueError(f"the log has no categories {self.segment!r} to be segments; it has {known}")
        self._rows.episodes(self.horizon, self.segment)  # refuses what cannot be replayed
        self._check_settings()

    @property
    def _rows(self) -> AuctionLog:
        assert isinstance(self.log, AuctionLog)
        return self.log

    def known_campaign(self) -> Campaign:
        if self.campaign is not None:
            return self.campaign
        return Campaign.from_log(self._rows, self.delta_max) if self.model is None else self.model.campaign

    def get_default_params(self) -> ReplayParams:  # type: ignore[override]
        columns = self._rows.episodes(len(self._rows), self.segment)
        rows = Auction(*(getattr(columns, name)[:, 0] for name in Auction._fields))
        count = 1 if self.segment is None else len(self._rows.categories[self.segment].names)
        return ReplayParams(
            rows=rows,
            first=np.int64(-1),
            budget=np.int64(self.rules.budget),
            value=np.float64(self.click_value()),
            least_price=np.int64(rows.price.min()),
            segments=np.arange(count, dtype=np.int32),
        )

    @property
    def least_segment(self) -> int:
        return min(int(self.default_params.rows.segment.min()), 0)

    def apply_options(self, params: ReplayParams, options: Mapping[str, Any]) -> ReplayParams:
        """Reset options `episode`, its number, or `start`, its first row."""
        unknown = sorted(set(options) - {"episode", "start"})
        if unknown or len(options) > 1:
            raise ValueError(
                f"unknown reset option {unknown[0]!r}; they are 'episode' and 'start'"
                if unknown
                else "reset options 'episode' and 'start' exclude each other"
            )
        rows = len(params.rows.price)
        for name, value in options.items():
            count = rows if name == "start" else -(-rows // self.horizon)
            if not isinstance(value, (int, np.integer)) or not 0 <= value < count:
                raise ValueError(
                    f"reset option {name} is {value!r}, expected a whole number from 0 to {count - 1}"
                )
            first = int(value) if name == "start" else int(value) * self.horizon
            return params._replace(first=np.int64(first))
        return params

    def next_offer(self, row: Any, rng: Any, params: ReplayParams) -> Auction:
        inside = row < params.rows.price.shape[0]
        types = (int, int, float, int, int)
        return Auction(
            *(
                jnp.where(inside, jnp.asarray(column)[row], 0).astype(kind)
                for column, kind in zip(params.rows, types, strict=True)
            )
        )

    def initial(self, rng: Any, params: Any = None) -> BiddingState:
        row = jnp.maximum(params.first, 0)
        if self.shuffle_episodes:
            row = jnp.where(params.first < 0, self._drawn(rng, params), row)
        return self._from_row(row, rng, params)

    def following(self, last: BiddingState, rng: Any, params: Any = None) -> BiddingState:
        if self.shuffle_episodes:
            return self._from_row(self._drawn(rng, params), rng, params)
        row = (last.episode + 1) * self.horizon
        return self._from_row(jnp.where(row < params.rows.price.shape[0], row, 0), rng, params)

    def _from_row(self, row: Any, rng: Any, params: Any) -> BiddingState:
        return self.begun(row, row // self.horizon, rng, params)

    def _drawn(self, rng: Any, params: Any) -> Any:
        episodes = -(-params.rows.price.shape[0] // self.horizon)
        return jax.random.randint(rng, (), 0, episodes, int) * self.horizon

    def truncated(self, state: BiddingState, rng: Any, params: Any = None) -> Any:
        return state.row >= params.rows.price.shape[0]

    def upcoming(self, state: BiddingState, key: np.ndarray, params: Any) -> tuple[Auction, bool]:
        first = int(state.row) + 1
        ahead = slice(first, first + int(state.t_left) - 1)
        return Auction(*(column[ahead] for column in params.rows)), True
