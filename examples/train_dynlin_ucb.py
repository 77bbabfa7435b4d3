"""Train DynLin-UCB on the ad platforms; ask it for an allocation, an interval and a certificate; save and load it."""

import gymnasium

import dynrl  # noqa: F401  (registers the environments)
from dynrl.agents.bandits import DynLinUCB

ROUNDS = 20_000

env = gymnasium.make("dynrl/DLBAds-v0", horizon=ROUNDS)
world = env.unwrapped.func_env

# What the learner must be told: bounds on the system. Here they are the true ones; see budget_allocation.py for
# bounds from a log, and DynLinUCBConfig for what each of them means.
agent = DynLinUCB.from_system(world.system, env, T=ROUNDS, radius="tight")
agent.learn(ROUNDS)

index, allocation = agent.recommended()
low, high = agent.confidence_interval(index)
print("recommended allocation:", allocation)
print(f"its long-run reward: between {low:.3f} and {high:.3f}, really {world.system.value(allocation):.3f}")
print(f"no other allocation is better by more than {agent.certificate():.3f}")
print("is it the best one?", world.system.value(allocation) == world.system.optimal_value(world.action_set))

agent.save("dynlin_ucb.safetensors")
again = DynLinUCB.load("dynlin_ucb.safetensors", env)
print("loaded agent agrees:", again.predict([0.0])[0] == index)
