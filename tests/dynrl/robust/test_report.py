"""The robustness report: its numbers on landscapes known in closed form, its file, and its pictures."""

import dataclasses
import json
import math

import numpy as np
import pytest

from dynrl.errors import FileFormatError, UserError
from dynrl.robust import Ellipsoid, FiniteSet, Param, UncertaintySet
from dynrl.robust.executors import ParallelEvaluator
from dynrl.robust.measurements import Bracket
from dynrl.robust.pictures import (
    heat_map,
    parallel_coordinates,
    profiles,
    slices,
    validity_shares,
    worst_path,
)
from dynrl.robust.report import RobustnessReport, robustness_report, write_report
from dynrl.robust.search import Grid, worst_case_search
from dynrl.robust.statistics import coverage_sentence
from dynrl.testing.landscapes import SQUARE, Landscape, bowl, slope

EXACT, NOISY = Landscape(slope), Landscape(slope, noise=2.0)
CUBE = UncertaintySet([Param(f"attr:{name}", 0.0, 1.0, nominal=0.5) for name in "abc"])
SUM = Landscape(lambda policy, psi: psi.sum(axis=1))
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def noisy():
    return robustness_report(
        None,
        NOISY,
        SQUARE,
        points=5,
        episodes=4,
        confirm_episodes=30,
        failure_below=8.5,
        bracket=Bracket(1, 2, "x"),
    )


def test_numbers_without_noise_by_hand():
    # y - x on x in -1, 1, 3 and y in 10, 15, 20: 11 16 21, 9 14 19, 7 12 17.
    report = robustness_report(
        None, EXACT, SQUARE, points=3, episodes=2, confirm_episodes=3, failure_below=10
    )
    assert sorted(report.cells.mean) == [7, 9, 11, 12, 14, 16, 17, 19, 21]
    assert report.worst.value == 7 and report.worst.psi.tolist() == [3, 10]
    assert report.worst.interval == report.worst.bootstrap == (7, 7)
    assert (report.average, report.best) == (14, 21)
    assert report.nominal.mean[0] == 15
    # alpha N = 0.45, 0.9 and 2.25 cells: 7, 7, (7 + 9 + 0.25 * 11) / 2.25.
    assert report.cvar == pytest.approx({"0.05": 7, "0.1": 7, "0.25": 18.75 / 2.25})
    assert report.failures[0] == 2 / 9
    assert report.env_steps == {
        "report, first stage": 18,
        "report, second stage": 3,
        "report, single models": 3,
    }


def test_only_the_worst_models_are_played_again_and_only_fresh_episodes_count(noisy):
    again = noisy.cells.episodes == 30
    assert again.sum() == 3 and set(noisy.cells.episodes[~again]) == {4}
    assert noisy.cells.first_mean[again].max() <= noisy.cells.first_mean[~again].min()
    assert not set(noisy.first_seeds) & set(noisy.second_seeds)
    shake = np.mean([np.random.default_rng(s).normal() for s in noisy.second_seeds])
    assert noisy.worst.value == pytest.approx(7 + 2 * shake, abs=1e-12)
    assert noisy.worst.interval.low < noisy.worst.value < noisy.worst.interval.high
    np.testing.assert_allclose(noisy.cells.mean[~again], noisy.cells.first_mean[~again])


def test_the_first_stage_is_too_optimistic_for_the_adversary_and_the_second_is_not():
    # Sixty-four equal models with independent noise: the lowest first mean is biased far below, the fresh one is not.
    flat = Landscape(lambda policy, psi: 0 * psi[:, 0])

    def independent(policy, psi, seeds):
        played = flat(policy, psi, seeds)
        noise = np.array(
            [[np.random.default_rng([int(s), int(1e6 * row.sum())]).normal() for s in seeds] for row in psi]
        )
        return dataclasses.replace(played, returns=noise)

    reports = [
        robustness_report(
            None,
            independent,
            SQUARE,
            points=8,
            episodes=4,
            confirm_episodes=40,
            confirm_share=0.02,
            seed=seed,
        )
        for seed in range(12)
    ]
    first = np.array([r.cells.first_mean.min() for r in reports])
    second = np.array([r.worst.value for r in reports])
    assert first.max() < -0.6  # E min of 64 means of 4 is -1.2
    assert abs(second.mean()) < 4 / math.sqrt(40 * 12 / 2)  # two models at 40 episodes, the lower one


def test_a_worse_model_of_the_search_is_the_worst():
    found = worst_case_search((0.33, 0.61), Landscape(bowl), SQUARE, budget=600)
    report = robustness_report((0.33, 0.61), Landscape(bowl), SQUARE, points=4, episodes=2, search=found)
    assert report.worst.found_by == "search" and report.worst.value == pytest.approx(-5, abs=1e-6)
    assert report.cells.mean.min() > -4.999
    assert report.search["evaluations"] == 600 and len(report.search["trace"]["values"]) == 600


