"""The experiment: its mistakes are named, and a run that was cut anywhere ends with the same numbers."""

import pytest

from dynrl.agents.robust.experiment import RobustComparison, RobustExperiment
from dynrl.config import from_mapping, read_config, to_mapping
from dynrl.errors import ConfigError
from dynrl.robust.report import RobustnessReport
from dynrl.runs.run import Run

SHORT = dict(read_config("robust/short").values)
del SHORT["experiment"]


def experiment(**changes):
    return RobustExperiment(from_mapping(RobustComparison, {**SHORT, **changes}, "test"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": {}}, "methods is empty"),
        ({"methods": {"mine": {"method": "iwoks"}}}, "did you mean 'iwocs'"),
        ({"methods": {"mine": {}}}, "no key 'method'"),
        ({"methods": {"mine": {"method": "dr", "lanes": 3}}}, "unknown key"),
        ({"uset": None}, "either uset"),
        ({"uset": "hoper"}, "hopper"),
        ({"env": "dynrl/Hopper-v0"}, "pole"),
        ({"budget": 0}, "budget must be at least 1"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        experiment(**changes)


class Cut(Exception):
    pass


class CutRun(Run):
    """Stops in the middle of everything, at the given log line."""

    at = 0

    def log(self, step, metrics, timings=None):
        type(self).at -= 1
        if self.at == 0:
            raise Cut
        super().log(step, metrics, timings)


@pytest.mark.slow
def test_a_run_cut_anywhere_ends_with_the_same_numbers(tmp_path):
    config = to_mapping(experiment().config)
    whole = Run.create(tmp_path / "whole", "robust", config)
    experiment().train(whole)
    whole.finish()
    cut = CutRun.create(tmp_path / "cut", "robust", config)
    cut.close()
    for at in (3, 6, 7):
        CutRun.at = at
        run = CutRun.open(tmp_path / "cut", writable=True)
        with pytest.raises(Cut):
            experiment().train(run)
        run.close()
    run = Run.open(tmp_path / "cut", writable=True)
    experiment().train(run)
    run.finish()
    assert (tmp_path / "cut/metrics.csv").read_bytes() == (tmp_path / "whole/metrics.csv").read_bytes()
    for policy in (tmp_path / "whole/policies").iterdir():
        assert policy.read_bytes() == (tmp_path / "cut/policies" / policy.name).read_bytes()
    for folder in (tmp_path / "whole/reports").iterdir():
        one, two = (
            RobustnessReport.from_json(
                (tmp_path / side / "reports" / folder.name / "report.json").read_text()
            )
            for side in ("whole", "cut")
        )
        assert one == two
    figures = experiment().evaluate(run, episodes=1, seed=5)
    assert list(figures)[:2] == ["policy search: worst", "policy search: worst, low"]
    assert all(figures[f"{label}: worst"] <= figures[f"{label}: average"] for label in SHORT["methods"])
    assert len(experiment().plot([run], tmp_path / "map.png")) == 2
