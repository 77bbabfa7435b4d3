"""A bidding strategy as an agent: `learn`, `predict`, `save`, `load` around a `Bidder`."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from dynrl.agent import Agent, Transition
from dynrl.auctions.bidder import Bidder
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.observation import decode, encode_bid
from dynrl.auctions.rules import AuctionRules
from dynrl.auctions.serving import BidPolicy

__all__ = ["BidAgent"]


class BidAgent(Agent):
    """Base class of the bidding agents. Subclasses define `Config` and `make_bidder`.

    What an agent knows of the campaign before the first auction is its `model` (a `CampaignModel`); environments offer
    one as `env.unwrapped.model`, and their rules as `env.unwrapped.rules`.

    Attributes:
        model: what the training period says.
        rules: horizon, budget, tie, pricing.
        bidder: the strategy, for `dynrl.auctions.replay`.
        policy: the same in NumPy, for one request at a time.
    """

    segment_name: ClassVar[str | None] = None
    model: CampaignModel
    rules: AuctionRules

    def __init__(
        self,
        env: gym.Env | str,
        config: Any = None,
        *,
        model: CampaignModel | None = None,
        seed: int | None = None,
        **overrides: Any,
    ) -> None:
        """Makes the agent, and solves or tunes it as far as the model allows.

        Args:
            env: an auction environment (`dynrl/BidReplay-v0`, `dynrl/BidSim-v0`), or its id.
            config: an instance of `Config`.
            model: what is known of the campaign; None for what the environment offers.
            seed: of the agent's generator.
            overrides: fields of `Config`.

        Raises:
            TypeError: the environment has no auction rules.
            ValueError: no model is given and the environment offers none.
        """
        made = gym.make(env) if isinstance(env, str) else env
        world: Any = made.unwrapped
        rules = getattr(world, "rules", None)
        if not isinstance(rules, AuctionRules):
            raise TypeError(
                f"{type(self).__name__} bids in auctions, but {type(world).__name__} has no auction rules; "
                "use dynrl/BidReplay-v0, dynrl/BidSim-v0 or an environment with an attribute `rules`"
            )
        given = getattr(world, "model", None) if model is None else model
        if given is None:
            raise ValueError(
                f"{type(self).__name__} needs to know prices and clicks of the campaign: pass "
                "model=CampaignModel.from_log(training_log), or give the environment one"
            )
        self.rules, self.model = rules, given
        super().__init__(made, config, seed=seed, **overrides)
        self.bidder: Any = self.own_bidder()
        self.policy: BidPolicy = self.bidder.serving()

    @classmethod
    def make_bidder(cls, config: Any, model: CampaignModel, rules: AuctionRules) -> Bidder:
        """The strategy for a campaign and its rules."""
        raise NotImplementedError

    def own_bidder(self) -> Bidder:
        """This agent's strategy; one that learns on makes it from `self.state`."""
        return self.make_bidder(self.config, self.model, self.rules)

    def initial_state(self) -> Any:
        return {"auctions": np.zeros((), np.int64)}

    def act(self, observation: Any, deterministic: bool) -> Any:
        request = decode(observation, self.rules)
        bid = self.policy.bid(*request)
        return encode_bid(bid, request.theta, getattr(self.env.unwrapped, "action_mode", "bid"))

    def update(self, transition: Transition) -> None:
        self.state = {"auctions": self.state["auctions"] + 1}
