"""How well can a policy do when the transition probabilities are uncertain?"""

from pathlib import Path

import numpy as np

from dynrl.envs.grid_worlds import windy_walk
from dynrl.robust.tabular import (
    SAL1,
    RobustMDP,
    guess_the_button,
    history_dependent_value,
    iwocs,
    plot_grid_policy,
    plot_iwocs,
    robust_value_iteration,
    solve_static,
)

RUN, SERVICE = 0, 1
reward = np.array([[10.0, 6.0], [8.0, 4.0], [0.0, -20.0]])  # new, worn, broken


def kernel(wear):
    """Running wears a machine out; service makes it new again, and so does a repair when it is broken."""
    rows = np.zeros((3, 2, 3))
    rows[0, RUN], rows[1, RUN], rows[2, RUN] = [1 - wear, wear, 0], [0, 1 - wear, wear], [0, 0, 1]
    rows[:, SERVICE] = [[0.95, 0.05, 0], [0.95, 0.05, 0], [1, 0, 0]]
    return rows


for budget in (0.0, 0.2, 0.6):  # rows may be off by this much, summed over successors, in every step anew
    mdp = RobustMDP(reward, 0.95, 0, SAL1(kernel(0.2), budget))
    solution = robust_value_iteration(mdp)
    run_or_service = ["run" if action == RUN else "service" for action in solution.actions]
    print(f"budget {budget}: value {solution.value[0]:.2f}, {', '.join(run_or_service)}")

result = iwocs(mdp)
print(f"IWOCS on the last one: {result}")

walk = windy_walk.windy_walk_problem()  # the wind blows with an unknown strength between 0 and 0.5
result = iwocs(walk)
print(f"windy walk: {result}")
plot_iwocs(result, Path("iwocs.png"))
value = robust_value_iteration(walk).value
plot_grid_policy(result.policy.argmax(axis=1), value, windy_walk.LAYOUT, windy_walk.MOVES, Path("walk.png"))

button = guess_the_button()  # one of two buttons works; which one was settled beforehand, so memory helps
print(solve_static(button))
print(f"best policy with memory                      {history_dependent_value(button).lower:.9g}")
