"""Twelve advertisers compete for one slot: shading one's bid pays in first-price auctions, not in second-price ones."""

import numpy as np

from dynrl.envs.auctions.parallel import AuctionParallelEnv


def profit(pricing, multiplier):
    """What advertiser 0 earns when it bids `multiplier` times its value and the others bid theirs."""
    env = AuctionParallelEnv(
        advertisers=12, horizon=24, requests=2000, slots=1, pricing=pricing, budget=1e9, target_cpa=100.0
    )
    env.reset(seed=0)
    ours, earned = env.possible_agents[0], 0.0
    while env.agents:
        actions = {name: np.ones(1, np.float32) for name in env.agents}
        actions[ours] = actions[ours] * np.float32(multiplier)
        _, _, _, _, infos = env.step(actions)
        earned += 100.0 * infos[ours]["expected_conversions"] - infos[ours]["cost"]
    return earned


for pricing in ("second", "first"):
    profits = [profit(pricing, multiplier) for multiplier in (1.0, 0.7)]
    print(f"{pricing} price: profit at full value {profits[0]:.0f}, at 0.7 of it {profits[1]:.0f}")
