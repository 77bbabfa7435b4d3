"""The command line: what it prints, its exit statuses, and that wrong input leaves nothing behind."""

import csv
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dynrl.cli import COMMANDS, load, main
from dynrl.runs.array_file import read_arrays
from dynrl.runs.run import Run

OWN_CODE = '''
from dataclasses import dataclass

import numpy as np

from dynrl import register_env
from dynrl.agent import Agent

register_env("own/Walk-v0", "dynrl.testing.worlds:RandomWalk", "a long walk", horizon=2000, limit=1e6)


@dataclass(frozen=True)
class Config:
    spread: float = 1.0


class Tracker(Agent):
    """Acts at random (from both generators) and tracks the mean observation."""

    Config = Config

    def initial_state(self):
        return {"mean": np.zeros(self.observation_space.shape), "count": 0}

    def act(self, observation, deterministic):
        if deterministic:
            return np.zeros(self.action_space.shape, self.action_space.dtype)
        if self.rng.random() < 0.5:
            return self.action_space.sample()
        if self.action_space.shape == ():
            return int(self.rng.integers(self.action_space.n))
        return np.clip(self.config.spread * self.rng.normal(size=2), -1, 1).astype(np.float32)

    def update(self, transition):
        count = self.state["count"] + 1
        mean = self.state["mean"] + (transition.next_observation - self.state["mean"]) / count
        self.state = {"mean": mean, "count": count}
'''

CONFIG = """
experiment: learn
env: {id: "own_code:own/Walk-v0"}
agent: {name: "own_code:Tracker"}
total_timesteps: 330
seeds: [3, 5]
log_every: 50
checkpoint_every: 40
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a config and an agent of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_code.py").write_text(OWN_CODE)
    (tmp_path / "walk.yaml").write_text(CONFIG)
    monkeypatch.delitem(sys.modules, "own_code", raising=False)
    return tmp_path


def interrupt_at(checkpoint: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes Ctrl-C arrive when that many checkpoints have been written."""
    original = Run.checkpoint
    written = []

    def checkpoint_then_interrupt(self: Run, *arguments: object, **named: object) -> None:
        original(self, *arguments, **named)  # type: ignore[arg-type]
        written.append(1)
        if len(written) == checkpoint:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "checkpoint", checkpoint_then_interrupt)


CARTPOLE = ["env={id: CartPole-v1}"]


@pytest.mark.parametrize(
    ("settings", "in_episode"), [([], True), (CARTPOLE, False)], ids=["own", "gymnasium"]
)
@pytest.mark.parametrize("checkpoint", [2, 7, 11])
def test_ctrl_c_and_resume_give_the_same_bytes(
    settings: list[str],
    in_episode: bool,
    checkpoint: int,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", "walk.yaml", *settings, "--out", "whole"]) == 0
    with monkeypatch.context() as patch:
        interrupt_at(checkpoint, patch)
        assert main(["train", "walk.yaml", *settings, "--out", "stopped"]) == 130
    assert "go on with: dynrl train --resume stopped" in capsys.readouterr().err
    arrays, meta = read_arrays(folder / "stopped" / "checkpoint.safetensors")
    if meta["meta"]["record"]:
        assert any(name.startswith("env/") for name in arrays) == in_episode
    assert main(["train", "--resume", "stopped"]) == 0
    for name in ("metrics.csv", "agents/seed-3.safetensors", "agents/seed-5.safetensors"):
        assert (folder / "stopped" / name).read_bytes() == (folder / "whole" / name).read_bytes(), name
    assert main(["train", "--resume", "stopped"]) == 0
    assert "stopped is already finished" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["sb3.PPO", pytest.param("sbx.PPO", marks=pytest.mark.slow)])
