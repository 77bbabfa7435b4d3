"""Bidding in a market: the laws it draws from, and what may depend on a bid."""

import gymnasium
import jax
import numpy as np
import pytest
from scipy import stats

from dynrl.auctions import Market
from dynrl.auctions.model import CampaignModel
from dynrl.envs.auctions import BidSim
from dynrl.envs.auctions.bid_sim import draw_auction, market_tables, model_of
from dynrl.envs.auctions.face import BiddingGymnasiumEnv

PMF = np.zeros((2, 11))
PMF[0, [0, 3, 7]] = 0.2, 0.5, 0.3
PMF[1, [5, 10]] = 0.25, 0.5  # a quarter is never won
TWO = Market(
    PMF, np.array([[0.1, 0.4], [0.5, 0.9]]), np.array([[0.75, 0.25], [0.5, 0.5]]), np.array([0.4, 0.6])
)
DRAWS = 40_000


@pytest.fixture(scope="module")
def drawn():
    with jax.enable_x64(True):
        draw = jax.jit(jax.vmap(draw_auction, in_axes=(0, None)))
        return jax.device_get(draw(jax.random.split(jax.random.key(1), DRAWS), market_tables(TWO)))


def assert_frequencies(observed, expected):
    """Chi-square at a level of 1e-4; impossible outcomes never occur."""
    assert (observed[expected == 0] == 0).all()
    possible = expected > 0
    assert stats.chisquare(observed[possible], expected[possible] * observed.sum()).pvalue > 1e-4


def test_segments_prices_and_atoms_have_their_probabilities(drawn):
    assert_frequencies(np.bincount(drawn.segment, minlength=2), TWO.share)
    for segment in (0, 1):
        mine = drawn.segment == segment
        pmf = np.append(TWO.pmf[segment], 1 - TWO.pmf[segment].sum())
        pmf[np.abs(pmf) < 1e-12] = 0
        assert_frequencies(np.bincount(drawn.price[mine], minlength=12), pmf)
        atoms = np.searchsorted(TWO.theta[segment], drawn.theta[mine])
        assert_frequencies(np.bincount(atoms, minlength=2), TWO.theta_mass[segment])


def test_price_and_click_probability_are_independent_within_a_segment(drawn):
    mine = drawn.segment == 0
    table = stats.contingency.crosstab(drawn.price[mine], drawn.theta[mine]).count
    assert stats.chi2_contingency(table).pvalue > 1e-4


def test_impressions_are_clicked_with_their_probability(drawn):
    for theta in np.unique(drawn.theta):
        clicks = drawn.click[drawn.theta == theta]
        assert stats.binomtest(int(clicks.sum()), len(clicks), theta).pvalue > 1e-4


def test_a_full_table_leaves_no_gap_below_one():
    thirds = market_tables(Market.single([0.1] * 3 + [0.7], [0.5]))
    assert thirds.price[0, -1] == 1.0
    assert market_tables(TWO).price[1, -1] == pytest.approx(0.75)


def outcomes(env, bid, steps=200):
    env.reset(seed=5)
    return [env.step(np.array([bid], np.float32))[4] for _ in range(steps)]


def test_every_bidder_meets_the_same_auctions():
    env = BiddingGymnasiumEnv(BidSim(TWO, delta_max=10, budget=10_000, feedback="full"))
    low, high = outcomes(env, 0), outcomes(env, 10)
    for name in ("theta", "market_price", "row"):
        assert [info[name] for info in low] == [info[name] for info in high]
    assert sum(info["won"] for info in low) < sum(info["won"] for info in high)
    prices = np.array([info["market_price"] for info in high])
    assert (prices == 11).any() and not any(info["won"] for info in high if info["market_price"] == 11)


def test_the_chance_to_win_is_that_of_the_market():
    env = BiddingGymnasiumEnv(BidSim(TWO, delta_max=10, budget=10**6, horizon=3000, feedback="full"))
    for bid in (2, 5, 10):
        won = sum(info["won"] for info in outcomes(env, bid, 3000))
        assert stats.binomtest(won, 3000, TWO.price_pmf[: bid + 1].sum()).pvalue > 1e-4


@pytest.mark.parametrize(
    "settings",
    [
        {"horizon": 1060},  # more auctions than are drawn at a time
        {"horizon": 40, "obs": "dict", "action": "multiplier", "objective": "profit", "show_segment": True},
    ],
)
def test_the_python_face_gives_the_compiled_numbers(settings, assert_faces_agree):
    assert_faces_agree(BidSim(TWO, delta_max=10, budget_ratio=0.4, **settings), 1100)


def test_episodes_go_on_counting():
    env = BiddingGymnasiumEnv(BidSim(TWO, delta_max=10, budget=50, horizon=2))
    infos = [env.reset(seed=0)[1]]
    for _ in range(2):
        for _ in range(2):
            env.step(np.array([1.0], np.float32))
        infos.append(env.reset()[1])
    assert [(info["row"], info["episode_number"]) for info in infos] == [(0, 0), (2, 1), (4, 2)]
    assert env.reset(seed=0)[1]["row"] == 0


def test_agents_are_told_the_truth_unless_something_else_is_given():
    model = BidSim(TWO, delta_max=10).model
    assert model.market is TWO
    np.testing.assert_allclose(
        model.campaign.price_counts / model.campaign.impressions, TWO.price_pmf, atol=1e-6
    )
    assert model.campaign.theta_avg == pytest.approx(TWO.theta_avg, abs=1e-6)
    assert model.campaign.above / model.campaign.impressions == pytest.approx(0.6 * 0.25, abs=1e-6)
    other = model_of(Market.single(np.full(11, 1 / 11), [0.2]))
    env = gymnasium.make("dynrl/BidSim-v0", market=TWO, model=other, delta_max=10)
    assert env.unwrapped.model is other and isinstance(other, CampaignModel)


def test_a_market_of_another_size_is_refused():
    with pytest.raises(ValueError, match="prices up to 10, but delta_max is 300"):
        BidSim(TWO)
