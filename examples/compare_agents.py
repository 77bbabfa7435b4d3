"""Compare agents over many runs: one compiled simulation each, a table, and a picture with confidence bands.

python compare_agents.py [PICTURE]        (`dynrl train bandits/ads` does the same from a config, with checkpoints)
"""

import sys
from pathlib import Path

import numpy as np

import dynrl
from dynrl.agents.bandits import AR2, DynLinUCB, Exp3, LinUCB, simulate
from dynrl.plotting import Curves, plot_curves

ROUNDS, RUNS = 10_000, 16

env = dynrl.make_functional("dynrl/DLBSynthetic-v0")
contenders = {
    "DynLin-UCB (tight)": (DynLinUCB, {"radius": "tight"}),
    "DynLin-UCB (paper)": (DynLinUCB, {"radius": "paper"}),
    "LinUCB": (LinUCB, {}),
    "AR2": (AR2, {}),
    "Exp3": (Exp3, {}),
}
curves = {}
print(f"{'agent':20} {'mean regret':>12} {'5 %':>8} {'95 %':>8} {'on optimum':>11}")
for label, (kind, settings) in contenders.items():
    agent = kind.from_system(env.system, env.action_set, T=ROUNDS, **settings)
    result = simulate(env.system, agent, ROUNDS, seeds=np.arange(RUNS))
    final = result.pseudo_regret[:, -1]
    low, high = np.quantile(final, [0.05, 0.95])
    print(f"{label:20} {final.mean():12.1f} {low:8.1f} {high:8.1f} {result.optimal_share():11.0%}")
    curves[label] = Curves(result.times.astype(float), result.pseudo_regret)

picture = Path(sys.argv[1] if len(sys.argv) > 1 else "regret.png")
plot_curves(
    curves, picture, "round", "pseudo-regret", f"{RUNS} runs, 95 % bands", True, True, statistic=np.mean
)
print("picture:", picture)
