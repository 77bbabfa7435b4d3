"""One auction environment stepped from Python at full speed: what `gymnasium.make` gives for `BidReplay` and `BidSim`.

A compiled step costs some hundred microseconds of dispatch for a dozen operations on single numbers. Nothing random
happens inside a step that depends on the bid, so the auctions of an episode are laid out beforehand and each step is
plain Python. It gives exactly the numbers of the compiled functions; the compiled state is rebuilt where somebody
asks for it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import numpy as np
from gymnasium.error import ResetNeeded

from dynrl.auctions import AuctionRules
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.observation import ActionMode
from dynrl.envs.auctions.bidding import Auction, BiddingEnv, BiddingState, LastAuction, Totals
from dynrl.envs.auctions.picture import EpisodeCurve, episode_picture
from dynrl.faces import conversion
from dynrl.faces.episode import Episode, split_key
from dynrl.faces.gymnasium_env import GymnasiumEnv, as_array

__all__ = ["BiddingGymnasiumEnv"]

_INT = np.int64


class BiddingGymnasiumEnv(GymnasiumEnv):
    """A `GymnasiumEnv` of auctions that knows its rules, and steps in a few microseconds.

    Attributes:
        func_env: the world.
    """

    func_env: BiddingEnv

    def __init__(self, func_env: Any, params: Any = None, render_mode: str | None = None):
        self._stored: Episode | None = None
        self._run: _Run | None = None
        super().__init__(func_env, params, render_mode)
        self._discrete = func_env.action == "discrete"
        self._highest = _LARGEST if func_env.action == "multiplier" else float(func_env.delta_max)

    @property
    def rules(self) -> AuctionRules:
        """Horizon, budget, largest bid, tie and pricing, with the budget of `params`."""
        return replace(self.func_env.rules, budget=int(self._params.budget))

    @property
    def model(self) -> CampaignModel | None:
        """What agents are told of the campaign."""
        return self.func_env.model

    @property
    def action_mode(self) -> ActionMode:
        """What an action means."""
        return self.func_env.action

    @property
    def params(self) -> Any:
        """The world's constants, a pytree; setting it takes effect at once, unless the episode has options of
        its own."""
        return self._params

    @params.setter
    def params(self, params: Any) -> None:
        stored = self._episode
        GymnasiumEnv.params.fset(self, params)  # type: ignore[attr-defined]
        self._episode = stored

    @property
    def _episode(self) -> Episode | None:
        if self._run is not None and self._run.played and self._stored is not None:
            self._stored = self._run.episode(self._stored)
            self._run.played = 0
        return self._stored

    @_episode.setter
    def _episode(self, episode: Episode | None) -> None:
        self._stored = None if episode is None else conversion.to_host(episode)
        self._run = None

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Play one action; see `GymnasiumEnv.step`."""
        run = self._run
        if run is None or self._ended or run.index + 1 >= run.count:
            if self._stored is None or self._ended:
                why = "the episode has ended" if self._ended else "the environment was never reset"
                raise ResetNeeded(f"cannot step: {why}; call reset() first.")
            run = self._laid_out()
        wish = self._wish(action)
        observation, reward, terminated, truncated, info = run.play(wish)
        self._ended = terminated or truncated
        return observation, reward, terminated, truncated, info

    def render(self) -> np.ndarray | None:
        """The picture `[H, W, 3]` uint8 of the episode so far, None without a render mode.

        Raises:
            gymnasium.error.ResetNeeded: never reset.
        """
        if self.render_mode is None:
            return None
        if self._stored is None:
            raise ResetNeeded("cannot render: the environment was never reset; call reset() first.")
        return (self._laid_out() if self._run is None else self._run).picture()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_on_device": None}

    def _laid_out(self) -> _Run:
        """The auctions that follow, as lists of Python numbers."""
        before, stored = self._run, self._episode
        assert stored is not None
        params = self._params if self._option_params is None else self._option_params
        curve = None if before is None else before.curve
        if curve is None and self.render_mode is not None:
            curve = EpisodeCurve(int(params.budget), self.func_env.horizon)
        self._run = _Run(self.func_env, stored, params, curve)
        return self._run

    def _wish(self, action: Any) -> float:
        """The action as a number, checked; nothing has changed where it is refused."""
        kind = type(action)
        if self._discrete:
            if (kind is int or kind is np.int64) and 0 <= action <= self._highest:
                return int(action)
        elif kind is np.ndarray and action.dtype == np.float32 and action.shape == (1,):
            number = action.item()
            if 0.0 <= number <= self._highest:
                return number
        checked = self.func_env.check_actions(as_array(action)[None])[0]
        return checked.reshape(-1)[0].item()


_LARGEST = float(np.finfo(np.float32).max)


