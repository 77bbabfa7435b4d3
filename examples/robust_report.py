"""One controller for a hundred pendulums: a good average says nothing about the worst one."""

from pathlib import Path

import jax.numpy as jnp

from dynrl.robust import uset
from dynrl.robust.evaluation import make_evaluator
from dynrl.robust.pictures import heat_map
from dynrl.robust.policy import FunctionPolicy
from dynrl.robust.report import robustness_report

ENV = "dynrl/InvertedPendulum-v0"
GAINS = {  # of cart position, pole angle and their speeds
    "LQR of the nominal masses": [0.771, 8.751, 1.318, 1.591],
    "searched for the worst cell": [0.61, 9.54, 1.24, 0.87],
}

masses = uset("inverted_pendulum", dims=2)  # pole 1 to 31 kg, cart 1 to 11 kg
evaluate = make_evaluator(ENV, masses)  # every cell is a simulation with masses of its own
reports = {}
for name, gains in GAINS.items():
    policy = FunctionPolicy(lambda observation, gains=gains: observation @ jnp.array(gains)[:, None])
    reports[name] = robustness_report(
        policy, evaluate, masses, points=10, episodes=2, confirm_episodes=5, policy_name=name, environment=ENV
    )
    print(reports[name].summary(), end="\n\n")
print("picture:", heat_map(reports, Path("cells.png")))
