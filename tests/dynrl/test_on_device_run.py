"""`experiment: on_device`: a run that is stopped ends with the same bytes, and its policies come back."""

import numpy as np
import pytest

from dynrl.cli.experiments import make_experiment
from dynrl.config import ConfigInput, to_mapping
from dynrl.errors import ConfigError
from dynrl.runs.run import Run

SETTINGS = {
    "experiment": "on_device",
    "env": {"id": "dynrl/Pendulum-v0", "kwargs": {"horizon": 20}},
    "ppo": {"total_timesteps": 384, "num_envs": 2, "num_steps": 32, "num_epochs": 2, "num_minibatches": 2},
    "seeds": [3, 8],
    "log_every": 64,
    "checkpoint_every": 64,
}


class _Stopped(Exception):
    pass


def _stop_after_two(run):
    keep, taken = run.checkpoint, []

    def checkpoint(*arguments):
        keep(*arguments)
        taken.append(1)
        if len(taken) == 2:
            raise _Stopped

    run.checkpoint = checkpoint
    return run


@pytest.mark.slow
def test_a_stopped_run_ends_with_the_same_bytes(tmp_path):
    name, experiment = make_experiment(ConfigInput(SETTINGS, "test"))
    assert name == "on_device"
    for folder in ("whole", "stopped"):
        run = Run.create(tmp_path / folder, name, to_mapping(experiment.config))
        if folder == "whole":
            experiment.train(run)
            run.finish()
        else:
            with pytest.raises(_Stopped):
                experiment.train(_stop_after_two(run))
        run.close()
    run = Run.open(tmp_path / "stopped", writable=True)
    experiment.train(run)
    run.finish()
    run.close()
    for file in ("metrics.csv", "agents/seed-3.safetensors", "agents/seed-8.safetensors"):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "stopped" / file).read_bytes(), file
    columns = run.metrics()
    assert columns["step"].tolist() == sorted([64, 128, 192, 256, 320, 384] * 2)
    assert set(columns["seed"]) == {3, 8}
    assert columns["episodes"].sum() == 2 * 2 * (192 // 20)  # seeds, lanes, episodes of 20 steps in 192 steps
    figures = experiment.evaluate(run, episodes=4, seed=0)
    assert figures == experiment.evaluate(run, episodes=4, seed=0)
    # 20 steps cost between 0 and 20 (pi² + 6.4 + 0.004)
    assert -330 < figures["95 % interval, lower end"] <= figures["mean return"] < 0
    policy = experiment.load(run, 3)
    action, _ = policy.act(np.zeros((5, 3)), policy.initial_carry(5))
    assert action.shape == (5, 1)
    [picture] = experiment.plot([run], tmp_path / "curve.png")
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"env": {"id": "dynrl/Pendulum-v0", "kwargs": {"x64": True}}}, "make it with x64=False"),
        ({"env": {"id": "dynrl/Nothing-v0"}}, "no environment is called"),
        ({"seeds": [1, 1]}, "different numbers"),
        ({"ppo": {"num_minibatches": 7}}, "does not divide"),
        ({"log_every": 0}, "log_every must be at least 1"),
    ],
)
def test_wrong_settings_are_refused_before_the_run_exists(change, message):
    with pytest.raises(ConfigError, match=message):
        make_experiment(ConfigInput({**SETTINGS, **change}, "test"))