def test_uniform_models_say_what_they_cover():
    report = robustness_report(
        None, EXACT, SQUARE, design="uniform", points=59, episodes=1, confirm_episodes=0
    )
    assert report.coverage == coverage_sentence(59) and report.coverage in report.summary()
    assert len(np.unique(report.cells.psi, axis=0)) == 59 and SQUARE.contains(report.cells.psi).all()
    assert report.worst.interval == (-math.inf, math.inf)  # one episode of each


def test_the_grid_convention_is_recorded():
    report = robustness_report(None, EXACT, SQUARE, points=4, endpoint=False, episodes=1)
    assert report.design == {"kind": "grid", "points": 4, "endpoint": False}
    assert report.cells.psi[:, 0].max() == 2.0


def test_models_of_sets_with_few_members():
    """One model; members of a finite set and whole numbers once each; an ellipsoid that a grid of corners misses."""
    a, whole = Param("attr:a", 0.0, 1.0, nominal=0.5), Param("attr:n", 0, 2, dtype=int, nominal=1)

    def models(uset, design, points):
        report = robustness_report(
            None, SUM, uset, design=design, points=points, episodes=1, confirm_episodes=0
        )
        return report.cells.psi.ravel().tolist()

    assert models(UncertaintySet([Param("attr:a", 2, 2, nominal=2)]), "offset grid", 5) == [2]
    assert models(FiniteSet([[3.0], [1.0]], [a]), "offset grid", 7) == [1, 3]
    assert models(UncertaintySet([whole]), "offset grid", 7) == [0, 1, 2]
    with pytest.raises(ValueError, match="no point of a grid with 2 per parameter is in the Ellipsoid"):
        models(Ellipsoid([a, Param("attr:b", 0, 1, nominal=0)]), "grid", 2)


def test_an_environment_is_no_evaluator():
    with pytest.raises(TypeError, match=r"of type str; expected what dynrl.robust.make_evaluator"):
        robustness_report(None, "dynrl/Pendulum-v0", CUBE)
    with pytest.raises(TypeError, match=r"of type str; expected what dynrl.robust.make_evaluator"):
        worst_case_search(None, "dynrl/Pendulum-v0", CUBE)


def test_an_offset_grid_shares_no_model_with_the_grid():
    grid, offset, spread = (
        robustness_report(None, EXACT, SQUARE, design=design, points=4, episodes=1).cells.psi
        for design in ("grid", "offset grid", "sobol")
    )
    np.testing.assert_allclose(np.unique(offset[:, 0]), [-0.5, 0.5, 1.5, 2.5])
    assert offset.shape == (16, 2) and not set(map(tuple, offset)) & set(map(tuple, grid))
    # Four Sobol points: one in each quarter of every axis.
    for column in SQUARE.to_unit(spread).T:
        np.testing.assert_array_equal(np.sort(np.floor(4 * column)), [0, 1, 2, 3])


def test_json_round_trip_has_no_nan(noisy):
    one_episode = robustness_report(None, EXACT, SQUARE, points=2, episodes=1, confirm_episodes=0)
    for report in (noisy, one_episode):
        text = report.to_json()
        assert "NaN" not in text and "Infinity" not in text
        read = RobustnessReport.from_json(text)
        assert read == report and read.to_json() == text
        np.testing.assert_array_equal(read.cells.episodes, report.cells.episodes)
    assert json.loads(one_episode.to_json())["worst"]["interval"] == [None, None]


def test_circumstances_are_no_part_of_equality(noisy):
    later = dataclasses.replace(noisy, circumstances={"wall_s": 1e9})
    assert later == noisy and hash(later) == hash(noisy)
    assert later.to_json() != noisy.to_json() and later.to_json(False) == noisy.to_json(False)
    assert dataclasses.replace(noisy, seed=1) != noisy


@pytest.mark.parametrize(
    ("kind", "models", "episodes"), [("serial", 1, 3), ("serial", 7, None), ("threads", 2, 1)]
)
def test_the_same_bytes_however_the_work_is_cut(noisy, kind, models, episodes):
    with ParallelEvaluator(NOISY, kind, workers=3, models=models, episodes=episodes) as evaluator:
        report = robustness_report(
            None,
            evaluator,
            SQUARE,
            points=5,
            episodes=4,
            confirm_episodes=30,
            failure_below=8.5,
            bracket=Bracket(1, 2, "x"),
        )
    assert report.to_json(False) == noisy.to_json(False)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1}', '{"version": 7}'])
def test_what_is_no_report_is_refused(text):
    with pytest.raises(FileFormatError, match="robustness report"):
        RobustnessReport.from_json(text)


def test_summary_is_short_and_says_where(noisy):
    everything = dataclasses.replace(
        noisy,
        coverage=coverage_sentence(9),
        cells=dataclasses.replace(noisy.cells, diverged=0 * noisy.cells.mean + 1),
    )
    lines = everything.summary().splitlines()
    assert len(lines) <= 12
    assert any("attr:x=3, attr:y=10" in line for line in lines)


@pytest.mark.parametrize(
    "asked",
    [{"design": "halton"}, {"points": 0}, {"confirm_share": 0.0}, {"confirm_episodes": -1}, {"episodes": 0}],
)
def test_bad_requests(asked):
    with pytest.raises(ValueError, match="|".join(asked)):
        robustness_report(None, EXACT, SQUARE, **asked)


