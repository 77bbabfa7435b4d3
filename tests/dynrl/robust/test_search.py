"""Searches find known minima, within their budget, and leave nothing behind."""

import dataclasses
import os

import numpy as np
import pytest

from dynrl.robust import FiniteSet, Param, UncertaintySet
from dynrl.robust.search import (
    CMAES,
    Auto,
    Corners,
    Grid,
    RandomLocal,
    Sobol,
    rank_changes,
    steady_worst_case,
    worst_case_search,
)
from dynrl.testing.landscapes import SQUARE, Landscape, bowl, slope

BOWL, SLOPE = Landscape(bowl), Landscape(slope)
INSIDE = (0.3, 0.7)


@pytest.mark.parametrize("method", ["auto", "cmaes", "random+local"])
def test_finds_a_minimum_inside(method):
    found = worst_case_search(INSIDE, BOWL, SQUARE, method, budget=800)
    assert found.value == pytest.approx(-5, abs=1e-6)
    np.testing.assert_allclose(found.psi, SQUARE.from_unit(np.array(INSIDE)), atol=0.02)


@pytest.mark.parametrize("method", ["auto", "cmaes", "corners", "grid", "random+local"])
def test_finds_a_corner(method):
    found = worst_case_search(None, SLOPE, SQUARE, method, budget=600)
    assert found.value == pytest.approx(7, abs=1e-6)
    np.testing.assert_allclose(found.psi, [3, 10], atol=1e-5)


@pytest.mark.parametrize("method", ["auto", "cmaes", "random+local", "sobol", Auto(sobol=16, starts=2)])
def test_the_seed_decides(method):
    first, again, other = (
        worst_case_search(INSIDE, BOWL, SQUARE, method, budget=300, seed=seed) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.trace.psi, again.trace.psi)
    assert not np.array_equal(first.trace.psi, other.trace.psi)


@pytest.mark.parametrize("method", ["auto", "cmaes", "random+local", "sobol", "grid", "corners"])
def test_every_model_lies_in_the_set_and_is_counted(method):
    seen = []

    def counting(policy, psi, seeds):
        seen.extend(psi)
        return SLOPE(policy, psi, seeds)

    found = worst_case_search(None, counting, SQUARE, method, budget=333)
    assert SQUARE.contains(np.array(seen)).all()
    assert len(seen) == found.evaluations == len(found.trace.values) == found.env_steps <= 333
    np.testing.assert_array_equal(found.trace.psi, seen)
    assert found.value == found.trace.worst_so_far[-1] == found.trace.values.min()
    assert (np.diff(found.trace.worst_so_far) <= 0).all()


def test_leaves_global_state_console_and_folder_alone(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    np.random.seed(7)  # noqa: NPY002
    before = np.random.get_state()  # noqa: NPY002
    worst_case_search(INSIDE, BOWL, SQUARE, "cmaes", budget=600)
    worst_case_search(None, SLOPE, SQUARE, "auto", budget=600)
    after = np.random.get_state()  # noqa: NPY002
    np.testing.assert_array_equal(before[1], after[1])
    assert before[2:] == after[2:]
    assert os.listdir(tmp_path) == []
    assert capfd.readouterr() == ("", "")


def test_a_budget_below_a_generation_gives_one_partial_generation():
    found = worst_case_search(INSIDE, BOWL, SQUARE, CMAES(population=30), budget=7)
    assert (found.evaluations, found.partial, found.stopped) == (7, True, "budget")
    whole = worst_case_search(INSIDE, BOWL, SQUARE, CMAES(population=30), budget=60)
    assert (whole.evaluations, whole.partial, whole.stopped) == (60, False, "budget")
    np.testing.assert_array_equal(whole.trace.generation, np.repeat([0, 1], 30))


def test_no_budget_is_an_error():
    with pytest.raises(ValueError, match="budget is 0"):
        worst_case_search(INSIDE, BOWL, SQUARE, budget=0)


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({"method": "annealing"}, "annealing"),
        ({"objective": "median"}, "median"),
        ({"alpha": 0.0}, "alpha"),
        ({"seed": -1}, "seed"),
        ({"episodes": 0}, "episodes"),
    ],
)
def test_bad_requests_name_what_is_wrong(asked, what):
    with pytest.raises(ValueError, match=what):
        worst_case_search(INSIDE, BOWL, SQUARE, **asked)


def test_grids_of_both_conventions():
    points = [
        worst_case_search(None, SLOPE, SQUARE, Grid(5, endpoint=end), budget=100).trace.psi
        for end in (True, False)
    ]
    np.testing.assert_allclose(np.unique(points[0][:, 0]), [-1, 0, 1, 2, 3])
    np.testing.assert_allclose(np.unique(points[1][:, 0]), [-1, -0.2, 0.6, 1.4, 2.2])
    assert points[0].shape == (25, 2)


def test_a_fixed_parameter_stays_and_is_not_searched():
    fixed = UncertaintySet([Param("attr:x", -1, 3), Param("attr:z", 5, 5), Param("attr:y", 10, 20)])
    landscape = Landscape(lambda policy, psi: psi[:, 2] - psi[:, 0])
    found = worst_case_search(None, landscape, fixed, Grid(3), budget=100)
    assert found.evaluations == 9 and (found.trace.psi[:, 1] == 5).all()
    np.testing.assert_array_equal(found.psi, [3, 5, 10])


