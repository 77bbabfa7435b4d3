"""Every bidder and its NumPy twin: the same bid for every request of whole episodes, also after save and load."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from dynrl.agents.auctions.constant import ConstantBidder, RandomBidder
from dynrl.agents.auctions.drlb import DRLB
from dynrl.agents.auctions.feedback import FeedbackBidder
from dynrl.agents.auctions.fluid import FluidBidder
from dynrl.agents.auctions.fluid_plan import first_price_plan, second_price_plan
from dynrl.agents.auctions.linear import LinearBidder
from dynrl.agents.auctions.ortb import Ortb1Bidder, Ortb2Bidder
from dynrl.agents.auctions.pacing import BslbBidder, MultiplicativeBidder
from dynrl.agents.auctions.shading import PacedShadingBidder, ShadingBidder, win_rate_by_bid
from dynrl.agents.auctions.target_cpa import TargetCpaBidder, _slack_table
from dynrl.agents.auctions.throttling import ThrottlingBidder
from dynrl.auctions.bidder import Bidder
from dynrl.auctions.log import AuctionLog, EpisodeArrays
from dynrl.auctions.market import Market
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.replay import replay, settle
from dynrl.auctions.rules import AuctionRules
from dynrl.auctions.serving import BidPolicy, load

T, B, DELTA_MAX, EPISODES = 60, 700, 40, 12


def made_log(rows: int, seed: int) -> AuctionLog:
    rng = np.random.default_rng(seed)
    theta = rng.beta(1.0, 20.0, rows)
    price = rng.integers(0, DELTA_MAX + 1, rows).astype(np.int32)
    floor = np.where(rng.random(rows) < 0.3, rng.integers(0, DELTA_MAX + 5, rows), 0).astype(np.int32)
    return AuctionLog((rng.random(rows) < theta).astype(np.uint8), price, theta, floor)


LOG = made_log(T * EPISODES, 0)
MODEL = CampaignModel.from_log(made_log(2000, 1), delta_max=DELTA_MAX)
MARKET = MODEL.market
CURVE = np.array([0, 0.05, 0.3, 0.5, 0.8, 0.85, 1.0])
FIRST = AuctionRules(T, B, DELTA_MAX, pricing="first")
SECOND = AuctionRules(T, B, DELTA_MAX)
TIGHT = AuctionRules(T, 90, DELTA_MAX, tie="lose")


class World(gymnasium.Env):
    """An environment as far as an agent needs one to be made."""

    def __init__(self, rules: AuctionRules) -> None:
        self.rules, self.model = rules, MODEL
        self.observation_space = gymnasium.spaces.Box(0, np.inf, (4,), np.float32)
        self.action_space = gymnasium.spaces.Box(0, DELTA_MAX, (1,), np.float32)


def target_cpa(clicks_seen: bool) -> TargetCpaBidder:
    plan = second_price_plan(MARKET)
    ratio, multiplier = plan.table()
    slack, by_target = _slack_table(plan, 350.0)
    return TargetCpaBidder(ratio, multiplier, slack, by_target, 350.0, DELTA_MAX, clicks_seen)


def bidders() -> dict[str, tuple[Bidder, AuctionRules]]:
    second, first = second_price_plan(MARKET), first_price_plan(MARKET)
    made: dict[str, Bidder] = {
        "constant": ConstantBidder(7.0, DELTA_MAX),
        "linear": LinearBidder(250.0, DELTA_MAX),
        "ortb1": Ortb1Bidder(15.0, 2e-3, DELTA_MAX),
        "ortb2": Ortb2Bidder(15.0, 2e-3, DELTA_MAX),
        "fluid": FluidBidder.from_plan(second, DELTA_MAX),
        "fluid, renewed every 7": FluidBidder.from_plan(second, DELTA_MAX, 0.3, 7),
        "fluid, uncorrected": FluidBidder.from_plan(second, DELTA_MAX, np.inf),
        "bslb": BslbBidder(3e-3, DELTA_MAX),
        "multiplicative": MultiplicativeBidder(900.0, 1.5, 0.02, 50.0, DELTA_MAX),
        "pid": FeedbackBidder(200.0, 0.3, 0.2, 0.1, CURVE, 1.0, DELTA_MAX),
        "win rate": FeedbackBidder(200.0, 0.3, 0.2, 0.1, CURVE, 0.4, DELTA_MAX, "win_rate"),
        "ecpc": FeedbackBidder(200.0, 0.0, 0.5, 0.0, CURVE, 250.0, DELTA_MAX, "ecpc"),
        "target cpa": target_cpa(False),
        "target cpa, clicks seen": target_cpa(True),
        "drlb": DRLB(World(SECOND), slots=6, seed=3).bidder,
    }
    pairs = {name: (bidder, SECOND) for name, bidder in made.items()}
    pairs["fluid, tight"] = (FluidBidder.from_plan(second_price_plan(MARKET, "lose"), DELTA_MAX), TIGHT)
    pairs["pid, tight"] = (made["pid"], TIGHT)
    pairs["shading"] = (ShadingBidder(400.0, win_rate_by_bid(MARKET, FIRST), DELTA_MAX), FIRST)
    fluid = FluidBidder.from_plan(first, DELTA_MAX)
    pairs["paced shading"] = (PacedShadingBidder(fluid, win_rate_by_bid(MARKET, FIRST)), FIRST)
    return pairs


PAIRS = bidders()


def served(policy: BidPolicy, episodes: EpisodeArrays, rules: AuctionRules) -> np.ndarray:
    """Bids `[T, E]` of one policy, episode after episode."""
    bids = np.zeros(episodes.price.shape, np.int64)
    for episode in range(bids.shape[1]):
        left = rules.budget
        for row in range(rules.horizon):
            theta, floor = float(episodes.theta[row, episode]), int(episodes.floor[row, episode])
            bid = policy.bid(rules.horizon - row, left, theta, floor)
            won, cost = settle(np.int64(bid), episodes.price[row, episode], floor, rules.tie, rules.pricing)
            won, cost = (bool(won), int(cost)) if cost <= left else (False, 0)
            policy.observe(won, cost, won and bool(episodes.click[row, episode]))
            left -= cost
            bids[row, episode] = bid
    return bids


@pytest.mark.parametrize("name", PAIRS)
def test_served_bids_are_the_replayed_ones(name: str, tmp_path: Path) -> None:
    bidder, rules = PAIRS[name]
    episodes = LOG.episodes(T)
    result = replay(bidder, episodes, rules, trace=True)
    assert result.trace is not None
    assert len(np.unique(result.trace.bid)) > (0 if name == "constant" else 5)
    policy = bidder.serving()
    np.testing.assert_array_equal(served(policy, episodes, rules), result.trace.bid)
    again = load(policy.save(tmp_path / "policy"))
    np.testing.assert_array_equal(served(again, episodes, rules), result.trace.bid)


@pytest.mark.parametrize(
    "bidder",
    [
        RandomBidder(35.0, DELTA_MAX),
        ThrottlingBidder(300.0, 0.5, 0.2, 0.05, CURVE, DELTA_MAX),
    ],
    ids=["random", "throttling"],
)
def test_bidders_that_draw_agree_on_the_same_stream(bidder: Any) -> None:
    import jax

    episodes, rules = LOG.episodes(T), SECOND
    result = replay(bidder, episodes, rules, trace=True, seed=5)
    assert result.trace is not None
    with jax.enable_x64(True):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(5), np.arange(EPISODES))
        memory = jax.vmap(lambda key: bidder.start(T, B, key))(keys)
        streams = np.asarray(memory if isinstance(bidder, RandomBidder) else memory.stream)

    policy: Any = bidder.serving()
    numbers = iter(streams.tolist())
    begin = policy.begin

    def begin_with_the_stream_of_replay(t: int, b: int) -> None:
        begin(t, b)
        policy.stream = next(numbers)

    policy.begin = begin_with_the_stream_of_replay
    np.testing.assert_array_equal(served(policy, episodes, rules), result.trace.bid)


def test_draws_are_uniform_and_a_seed_repeats_them() -> None:
    first, second = RandomBidder(40.0, DELTA_MAX, 3).serving(), RandomBidder(40.0, DELTA_MAX, 3).serving()
    bids = [
        [policy.bid(t, 1000, 0.5) for _ in range(50) for t in range(200, 0, -1)] for policy in (first, second)
    ]
    assert bids[0] == bids[1]
    counts = np.bincount(bids[0], minlength=40)
    assert len(counts) == 40
    # chi-squared with 39 degrees of freedom: 99.9 % of the mass lies below 72
    assert ((counts - 250) ** 2 / 250).sum() < 72
    other = RandomBidder(40.0, DELTA_MAX, 4).serving()
    assert [other.bid(t, 1000, 0.5) for t in range(200, 0, -1)] != bids[0][:200]


def test_a_market_with_segments_shades_by_segment() -> None:
    pmf = np.zeros((2, DELTA_MAX + 1))
    pmf[0, 5] = pmf[1, 20] = 1.0
    market = Market(pmf, np.full((2, 1), 0.1), np.ones((2, 1)), np.array([0.5, 0.5]))
    policy = ShadingBidder(400.0, win_rate_by_bid(market, FIRST), DELTA_MAX).serving()
    assert [policy.bid(9, 100, 0.1, segment=segment) for segment in (0, 1)] == [5, 20]