def test_folder_of_a_report(tmp_path):
    two = robustness_report(None, EXACT, SQUARE, points=3, episodes=1)
    written = write_report(two, tmp_path / "two")
    assert [path.name for path in written] == ["report.json", "summary.txt", "profiles.png", "heat_map.png"]
    assert RobustnessReport.from_json(written[0].read_text()) == two
    three = robustness_report(None, SUM, CUBE, points=3, episodes=1)
    names = {path.name for path in write_report(three, str(tmp_path / "three"))}
    assert {"slices.png", "parallel_coordinates.png"} <= names
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        write_report(two, tmp_path / "file" / "below")


def test_heat_maps_show_the_right_cells_on_one_scale(tmp_path, monkeypatch):
    import matplotlib.axes

    drawn = []
    pcolormesh = matplotlib.axes.Axes.pcolormesh

    def recording(self, xs, ys, table, **settings):
        if "vmin" in settings:  # the colour bar draws itself with the same method
            drawn.append((np.array(xs), np.array(ys), np.array(table), settings["vmin"], settings["vmax"]))
        return pcolormesh(self, xs, ys, table, **settings)

    monkeypatch.setattr(matplotlib.axes.Axes, "pcolormesh", recording)
    low = robustness_report(None, SUM, CUBE, points=3, episodes=1)
    high = robustness_report(None, Landscape(lambda p, psi: 10 - psi.sum(axis=1)), CUBE, points=3, episodes=1)
    heat_map({"low": low, "high": high}, tmp_path / "a.png", x="attr:c", y="attr:a")
    (xs, ys, first, *scale), (_, _, second, *other) = drawn
    assert scale == other == [0.0, 9.0]
    # Through the worst cell of each: b = 0 where all count against the policy, b = 1 in the other.
    np.testing.assert_allclose(first, xs[None, :] + ys[:, None])
    np.testing.assert_allclose(second, 9 - xs[None, :] - ys[:, None])
    drawn.clear()
    heat_map({"high": high}, tmp_path / "b.png", others="minimum")
    np.testing.assert_allclose(drawn[0][2], 9 - xs[None, :] - ys[:, None])


def test_heat_maps_show_all_of_the_set(tmp_path, monkeypatch):
    from dynrl.robust import pictures

    figures = []
    monkeypatch.setattr(pictures, "save_figure", lambda figure, out: figures.append(figure) or out)
    heat_map({"low": robustness_report(None, SUM, CUBE, points=3, episodes=1)}, tmp_path / "a.png")
    cells, _ = figures[0].axes
    values = robustness_report(None, SUM, CUBE, points=3, episodes=1).cells.psi[:, :2]
    half = (values.max(axis=0) - values.min(axis=0)) / 4  # of the width of a cell
    np.testing.assert_allclose(cells.get_xlim(), [values[:, 0].min() - half[0], values[:, 0].max() + half[0]])
    np.testing.assert_allclose(cells.get_ylim(), [values[:, 1].min() - half[1], values[:, 1].max() + half[1]])


def test_every_picture_is_written(tmp_path):
    three = robustness_report(None, SUM, CUBE, points=3, episodes=1)
    written = [
        profiles({"a": three, "b": three}, tmp_path / "profiles.png"),
        slices(three, tmp_path / "slices.png"),
        parallel_coordinates(three, tmp_path / "parallel.png"),
        worst_path(np.array([[0.0, 1.0], [0.5, 0.2]]), [-3.0, -2.0], ["x", "y"], tmp_path / "path.png"),
        validity_shares(np.array([[1.0, 0.0], [0.7, 0.3]]), tmp_path / "shares.png"),
    ]
    assert all(path.read_bytes().startswith(PNG) for path in written)


def test_pictures_that_would_mislead_are_refused(tmp_path):
    grid = robustness_report(None, EXACT, SQUARE, points=3, episodes=1)
    other = robustness_report(None, EXACT, SQUARE, points=4, episodes=1)
    cloud = robustness_report(None, EXACT, SQUARE, design="uniform", points=9, episodes=1)
    out = tmp_path / "a.png"
    with pytest.raises(ValueError, match="other models"):
        heat_map({"a": grid, "b": other}, out)
    with pytest.raises(ValueError, match="expected a grid"):
        heat_map({"a": cloud}, out)
    with pytest.raises(ValueError, match="attr:q"):
        heat_map({"a": grid}, out, x="attr:q")
    with pytest.raises(ValueError, match="add up to 1"):
        validity_shares(np.array([[0.5, 0.2]]), out)
    with pytest.raises(UserError, match=r"a\.txt"):
        heat_map({"a": grid}, tmp_path / "a.txt")


def test_search_and_report_meet_different_episodes():
    found = worst_case_search(None, NOISY, SQUARE, Grid(3), 9, episodes=50)
    report = robustness_report(None, NOISY, SQUARE, points=3, episodes=50)
    assert not set(found.episode_seeds) & set(report.first_seeds + report.second_seeds)
