"""Describe what is uncertain about a robot, find out which of it matters, and train or evaluate over all of it."""

import warnings

import gymnasium
import numpy as np

from dynrl.robust import DomainRandomization, Param, RobustEnv, UncertaintySet, make_robust_vec, uset

warnings.simplefilter("ignore", UserWarning)  # the nominal torso is heavier than the published interval

mine = UncertaintySet(
    [
        Param("geom:floor.friction[0]", low=0.1, high=3.0),  # of the contacts, whatever the foot has
        Param("body:torso.mass", low=0.1, high=3.0),  # its inertia follows
        Param("joint:*.damping", low=0.5, high=2.0, mode="scale"),
        Param("option.gravity[2]", low=-12, high=-7),
    ]
)
print("nominal:", mine.bind("dynrl/Hopper-v0").nominal.round(3))

# Any Gymnasium environment on MuJoCo or classic control takes parameters at reset.
env = RobustEnv(gymnasium.make("Hopper-v5"), mine)
_, info = env.reset(seed=0, options={"psi": [0.5, 2.0, 1.5, -8.0]})
print("torso:", env.unwrapped.model.body("torso").mass, "kg at psi", info["psi"])
_, info = DomainRandomization(env).reset(seed=0)
print("drawn:", info["psi"].round(3))

# Ours take one parameter vector per lane, on all cores.
lanes = make_robust_vec("dynrl/Hopper-v0", mine, num_envs=100, sampler="sobol")
lanes.reset(seed=0)
for _ in range(50):
    actions = np.zeros((100, 3), np.float32)
    _, rewards, *_ = lanes.step(actions)
print("rewards of 100 hoppers:", rewards.shape, "different:", len(np.unique(rewards)) > 90)

# The published set varies the floor alone, which the foot hides below its own friction.
for convention in ("rrls", "dynrl"):
    (effect,) = uset("hopper", dims=1, convention=convention).check_effect("dynrl/Hopper-v0")
    print(f"{convention}: friction has no effect in", [(round(a, 2), round(b, 2)) for a, b in effect.dead])
