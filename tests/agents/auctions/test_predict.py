"""The agents as users meet them: through an environment, SB3's `evaluate_policy`, save and load."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dynrl.agents.auctions.constant import Constant, Random
from dynrl.agents.auctions.drlb import DRLB
from dynrl.agents.auctions.feedback import PID, WaterLevel
from dynrl.agents.auctions.fluid import Fluid
from dynrl.agents.auctions.linear import Lin, Mcpc
from dynrl.agents.auctions.ortb import ORTB1, ORTB2
from dynrl.agents.auctions.pacing import BSLB, AdaptivePacing
from dynrl.agents.auctions.shading import Shading
from dynrl.agents.auctions.target_cpa import TargetCPA
from dynrl.agents.auctions.throttling import Throttling
from dynrl.auctions.log import AuctionLog
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.replay import replay

T, B = 50, 400
STEADY: list[Any] = [
    (Constant, {}),
    (Mcpc, {}),
    (Lin, {}),
    (ORTB1, {}),
    (ORTB2, {"tuning": "spend"}),
    (Fluid, {}),
    (BSLB, {}),
    (AdaptivePacing, {"rate": 0.01}),
    (PID, {"gains": (0.3, 0.1, 0.0)}),
    (WaterLevel, {"gain": 0.2}),
    (TargetCPA, {}),
    (DRLB, {"slots": 5, "width": 8, "depth": 1, "memory": 100, "parallel": 4}),
    (Shading, {}),
    (Shading, {"value": 800.0}),
]


@pytest.fixture(scope="module")
def made(draw_log: Callable[..., AuctionLog]) -> Callable[..., Any]:
    from dynrl.envs.auctions import BidReplay
    from dynrl.envs.auctions.face import BiddingGymnasiumEnv

    model = CampaignModel.from_log(draw_log(2000, 0), delta_max=60)
    log = draw_log(T * 4, 1)

    def make(**settings: Any) -> Any:
        return BiddingGymnasiumEnv(BidReplay(log, horizon=T, budget=B, delta_max=60, model=model, **settings))

    return make


@pytest.mark.parametrize(("kind", "settings"), STEADY)
def test_predict_plays_the_replayed_episodes(
    made: Callable[..., Any], draw_log: Callable[..., AuctionLog], kind: Any, settings: dict[str, Any]
) -> None:
    evaluation = pytest.importorskip("stable_baselines3.common.evaluation")
    env = made(obs="dict", pricing="first" if kind is Shading else "second")
    agent = kind(env, seed=1, **settings)
    returns, lengths = evaluation.evaluate_policy(agent, env, 4, return_episode_rewards=True, warn=False)
    result = replay(agent.bidder, draw_log(T * 4, 1).episodes(T), agent.rules)
    assert lengths == [T] * 4
    np.testing.assert_array_equal(sorted(returns), sorted(result.clicks))


@pytest.mark.parametrize("kind", [Random, Throttling])
def test_agents_that_draw_play_whole_episodes(made: Callable[..., Any], kind: Any) -> None:
    env = made()
    agent = kind(env, seed=1)
    agent.learn(T)
    observation, _ = env.reset(seed=0)
    spent, done = 0, False
    while not done:
        action, _ = agent.predict(observation)
        observation, _, done, _, info = env.step(action)
        spent += info["cost"]
    assert 0 < spent <= B
    draws = [[kind(env, seed=seed).policy.bid(t, B, 0.05) for t in (T,)] for seed in (1, 1)]
    assert draws[0] == draws[1]
    one, other = (kind(env, seed=seed).policy for seed in (1, 2))
    assert [one.bid(t, B, 0.05) for t in range(T, 0, -1)] != [other.bid(t, B, 0.05) for t in range(T, 0, -1)]


def test_saved_agents_bid_the_same(made: Callable[..., Any], tmp_path: Path) -> None:
    for kind, settings in STEADY:
        env = made(pricing="first" if kind is Shading else "second")
        agent = kind(env, seed=1, **settings)
        agent.save(tmp_path / "agent")
        again = kind.load(tmp_path / "agent", env)
        bids = [[one.policy.bid(t, 10 * t, 0.05) for t in range(T, 0, -1)] for one in (agent, again)]
        assert bids[0] == bids[1], kind
