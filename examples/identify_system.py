"""From a log to a model: long-run gain with standard errors, carry-over, state-space matrices, the best action."""

import numpy as np

import dynrl
from dynrl.agents.bandits import Uniform, single_run
from dynrl.bandits import identify_gain, identify_state_space

world = dynrl.make_functional("dynrl/DLBAds-v0", action_set="budget")

# A log of 2000 rounds, each at a random corner of the budget; yours would be spends [T, d] and rewards [T].
run = single_run(world.system, Uniform(world.action_set, seed=0), 2000, seed=0)

gain = identify_gain(run.actions, run.rewards)
print("true gain h:     ", world.system.h.round(3))
print("identified:      ", gain.h.round(3), "±", gain.standard_errors.round(3), f"(order {gain.order})")
print(f"spectral radius:  {world.system.rho:.3f} true, {gain.rho:.3f} ± {gain.rho_se:.3f} identified")

model = identify_state_space(run.actions, run.rewards, order=3, horizon=8)
system = model.system(sigma_x=0.01, sigma_out=0.01)
print("state-space gain:", system.h.round(3), f"spectral radius {system.rho:.3f}")

best = system.optimal_action(world.action_set)
print("best action by the model:", best, "worth", round(float(world.system.value(best)), 4))
print("best action really:", world.system.optimal_action(world.action_set))
print("same:", np.array_equal(best, world.system.optimal_action(world.action_set)))