class _Run:
    """An episode in Python numbers, from some auction of it on.

    Attributes:
        index: place in the lists of the auction on offer.
        count: length of the lists; the last entry cannot be played.
        played: auctions held since the compiled state was last written down.
        curve: for the picture; None where nobody will draw it.
    """

    def __init__(self, env: BiddingEnv, episode: Episode, params: Any, curve: EpisodeCurve | None):
        state: BiddingState = episode.state
        ahead, complete = env.upcoming(state, episode.key, params)
        offers = [[now.item(), *later.tolist()] for now, later in zip(state.offer, ahead, strict=True)]
        if complete:
            for column, nothing in zip(offers, _NOTHING, strict=True):
                column.append(nothing)
        self.clicks_of, self.price, self.theta, self.floor, self.segment = offers
        self.count, self.index, self.played, self.curve = len(self.price), 0, 0, curve
        self.segments = np.asarray(params.segments)
        self.horizon, self.budget, self.delta_max = env.horizon, int(params.budget), env.delta_max
        self.click_value, self.least_price = float(params.value), int(params.least_price)
        self.multiplies, self.first_price = env.action == "multiplier", env.pricing == "first"
        self.objective, self.needs_more = env.objective, int(env.tie == "lose")
        self.tells_price, self.tells_needed = env.feedback != "win_only", env.feedback == "min_bid_to_win"
        self.as_dict, self.show_segment, self.end_when_broke = (
            env.obs == "dict",
            env.show_segment,
            env.end_when_broke,
        )
        self.complete, self.last = complete, state.last
        self.t_left, self.b_left = int(state.t_left), int(state.b_left)
        self.row, self.episode_number = int(state.row), int(state.episode)
        self.wins, self.clicks, self.cost = (int(number) for number in state.totals[:3])
        self.expected_clicks = float(state.totals.expected_clicks)

    def play(self, wish: float) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Hold the auction on offer; what `Env.step` returns."""
        index = self.index
        price, theta, floor = self.price[index], self.theta[index], self.floor[index]
        if self.multiplies:
            wish *= theta
        bid, limit = int(wish), min(self.b_left, self.delta_max)
        clipped = bid > limit
        if clipped:
            bid = limit
        won = bid >= price + self.needs_more and bid >= floor
        cost = click = 0
        if won:
            cost, click = (bid if self.first_price else max(price, floor)), self.clicks_of[index]
            self.wins += 1
            self.clicks += click
            self.cost += cost
            self.expected_clicks += theta
            self.b_left -= cost
        self.t_left -= 1
        row = self.row
        self.row = row + 1
        self.index = index + 1
        self.played += 1
        self.outcome = (bid, clipped, won, cost, click)
        info = {
            "won": won,
            "cost": cost,
            "click": click,
            "theta": theta,
            "bid": bid,
            "clipped": clipped,
            "t_left": self.t_left,
            "b_left": self.b_left,
            "row": row,
            "episode_number": self.episode_number,
        }
        if won or self.tells_price:
            info["market_price"] = price
            if self.tells_needed:
                info["min_bid_to_win"] = max(price + self.needs_more, floor)
        if self.objective == "click":
            reward = float(click)
        elif self.objective == "pctr":
            reward = theta if won else 0.0
        else:
            reward = self.click_value * click - cost
        terminated = self.t_left <= 0 or (self.end_when_broke and self.b_left < self.least_price)
        truncated = not terminated and self.complete and self.index + 1 >= self.count
        if terminated or truncated:
            info["totals"] = self.totals()
        if self.curve is not None:
            self.curve.add(self.horizon - self.t_left, self.cost, won, click > 0)
            self.curve.bids.append((bid, info.get("market_price"), won))
        return self.observation(), reward, terminated, truncated, info

    def observation(self) -> Any:
        """What the agent sees of the auction on offer."""
        index = self.index
        theta, floor = self.theta[index], self.floor[index]
        if self.as_dict:
            shown: dict[str, Any] = {
                "t_left": _INT(self.t_left),
                "b_left": np.array([self.b_left]),
                "theta": np.array([theta]),
                "floor": np.array([floor]),
            }
            if self.show_segment:
                shown["segment"] = _INT(self.segment[index])
            return shown
        numbers = [self.t_left / self.horizon, self.b_left / self.budget, theta, floor / self.delta_max]
        if self.show_segment:
            numbers += ((self.segments == self.segment[index]) & (self.t_left > 0)).tolist()
        return np.array(numbers, np.float32)

    def totals(self) -> dict[str, Any]:
        """Sums over the episode so far."""
        return Totals(self.wins, self.clicks, self.cost, self.expected_clicks)._asdict()

    def episode(self, since: Episode) -> Episode:
        """The compiled state now, `played` auctions after `since`."""
        last = self.index - 1
        bid, clipped, won, cost, click = self.outcome
        state = BiddingState(
            t_left=_INT(self.t_left),
            b_left=_INT(self.b_left),
            row=_INT(self.row),
            episode=_INT(self.episode_number),
            offer=self._auction(self.index),
            last=LastAuction(
                self._auction(last), _INT(bid), np.bool_(clipped), np.bool_(won), _INT(cost), _INT(click)
            ),
            totals=Totals(
                _INT(self.wins), _INT(self.clicks), _INT(self.cost), np.float64(self.expected_clicks)
            ),
        )
        state = jax.tree.map(np.asarray, state)
        key = np.array(_key_after(since.key, self.played))
        return Episode(state, key, np.asarray(since.elapsed + self.played, np.int32))

    def picture(self) -> np.ndarray:
        """The episode so far."""
        curve = EpisodeCurve(self.budget, self.horizon) if self.curve is None else self.curve
        return episode_picture(curve, self.totals())

    def _auction(self, index: int) -> Auction:
        columns = (self.clicks_of, self.price, self.theta, self.floor, self.segment)
        kinds = (_INT, _INT, np.float64, _INT, _INT)
        return Auction(*(kind(column[index]) for column, kind in zip(columns, kinds, strict=True)))


_NOTHING = (0, 0, 0.0, 0, 0)


@jax.jit
def _key_after(key: Any, steps: Any) -> Any:
    return jax.lax.fori_loop(0, steps, lambda _, key: split_key(key)[0], key)
