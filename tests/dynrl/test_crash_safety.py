"""Real processes, really killed: the resumed run logs the same bytes as one that was left alone."""

from pathlib import Path

import pytest

from dynrl.bench.crash import kill_and_resume
from dynrl.errors import RunError

AGENT = """
import numpy as np
from dynrl.agent import Agent

class Wanderer(Agent):
    def initial_state(self):
        return {"sum": np.zeros(self.observation_space.shape)}

    def act(self, observation, deterministic):
        return int(self.rng.integers(self.action_space.n))

    def update(self, transition):
        self.state = {"sum": self.state["sum"] + transition.next_observation}
"""

CONFIG = """
experiment: learn
env: {id: CartPole-v1}
agent: {name: "wanderer:Wanderer"}
total_timesteps: 8000
log_every: 100
checkpoint_every: 300
"""


@pytest.mark.slow
def test_killed_at_random_and_resumed_is_byte_identical(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wanderer.py").write_text(AGENT)
    (tmp_path / "config.yaml").write_text(CONFIG)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = kill_and_resume(["config.yaml"], tmp_path, runs=3, seed=1, cwd=tmp_path)
    assert result.runs == result.identical == 3


def test_a_training_that_fails_by_itself_is_reported(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("experiment: nothing")
    with pytest.raises(RunError, match=r"status 2: dynrl: error: .*no experiment is called 'nothing'"):
        kill_and_resume(["config.yaml"], tmp_path, runs=1, cwd=tmp_path)
