"""Steer an agent-based model: learn its dynamics from random treatments, train feedback through them, judge it.

Wolves and sheep on a grid are to be held at numbers where they would not stay by themselves, by removing some.
Takes about a minute; with 256 runs, 600 updates and the full grid (`dynrl train configs/digital_twins/wolf_sheep.yaml`)
the cost falls to 0.016, where the best constant dose reaches 0.06 and no treatment 0.4.
"""

from dynrl import make_functional
from dynrl.agents.digital_twins.agent import set_point
from dynrl.agents.digital_twins.fitting import FitConfig
from dynrl.agents.digital_twins.lifting import lift, summarise
from dynrl.agents.digital_twins.steering import (
    SteeringConfig,
    fit_metamodel,
    natural_starts,
    record_runs,
    train_controller,
)
from dynrl.agents.digital_twins.training import TrainConfig

grid = dict(height=25, width=25, capacity_sheep=256, capacity_wolves=128)
model = make_functional("dynrl/WSG-SS-v0", **grid).model
objective = set_point(model, {"sheep": 48, "wolves": 12}, tail=100)
config = SteeringConfig(
    runs=48,
    steps=200,
    fit=FitConfig(horizons=(20,), iterations=200, batch=32, learning_rate=(5e-3, 5e-4)),
    noise_iterations=300,
    train=TrainConfig(strides=60, skip=20, updates=150, batch=16, noise=0.0),
    start_steps=200,
)

metamodel = fit_metamodel(model, record_runs(model, config), config)
starts = natural_starts(model, config)
controller = train_controller(model, metamodel, objective, starts, config)

for label, used in (("no treatment", None), ("learnt feedback", controller)):
    played = lift(model, used, objective, seeds=16, steps=300, hold=1)
    print(f"{label:<16} J1 on the agent-based model: {summarise(played.cost)}")