def test_a_set_of_one_model_is_evaluated_once():
    single = UncertaintySet([Param("attr:x", 2, 2), Param("attr:y", 11, 11)])
    found = worst_case_search(None, SLOPE, single, budget=50)
    assert (found.evaluations, found.value, found.stopped) == (1, 9.0, "exhausted")


def test_of_a_finite_set_every_model_is_evaluated():
    points = [[0.0, 12.0], [2.0, 11.0], [1.0, 19.0]]
    finite = FiniteSet(points, SQUARE.params)
    found = worst_case_search(None, SLOPE, finite, budget=10)
    np.testing.assert_array_equal(found.trace.psi, points)
    assert (found.value, found.stopped, found.method) == (9.0, "exhausted", "all models")
    assert worst_case_search(None, SLOPE, finite, budget=2).partial


def test_one_parameter_is_enough_for_cmaes():
    line = UncertaintySet([Param("attr:x", -1, 3)])
    found = worst_case_search(
        None, Landscape(lambda p, psi: (psi[:, 0] - 0.5) ** 2), line, "cmaes", budget=300
    )
    assert found.psi[0] == pytest.approx(0.5, abs=1e-4)


def test_many_parameters_get_a_draw_of_their_corners():
    cube = UncertaintySet([Param(f"attr:x{i}", 0, 1) for i in range(12)])
    found = worst_case_search(
        None, Landscape(lambda p, psi: psi.sum(axis=1)), cube, Corners(limit=50), budget=99
    )
    assert found.evaluations == 50
    assert len(np.unique(found.trace.psi, axis=0)) == 50 and set(found.trace.psi.flat) == {0.0, 1.0}


def test_sobol_points_are_evener_than_random_ones():
    found = worst_case_search(None, SLOPE, SQUARE, Sobol(256), budget=256)
    unit = SQUARE.to_unit(found.trace.psi)
    cells = np.histogram2d(*unit.T, bins=16, range=[[0, 1], [0, 1]])[0]
    assert (cells == 1).all()  # a (0, 8, 2)-net in base 2 has one point in each of the 16 x 16 squares


def test_objectives_are_of_the_episodes():
    # Two kinds of models: one loses rarely but much, one always little.
    def value(policy, psi, seeds):
        table = np.where(psi[:, :1] < 1, [[-10.0, 2.0, 2.0, 2.0]], [[-1.5] * 4])
        played = SLOPE(policy, psi, seeds)
        return type(played)(
            table, table, played.lengths, played.terminated, played.diverged, played.env_steps
        )

    asked = {"method": Grid(2), "budget": 4, "episode_seeds": [0, 1, 2, 3]}
    mean, cvar, quantile = (
        worst_case_search(None, value, SQUARE, objective=name, alpha=0.25, **asked)
        for name in ("mean", "cvar", "quantile")
    )
    assert (mean.value, mean.psi[0]) == (-1.5, 3)
    assert (cvar.value, cvar.psi[0]) == (-10, -1)
    assert quantile.value == -10


def test_common_random_numbers():
    asked = []

    def listening(policy, psi, seeds):
        asked.append(tuple(seeds))
        return SLOPE(policy, psi, seeds)

    found = worst_case_search(None, listening, SQUARE, "cmaes", budget=60, episodes=5, seed=2)
    assert len(set(asked)) == 1 and asked[0] == found.episode_seeds and len(set(asked[0])) == 5


def test_an_error_of_the_policy_says_how_to_repeat_it():
    def failing(policy, psi, seeds):
        raise FloatingPointError("the policy divided by zero")

    with pytest.raises(FloatingPointError) as caught:
        worst_case_search(None, failing, SQUARE, Grid(2), budget=4, episode_seeds=[12])
    assert "attr:x=-1.0, attr:y=10.0" in caught.value.__notes__[0] and "[12]" in caught.value.__notes__[0]


def test_random_local_narrows_down():
    found = worst_case_search(INSIDE, BOWL, SQUARE, RandomLocal(random=20, cloud=10), budget=400)
    distance = np.linalg.norm(SQUARE.to_unit(found.trace.psi) - INSIDE, axis=1)
    assert distance[:20].mean() > 5 * distance[-100:].mean()


def test_an_order_that_noise_cannot_change_needs_one_episode():
    found = steady_worst_case(None, SLOPE, SQUARE, Grid(6), budget=36)
    assert rank_changes(None, SLOPE, found)[0] == 0
    # Noise that all models share changes no order either.
    shared = steady_worst_case(None, Landscape(slope, noise=50.0), SQUARE, Grid(6), budget=36)
    assert len(found.episode_seeds) == len(shared.episode_seeds) == 1
    assert found.env_steps == 36 + 4  # a tenth of the models was played again


def test_episodes_are_doubled_until_the_order_is_steady():
    asked = []

    def independent(policy, psi, seeds):
        played = SLOPE(policy, psi, seeds)
        asked.append(len(seeds))
        noise = [
            [np.random.default_rng([int(s), int(1e6 * row.sum())]).normal() for s in seeds] for row in psi
        ]
        return dataclasses.replace(played, returns=played.returns + 4 * np.array(noise))

    found = steady_worst_case(None, independent, SQUARE, Grid(10), budget=100, max_episodes=256)
    used = len(found.episode_seeds)
    assert 4 <= used < 256 and asked[0] == 1 and max(asked) == used
    assert rank_changes(None, independent, found)[0] <= 0.2
    once = worst_case_search(None, independent, SQUARE, Grid(10), budget=100)
    assert rank_changes(None, independent, once)[0] > 0.4
