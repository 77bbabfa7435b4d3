"""An agent-based model of your own, on the kernel: people walk about, meet, infect each other. And its environment."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gymnasium
import jax.numpy as jnp
import numpy as np

import dynrl
from dynrl import abm
from dynrl.envs.digital_twins.sir import final_size_distribution

SUSCEPTIBLE, INFECTED, RECOVERED = range(3)


class Rates(NamedTuple):
    """beta: an infected person infects another one of the same cell; gamma: recovers; infected: at the beginning."""

    beta: Any = 0.3
    gamma: Any = 0.1
    infected: Any = 5


@dataclass(frozen=True)
class WalkingSIR:
    """People on a torus; each day those who do not stay at home walk to a neighbour cell, then infections happen."""

    grid: abm.Grid = field(default=abm.Grid(20, 20))
    people: int = 400
    macro_names = ("susceptible", "infected", "recovered")
    macro_scale = (400.0, 400.0, 400.0)
    control_names, control_low, control_high = ("stay_home",), (0.0,), (1.0,)

    def default_params(self):
        return Rates(*map(np.float32, Rates()))

    def init(self, key, params):
        place, choose = abm.split(key, 2)
        everybody = jnp.ones(self.people, bool)
        status = jnp.where(abm.subset(choose, everybody, params.infected), INFECTED, SUSCEPTIBLE)
        return abm.Population(
            abm.integers(place, (self.people,), self.grid.cells), everybody, {"status": status}
        )

    def step(self, state, u, key, params):
        stay, walk, infect, recover = abm.split(key, 4)
        at_home = abm.uniform(stay, (self.people,)) < (0.0 if u is None else u[0])
        cell = jnp.where(at_home, state.cell, self.grid.step(walk, state.cell, "moore"))
        status = state.attributes["status"]
        infected = status == INFECTED
        # Everybody looks at the same morning, so all may act at once: the step is exact.
        beside = abm.counts(cell, infected, self.grid.cells)[cell].astype(jnp.float32)
        caught = (status == SUSCEPTIBLE) & (
            abm.uniform(infect, (self.people,)) >= (1 - params.beta) ** beside
        )
        recovered = infected & (abm.uniform(recover, (self.people,)) < params.gamma)
        status = jnp.where(caught, INFECTED, jnp.where(recovered, RECOVERED, status))
        state = abm.Population(cell, state.alive, {"status": status})
        done = abm.Intervention(at_home.sum()[None].astype(jnp.float32), jnp.zeros((), bool))
        return abm.Stepped(state, self.macro(state), done, jnp.zeros((), jnp.int32))

    def macro(self, state):
        return jnp.stack([(state.attributes["status"] == which).sum() for which in range(3)]).astype(
            jnp.float32
        )


@dataclass(frozen=True)
class WalkingSIREnv(dynrl.FunctionalEnv):
    """Reward: minus the share of people infected, minus a hundredth for a day on which everybody stays at home."""

    horizon: int | None = 100
    model = WalkingSIR()
    observation_space = gymnasium.spaces.Box(0.0, 1.0, (3,), np.float32)
    action_space = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)

    def get_default_params(self):
        return self.model.default_params()

    def initial(self, rng, params):
        return self.model.init(rng, params)

    def transition(self, state, action, rng, params):
        return self.model.step(state, action, rng, params).state

    def observation(self, state, rng, params):
        return self.model.macro(state) / self.model.people

    def reward(self, state, action, next_state, rng, params):
        new = self.model.macro(state)[SUSCEPTIBLE] - self.model.macro(next_state)[SUSCEPTIBLE]
        return -new / self.model.people - 0.01 * action[0]

    def terminal(self, state, rng, params):
        return self.model.macro(state)[INFECTED] == 0


# On a single cell everybody meets everybody; infectious for one day, they are the Reed-Frost chain, known exactly.
chain = abm.simulate(WalkingSIR(abm.Grid(1, 1), 20), Rates(0.08, 1.0, 2), steps=20, seeds=5000)
sizes = np.asarray(chain.macro)[0, :, -1, RECOVERED] - 2
exact = final_size_distribution(18, 2, 0.08) @ np.arange(19)
print(f"mean final size of 5000 epidemics: {sizes.mean():.2f} exact: {exact:.2f}", end=" ")
print(f"standard errors apart: {abs(sizes.mean() - exact) / (sizes.std() / 5000**0.5):.1f}")

dynrl.register_env("mine/WalkingSIR-v0", "__main__:WalkingSIREnv", "keep people apart, but not too long")
envs = gymnasium.make_vec("mine/WalkingSIR-v0", num_envs=64)
print("64 epidemics begin like:", envs.reset(seed=0)[0][0])


def constant(u, seen, key):
    return u, u


for share in (0.0, 0.95):
    steps = dynrl.rollout(WalkingSIREnv(), constant, 0, num_envs=64, policy_state=jnp.full(1, share))
    print(f"reward when {share:.0%} stay at home:", np.asarray(steps.reward).sum(1).mean().round(3))
