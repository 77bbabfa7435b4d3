"""How bad can a policy be on an uncertain pendulum? Search for the worst mass and length; what the search may claim."""

import jax.numpy as jnp
import numpy as np

from dynrl.robust import Param, UncertaintySet
from dynrl.robust.evaluation import make_evaluator
from dynrl.robust.policy import FunctionPolicy
from dynrl.robust.search import worst_case_search
from dynrl.robust.statistics import coverage_sentence

PENDULUM = "dynrl/Pendulum-v0"


def swing_up(observation):
    """Pumps energy until the pendulum is nearly upright, then holds it there; made for mass 1 and length 1."""
    cosine, sine, speed = observation[..., 0], observation[..., 1], observation[..., 2]
    hold = -(12 * jnp.arctan2(sine, cosine) + 3 * speed)
    missing = 5 - speed**2 / 6 - 5 * cosine  # energy that the upright position has more
    pump = 2 * jnp.where(speed < 0, -1, 1) * jnp.sign(missing)
    near = (cosine > 0.85) & (jnp.abs(speed) < 4)
    return jnp.clip(jnp.where(near, hold, pump), -2, 2)[..., None]


policy = FunctionPolicy(swing_up)
uset = UncertaintySet([Param("attr:m", low=0.5, high=1.5), Param("attr:l", low=0.7, high=1.3)]).bind(PENDULUM)
evaluate = make_evaluator(PENDULUM, uset)

episodes = np.arange(8)  # seeds: every model starts from the same eight states
nominal = evaluate(policy, uset.nominal[None], episodes).returns.mean()
print(f"nominal mass {uset.nominal[0]:g} and length {uset.nominal[1]:g}: mean return {nominal:.1f}")

drawn = uset.sample(np.random.default_rng(0), 299)
sampled = evaluate(policy, drawn, episodes).returns.mean(axis=1)
print(f"299 models at random: mean {sampled.mean():.1f}, worst {sampled.min():.1f}")
print(coverage_sentence(299))

worst = worst_case_search(policy, evaluate, uset, budget=1000, episode_seeds=episodes, seed=0)
print(f"searched worst: {worst.value:.1f} at mass {worst.psi[0]:.3f} and length {worst.psi[1]:.3f}")
print(f"{worst.evaluations} models, {worst.env_steps:,} environment steps")

fresh = evaluate(policy, worst.psi[None], np.arange(1000, 1100)).returns  # not the episodes that chose it
print(f"the same model in 100 fresh episodes: {fresh.mean():.1f} +- {2 * fresh.std() / 10:.1f}")