def test_sb3_algorithms_train_resume_by_seed_and_come_back_without_pickle(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [*CARTPOLE, f"agent={{name: {name}, config: {{n_steps: 64}}}}", "total_timesteps=128"]
    assert main(["train", "walk.yaml", *settings, "--out", "whole"]) == 0
    with monkeypatch.context() as patch:
        interrupt_at(1, patch)
        assert main(["train", "walk.yaml", *settings, "--out", "stopped"]) == 130
    assert main(["train", "--resume", "stopped"]) == 0
    metrics = (folder / "stopped" / "metrics.csv").read_bytes()
    assert metrics == (folder / "whole" / "metrics.csv").read_bytes()
    printed = []
    for run in ("whole", "stopped"):
        capsys.readouterr()
        assert main(["evaluate", run, "--episodes", "2"]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert not [path for path in folder.rglob("*") if path.suffix in (".zip", ".pkl", ".pth")]


def test_sb3_learns_in_several_copies_of_an_environment(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copies = ["env={id: dynrl/ArmReach-v0}", "agent={name: sb3.PPO, config: {n_steps: 32}}", "num_envs=4"]
    settings = ["walk.yaml", *copies, "seeds=[3]", "total_timesteps=640", "log_every=320"]
    for out in ("one", "two"):
        assert main(["train", *settings, "--out", out]) == 0
    assert (folder / "one" / "metrics.csv").read_bytes() == (folder / "two" / "metrics.csv").read_bytes()
    with (folder / "one" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [320, 640]
    assert int(rows[-1]["episodes"]) == 4 * (160 // 75)  # 75 steps per episode, 160 steps in each copy
    assert float(rows[-1]["episode_length"]) == 75


def test_evaluate_prints_the_known_return_of_a_still_pole(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each step with a standing pole pays 1, and pushing left only lets it fall after 8 to 10 steps."""
    assert main(["train", "walk.yaml", *CARTPOLE, "--out", "run"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "run", "--episodes", "10", "--seed", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    figures = {line.rsplit(maxsplit=1)[0].strip(): float(line.rsplit(maxsplit=1)[1]) for line in lines}
    assert 8 <= figures["mean return"] <= 10
    assert figures["95 % interval, lower end"] <= figures["interquartile mean"]
    assert figures["interquartile mean"] <= figures["95 % interval, upper end"]


def test_plot_writes_a_picture_of_several_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        assert main(["train", "walk.yaml", *CARTPOLE, "--out", name]) == 0
    capsys.readouterr()
    assert main(["plot", "one", "two", "--out", "curves.png"]) == 0
    assert capsys.readouterr().out == "curves.png\n"
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "name a config"),
        (["train", "walk.yaml", "num_envs=2"], "num_envs: own_code:"),
        (["train", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["train", "seeds=[1]"], "name a config before the settings"),
        (["train", "walk.yaml", "env.id=own/None-v0"], "command line: env: own/None-v0 cannot be made"),
        (["train", "walk.yaml", "env.kwargs.x=1"], "command line: env: own_code:own/Walk-v0 cannot be made"),
        (
            ["train", "walk.yaml", "agent.name=Nobody"],
            "command line: agent.name: no agent is called 'Nobody'",
        ),
        (
            ["train", "walk.yaml", "agent.name=own_code:Config"],
            "agent.name: own_code:Config is not a dynrl.Agent",
        ),
        (["train", "walk.yaml", "agent.name=own_code:None"], "has no 'None'"),
        (["train", "walk.yaml", "agent.name=sb3.Nothing"], "sb3.Nothing is not known; there are sb3."),
        (
            ["train", "walk.yaml", "agent.config.spred=1"],
            "command line: agent.config.spred: unknown key; did you",
        ),
        (["train", "walk.yaml", "total_timesteps=0"], "total_timesteps must be at least 1, got 0"),
        (["train", "walk.yaml", "seeds=[]"], "seeds must be one or more different numbers"),
        (
            ["train", "walk.yaml", "experiment=lern"],
            "command line: experiment: no experiment is called 'lern'",
        ),
        (["train", "walk.yaml", "experiment=null"], "experiment: this key is missing"),
        (["train", "walk.yaml", "--out", "own_code.py"], "own_code.py is a file"),
        (["train", "walk.yaml", "--out", "."], "already holds files"),
        (["train", "--resume", "nowhere"], "nowhere does not exist"),
        (["train", "--resume", "."], "is not a run folder"),
        (["train", "walk.yaml", "--resume", "x"], "--resume takes all from the run folder"),
        (["evaluate", "nowhere"], "nowhere does not exist"),
        (["plot", "nowhere", "--out", "x.jpeg"], "expected a name ending in .png"),
        (["plot"], "name at least one run folder"),
        (["bench", "nothing"], "no benchmark is called 'nothing'"),
        (["list", "agent"], "nothing is listed as 'agent'"),
        (["trian"], "no command is called 'trian'; did you mean 'train'?"),
    ],
)
def test_wrong_input_is_one_line_status_2_and_leaves_nothing(
    arguments: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path for path in folder.iterdir() if path.name != "__pycache__"}
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("dynrl: error: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert {path for path in folder.iterdir() if path.name != "__pycache__"} == before


def test_resuming_a_run_with_a_damaged_checkpoint_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(2, patch)
        assert main(["train", "walk.yaml", "--out", "run"]) == 130
    assert main(["evaluate", "run"]) == 2
    assert "run has no trained agent yet" in capsys.readouterr().err
    checkpoint = folder / "run" / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-5])
    assert main(["train", "--resume", "run"]) == 2
    printed = capsys.readouterr().err
    assert "cannot resume: run/checkpoint.safetensors is damaged or truncated" in printed


def test_a_run_of_other_versions_resumes_with_a_warning(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(1, patch)
        main(["train", "walk.yaml", "--out", "run"])
    info = folder / "run" / "run.json"
    info.write_text(info.read_text().replace('"numpy": "', '"numpy": "0.'))
    assert main(["train", "--resume", "run"]) == 0
    assert "run was started with numpy 0." in capsys.readouterr().err


def test_list_prints_one_line_per_name_on_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert {len(row) for row in rows} == {3}
    assert {row[0] for row in rows} >= {"environments", "experiments", "benchmarks", "configs"}
    assert all(row[2] for row in rows)
    assert main(["list", "experiments"]) == 0
    assert "experiments\tlearn\t" in capsys.readouterr().out


def test_each_command_has_the_summary_that_the_help_shows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert load(command).__doc__.startswith(f"{command.summary}.")
        assert command.summary in printed
        with pytest.raises(SystemExit) as exit_:
            main([name, "--help"])
        assert exit_.value.code == 0
        assert command.summary.split(":")[0] in capsys.readouterr().out


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys, dynrl.cli as c; c.main(['--help'])\n"
        "assert not {'jax', 'torch', 'matplotlib', 'tensorboard', 'scipy', 'brax'} & set(sys.modules)"
    )
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.5


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("dynrl 0.")
