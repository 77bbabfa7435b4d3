"""The comparison of agents: refused configs, an interrupted run, the report, evaluation and plots."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dynrl.agents.bandits.experiment import BanditComparison, BanditExperiment
from dynrl.cli import main
from dynrl.errors import ConfigError
from dynrl.runs.metrics import read_metrics
from dynrl.runs.run import Run

CONFIG = {
    "env": "dynrl/DLBAds-v0",
    "agents": {
        "tight": {"agent": "DynLinUCB", "radius": "tight"},
        "ucb": {"agent": "UCB1"},
        "batched": {"agent": "Exp3Batch"},
    },
    "horizon": 1000,
    "seeds": 3,
    "record": 4,
    "checkpoints": 4,
}


def experiment(**changes: object) -> BanditExperiment:
    return BanditExperiment(BanditComparison(**{**CONFIG, **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env": "dynrl/DLBAdz-v0"}, "DLBAdz"),
        ({"env": "dynrl/Nothing-v0"}, "Nothing"),
        ({"env_kwargs": {"sigmma": 0.1}}, "sigmma"),
        ({"env_kwargs": {"sigma": -1.0}}, "sigma"),
        ({"agents": {}}, "agents is empty"),
        ({"agents": {"mine": {"radius": "tight"}}}, "mine.*'agent'"),
        ({"agents": {"mine": {"agent": "DynLinUCBB"}}}, "mine.*DynLinUCB"),
        ({"agents": {"mine": {"agent": "DynLinUCB", "lambda": 1.0}}}, "mine.*lambda"),
        ({"agents": {"mine": {"agent": "DynLinUCB", "lambda_": -1.0}}}, "mine.*lambda_"),
        ({"agents": {"mine": {"agent": "DynLinUCB", "rho_bar": 1.5}}}, "mine.*rho_bar"),
        ({"agents": {"mine": {"agent": "DynLinUCB", "sigma": "loud"}}}, "mine"),
        ({"agents": {"mine": {"agent": "FixedAllocation", "shares": [1, 2]}}}, "mine"),
        ({"agents": {"mine": {"agent": "ExploreThenCommit", "explore": "random"}}}, "mine.*NumPy"),
        ({"horizon": 0}, "horizon"),
        ({"seeds": 0}, "seeds"),
        ({"record": 1}, "record"),
        ({"checkpoints": 0}, "checkpoints"),
        ({"path": "leap"}, "path"),
    ],
)
def test_each_mistake_is_one_config_error(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        experiment(**changes)


class Interrupted(Exception):
    """What a test throws to stop a training."""


def trained(folder: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int | None = None) -> Run:
    """A run trained from its config; interrupted after some checkpoints and resumed, if asked."""
    run = Run.create(folder, "bandits", CONFIG)
    if stop_after is not None:
        original, count = Run.checkpoint, [0]

        def checkpoint(self: Run, *arguments: object, **named: object) -> None:
            original(self, *arguments, **named)
            count[0] += 1
            if count[0] == stop_after:
                raise Interrupted

        with monkeypatch.context() as patch:
            patch.setattr(Run, "checkpoint", checkpoint)
            with pytest.raises(Interrupted):
                experiment().train(run)
        run.close()
        run = Run.open(folder, writable=True)
    experiment().train(run)
    run.finish()
    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        yield trained(tmp_path_factory.mktemp("whole") / "run", patch)


@pytest.mark.parametrize("stop_after", [1, 5, 8])
def test_an_interrupted_run_writes_the_same_metrics(
    stop_after: int, whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed = trained(tmp_path / "run", monkeypatch, stop_after)
    assert (resumed.path / "metrics.csv").read_bytes() == (whole.path / "metrics.csv").read_bytes()

    def without_time(run: Run) -> list[dict]:
        rows = json.loads((run.path / "report.json").read_text())
        return [{name: value for name, value in row.items() if name != "microseconds"} for row in rows]

    assert without_time(resumed) == without_time(whole)


def test_the_report(whole: Run) -> None:
    rows = json.loads((whole.path / "report.json").read_text())
    assert [row["label"] for row in rows] == list(CONFIG["agents"])
    metrics = read_metrics(whole.path / "metrics.csv")
    finals = experiment()
    finals.load(whole.restore().arrays)
    for row, simulation in zip(rows, finals.simulations.values(), strict=True):
        result = simulation.result()
        final = result.pseudo_regret[:, -1]
        assert row["runs"] == 3 and row["misses"] == 0
        assert row["pseudo"]["mean"] == pytest.approx(final.mean())
        assert row["pseudo"]["median"] == pytest.approx(np.median(final))
        assert row["pseudo"]["low"] == pytest.approx(np.quantile(final, 0.05))
        assert row["pseudo"]["high"] == pytest.approx(np.quantile(final, 0.95))
        assert row["pseudo"]["sd"] == pytest.approx(final.std(ddof=1))
        assert row["reward"]["mean"] == pytest.approx(result.reward_regret[:, -1].mean())
        assert row["optimal_share"] == result.optimal_share()
        k = [tuple(u) for u in simulation.algorithm.actions.tolist()].index(tuple(row["recommended"]))
        assert row["recommended_value"] == pytest.approx(result.values[k])
        assert row["microseconds"] > 0
    low, high = rows[0]["interval"]
    assert low < rows[0]["recommended_value"] < high
    assert rows[1]["interval"] is None
    last = dict(zip(metrics["agent"], metrics["pseudo_regret"], strict=True))
    for row in rows:
        assert last[row["label"]] == pytest.approx(row["pseudo"]["mean"])
    assert (whole.path / "regret.png").read_bytes().startswith(b"\x89PNG")


def test_evaluation_plays_the_recommendation(whole: Run) -> None:
    figures = experiment().evaluate(whole, episodes=4, seed=100)
    again = experiment().evaluate(whole, episodes=4, seed=100)
    assert figures == again and figures != experiment().evaluate(whole, episodes=4, seed=200)
    for label in CONFIG["agents"]:
        value, mean = figures[f"{label}: long-run value"], figures[f"{label}: mean reward"]
        assert mean == pytest.approx(value, abs=0.02)


def test_plots_of_several_runs(whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = experiment().plot([whole, whole], tmp_path / "curves.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    untrained = Run.create(tmp_path / "untrained", "bandits", CONFIG)
    with pytest.raises(ConfigError, match="no checkpoint"):
        experiment().plot([untrained], tmp_path / "empty.png")
    assert not (tmp_path / "empty.png").exists()


def test_the_main_job_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    status = main(["train", "bandits/ads", "horizon=2000", "seeds=4", "record=8", "--out", "ads"])
    assert status in (0, None)
    printed = capsys.readouterr().out
    assert "DynLin-UCB (tight)" in printed and "final regret after 2000 rounds, 4 runs each" in printed
    rows = {row["label"]: row for row in json.loads((tmp_path / "ads" / "report.json").read_text())}
    assert rows["DynLin-UCB (tight)"]["pseudo"]["mean"] < rows["expert"]["pseudo"]["mean"]
    assert rows["DynLin-UCB (tight)"]["recommended"] == [1.0, 0.0, 0.5]
    assert (tmp_path / "ads" / "regret.png").is_file()
    assert any((tmp_path / "ads" / "tensorboard").iterdir())


def test_a_bad_setting_on_the_command_line_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for setting in ("horizon=-5", "seeds=none", "env=dynrl/None-v0"):
        assert main(["train", "bandits/ads", setting, "--out", "bad"]) == 2
        message = capsys.readouterr().err.strip()
        assert len(message.splitlines()) == 1 and setting.split("=")[0] in message
        assert not list(tmp_path.iterdir())
