"""Fit a digital twin to one patient's counts and look ahead with it.

The patient is an agent-based model with constants that nobody knows. An ensemble of agent-based models is filtered
through twelve observations (ensemble Kalman filter with edits of the microstates), then run on without data.
"""

import numpy as np

from dynrl import make_functional
from dynrl.abm.simulate import simulate
from dynrl.agents.digital_twins.enkf import EnkfConfig, fit_twin, forecast
from dynrl.agents.digital_twins.patients import PatientLaw
from dynrl.agents.digital_twins.twin import AgentTwin

EVERY, SEEN, AHEAD = 50, 12, 4
model = make_functional("dynrl/WSG-SS-v0", capacity_sheep=512, capacity_wolves=256).model
law = PatientLaw()
patients = law.draw(model, 1, seed=4)
truth = np.asarray(simulate(model, patients.params, steps=EVERY * (SEEN + AHEAD), seeds=[4]).macro)[0, 0]

twin = AgentTwin(model, law)
config = EnkfConfig(members=40, every=EVERY)
observed, untreated = truth[EVERY::EVERY][:SEEN], np.zeros((EVERY * SEEN, 2))
fitted = fit_twin(twin, observed, untreated, len(law.names), config)

for name, true, mean in zip(law.names, patients.context[0], fitted.estimate(len(law.names)), strict=True):
    print(f"{name:<11} true {np.exp(true):5.3f}   twin {np.exp(mean):5.3f}   (multiples of the default)")
future = forecast(twin, fitted, np.zeros((EVERY * AHEAD, 2)), EVERY)
for number, members in enumerate(future):
    at = EVERY * (SEEN + number + 1)
    low, high = np.quantile(members[:, 1], [0.05, 0.95])
    print(
        f"step {at}: sheep forecast {members[:, 1].mean():5.1f} [{low:.0f}, {high:.0f}], came to {truth[at, 1]:.0f}"
    )
