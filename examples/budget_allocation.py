"""Your own channels and money: identify the carry-over from a spending log, then let an allocator split the budget."""

import numpy as np

from dynrl.agents.bandits import BudgetAllocator
from dynrl.bandits import DLBSystem

CHANNELS = ["search", "video", "radio"]

# Stands for the market: search works slowly and lastingly, video at once. Your rewards come from outside instead.
market = DLBSystem(
    A=np.diag([0.6, 0.0, 0.2]), B=np.diag([0.02, 0.0, 0.001]), omega=[1, 0, 1], theta=[0.01, 0.03, 0.005]
)
rng, state = np.random.default_rng(0), np.zeros(3)


def sales(amounts):
    global state
    spend = np.array([amounts[name] for name in CHANNELS])
    reward = market.omega @ state + market.theta @ spend + rng.normal(0, 5)
    state = market.A @ state + market.B @ spend
    return reward


# A log of 400 days, spending changed every 16 days (a pandas DataFrame does as well as this dict).
log = dict(zip(CHANNELS, np.repeat(rng.uniform(0, 3000, (3, 25)), 16, axis=1), strict=True))
log["sales"] = [sales(dict(zip(CHANNELS, day, strict=True))) for day in zip(*log.values(), strict=True)]

allocator = BudgetAllocator.from_log(
    log, CHANNELS, "sales", total=9_000, upper=6_000, units="EUR", reward_units="sales"
)
print(f"share of an effect left after a day: at most {allocator.identified.rho_bar:.2f} (really 0.60)")
print(f"learnt from {allocator.agent.learned_epochs} stretches of the log")
for day in range(400):
    if allocator.periods_left == 0:
        print(f"day {day}: {allocator.next()}")
    allocator.observe(sales(allocator.next().amounts))
print("recommended:", allocator.recommend())
allocator.save("allocator")
