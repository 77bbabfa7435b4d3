"""The experiment and the agent on a small grid: refused configs, an interrupted run, report, picture, saving."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dynrl.agents.digital_twins.agent import MetamodelFeedback, MetamodelFeedbackConfig
from dynrl.agents.digital_twins.experiment import DigitalTwin, DigitalTwinExperiment
from dynrl.agents.digital_twins.fitting import FitConfig
from dynrl.agents.digital_twins.personal import CohortConfig
from dynrl.agents.digital_twins.steering import SteeringConfig
from dynrl.agents.digital_twins.training import TrainConfig
from dynrl.errors import ConfigError
from dynrl.runs.run import Run

ENV = "dynrl/WSG-SS-v0"
SMALL = {"height": 15, "width": 15, "capacity_sheep": 64, "capacity_wolves": 32, "horizon": 40}
STEERING = SteeringConfig(
    runs=8,
    steps=40,
    fit=FitConfig(horizons=(8,), iterations=20, batch=8, check_every=10),
    noise_iterations=20,
    train=TrainConfig(strides=10, skip=2, updates=10, batch=4),
    start_runs=2,
    start_steps=40,
)
CONFIG = DigitalTwin(
    ENV,
    SMALL,
    {"sheep": 17.0, "wolves": 4.0},
    tail=10,
    steps=40,
    seeds=3,
    steering=STEERING,
    constants=((0.0,), (0.0, 0.01)),
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env": "dynrl/WSG-SSS-v0"}, "WSG"),
        ({"env": "dynrl/DLBAds-v0", "env_kwargs": {}}, "no agent-based model"),
        ({"env_kwargs": {"hieght": 3}}, "hieght"),
        ({"targets": {"goats": 3.0}}, "goats"),
        ({"targets": {}}, "targets is empty"),
        ({"seeds": 1}, "seeds"),
        ({"constants": ((0.0,),)}, "channels"),
        ({"cohort": CohortConfig()}, "spread"),
        ({"steering": replace(STEERING, spread=0.1), "patient": ("gian",)}, "gian"),
    ],
)
def test_each_mistake_is_one_config_error(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DigitalTwinExperiment(replace(CONFIG, **changes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run.create(tmp_path_factory.mktemp("twin") / "whole", "digital_twin", {})
    DigitalTwinExperiment(CONFIG).train(run)
    run.close()
    return run


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_numbers(finished: Run, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    class Stopping(DigitalTwinExperiment):
        def _judgement(self, arrays: Any) -> Any:
            raise Killed

    stopped = Run.create(tmp_path / "run", "digital_twin", {})
    with pytest.raises(Killed):
        Stopping(CONFIG).train(stopped)
    stopped.close()
    DigitalTwinExperiment(CONFIG).train(Run.open(tmp_path / "run", writable=True))
    ours, whole = Run.open(tmp_path / "run").restore(), Run.open(finished.path).restore()
    assert ours is not None and whole is not None
    assert set(ours.arrays) == set(whole.arrays)
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(ours.arrays[name], array, err_msg=name)


@pytest.mark.slow
def test_the_report_has_the_triple_and_the_picture_is_there(finished: Run) -> None:
    report = json.loads((finished.path / "report.json").read_text())
    rows = report["J1"]
    assert set(rows) == {"none", "constant", "learnt"}
    assert rows["learnt"]["runs"] == 3 and np.isfinite(rows["learnt"]["predicted"])
    assert rows["learnt"]["agent_steps"] == 8 * 40 + 2 * 40
    assert (finished.path / "treatment.png").stat().st_size > 10_000
    assert (finished.path / "treatment.gif").read_bytes().startswith(b"GIF89a")


@pytest.mark.slow
def test_evaluation_is_on_fresh_seeds_and_plots_need_one_run(finished: Run, tmp_path: Path) -> None:
    experiment = DigitalTwinExperiment(CONFIG)
    figures = experiment.evaluate(Run.open(finished.path), episodes=3, seed=0)
    assert set(figures) == {
        f"{label}: {what}"
        for label in ("no control", "learnt")
        for what in ("J1", "standard error", "share extinct")
    }
    with pytest.raises(ConfigError, match="one run"):
        experiment.plot([finished, finished], tmp_path / "a.png")


@pytest.mark.slow
def test_a_population_is_treated_in_person(tmp_path: Path) -> None:
    cohort = CohortConfig(patients=3, observed_steps=100, seeds=2, steps=40)
    config = replace(CONFIG, steering=replace(STEERING, spread=0.1), cohort=cohort)
    run = Run.create(tmp_path / "run", "digital_twin", {})
    DigitalTwinExperiment(config).train(run)
    rows = json.loads((run.path / "report.json").read_text())["J1"]
    assert set(rows["cohort"]) >= {"median", "share_under_0.05", "infeasible"}


def test_the_agent_learns_predicts_and_is_saved(tmp_path: Path) -> None:
    config = MetamodelFeedbackConfig({"sheep": 17.0, "wolves": 4.0}, tail=10, steering=STEERING)
    agent = MetamodelFeedback(gym.make(ENV, **SMALL), config, seed=0)
    before = agent.predict(np.ones(3, np.float32))[0]
    with pytest.raises(ValueError, match="two runs"):
        agent.learn(100)
    agent.learn(8 * 40 + 2 * 40)
    assert agent.num_timesteps == 8 * 40 + 2 * 40
    action, memory = agent.predict(np.ones(3, np.float32))
    assert agent.action_space.contains(action) and not np.allclose(action, before)
    batch, memories = agent.predict(np.ones((4, 3), np.float32))
    np.testing.assert_allclose(batch, np.broadcast_to(action, (4, 2)), rtol=1e-5)
    assert np.shape(memories) == (4, *np.shape(memory))
    agent.save(tmp_path / "agent")
    other = MetamodelFeedback.load(tmp_path / "agent", gym.make(ENV, **SMALL))
    np.testing.assert_array_equal(other.predict(np.ones(3, np.float32))[0], action)
    with pytest.raises(TypeError, match="no agent-based model"):
        MetamodelFeedback("dynrl/DLBAds-v0")
