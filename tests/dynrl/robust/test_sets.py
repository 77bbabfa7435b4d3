"""Parameters and uncertainty sets: bijections, membership, grids, and definitions that survive a process."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dynrl.robust import Ellipsoid, FiniteSet, Param, RateLimited, UncertaintySet
from dynrl.robust.parameter import Target
from dynrl.robust.sets import METHODS, set_from_dict, set_from_json

PARAMS = [
    Param("body:torso.mass", 0.1, 3.0, nominal=1.0),
    Param("geom:floor.friction[0]", 0.01, 100.0, scale="log", nominal=1.0),
    Param("delay.action", 0, 3),
    Param("attr:l", 0.7, 0.7, nominal=0.7),
]
UNIT = arrays(float, (5, 4), elements=st.floats(0, 1))
RNG = np.random.default_rng


def box() -> UncertaintySet:
    return UncertaintySet(PARAMS)


def test_targets_are_taken_apart() -> None:
    assert Target.parse("geom:floor.friction[0]") == Target("geom", "floor", "friction", (0,))
    assert Target.parse("joint:a.b.damping") == Target("joint", "a.b", "damping", ())
    assert Target.parse("option.gravity[2]") == Target("option", "", "gravity", (2,))
    assert Target.parse("attr:l") == Target("attr", "l", "", ())
    assert Target.parse("force:foot[0, 2]") == Target("force", "foot", "", (0, 2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"low": 2.0, "high": 1.0}, "low 2.0 is above high 1.0"),
        ({"low": np.nan}, "low is nan, expected a finite number"),
        ({"high": np.inf}, "high is inf, expected a finite number"),
        ({"nominal": "one"}, "nominal is 'one', expected a finite number"),
        ({"target": "bdy:torso.mass"}, "Did you mean 'body'"),
        ({"target": ""}, "is empty"),
        ({"target": "body:torso"}, "names no attribute"),
        ({"target": "force:foot"}, "needs axes 0, 1 or 2"),
        ({"target": "force:foot[3]"}, "needs axes 0, 1 or 2"),
        ({"target": "delay.observation"}, "the only delay is 'delay.action'"),
        ({"mode": "relative"}, "mode is 'relative', expected one of"),
        ({"scope": "floor"}, "scope is for the friction of geoms"),
        ({"scale": "log", "low": 0.0}, "a log scale needs low > 0"),
        ({"dtype": int, "low": 0.5}, "whole bounds expected"),
        ({"target": "force:foot[0]", "mode": "scale"}, "no nominal value to scale"),
        ({"target": "delay.action", "low": -1}, "a delay is not negative"),
    ],
)
def test_wrong_parameters_are_named(changes: dict, message: str) -> None:
    values = {"target": "body:torso.mass", "low": 0.1, "high": 3.0, **changes}
    with pytest.raises(ValueError, match=message):
        Param(**values)


def test_forces_have_one_dimension_per_axis() -> None:
    uset = UncertaintySet([Param("force:foot[0,2]", -3, 3), Param("body:torso.mass", 1, 2)])
    assert uset.names == ("force:foot[0]", "force:foot[2]", "body:torso.mass")
    assert uset.dim == 3


@pytest.mark.parametrize(
    ("params", "message"),
    [([], "at least one parameter"), ([PARAMS[0], PARAMS[0]], "'body:torso.mass' comes twice")],
)
def test_wrong_sets_are_named(params: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UncertaintySet(params)


@given(UNIT)
def test_unit_cube_maps_into_the_box_and_back(unit: np.ndarray) -> None:
    psi = box().from_unit(unit)
    assert box().contains(psi).all()
    back = box().to_unit(psi)
    np.testing.assert_allclose(back[:, :2], unit[:, :2], atol=1e-12)
    # A whole number stands for a quarter of the interval here; a fixed dimension for its middle.
    assert (np.abs(back[:, 2] - unit[:, 2]) <= 0.125 + 1e-12).all()
    assert (back[:, 3] == 0.5).all()
    np.testing.assert_allclose(box().from_unit(back), psi, rtol=1e-12)


def test_log_scale_is_even_in_the_logarithm() -> None:
    np.testing.assert_allclose(box().from_unit(np.full(4, 0.5))[1], 1.0, rtol=1e-14)


def test_every_whole_number_has_the_same_share() -> None:
    drawn = box().sample(RNG(0), 4000, "sobol")[:, 2]
    np.testing.assert_allclose(np.bincount(drawn.astype(int)), 1000, atol=5)


@pytest.mark.parametrize("method", METHODS)
def test_samples_are_inside_uniform_and_repeatable(method: str) -> None:
    drawn = box().sample(RNG(3), 1024, method)
    assert box().contains(drawn).all()
    np.testing.assert_array_equal(drawn, box().sample(RNG(3), 1024, method))
    unit = np.sort(box().to_unit(drawn)[:, 0])
    # Kolmogorov-Smirnov at 99.9 %: 1.95 / sqrt(n).
    assert np.abs(unit - (np.arange(1024) + 0.5) / 1024).max() < 1.95 / np.sqrt(1024)


def test_low_discrepancy_points_fill_every_cell() -> None:
    unit = UncertaintySet(PARAMS[:2]).to_unit(UncertaintySet(PARAMS[:2]).sample(RNG(1), 256, "sobol"))
    cells = np.floor(unit * 16).astype(int)
    assert len({tuple(cell) for cell in cells}) == 256


def test_grids_of_both_conventions() -> None:
    uset = UncertaintySet(PARAMS[:1])
    np.testing.assert_allclose(uset.grid(10)[:, 0], np.linspace(0.1, 3.0, 10))
    # RRLS: the upper end is never tested.
    np.testing.assert_allclose(uset.grid(10, endpoint=False)[:, 0], 0.1 + np.arange(10) * 0.29)
    assert UncertaintySet(PARAMS[:1], grid_endpoint=False).grid(10).max() == pytest.approx(2.71)
    two = UncertaintySet([Param("attr:a", 0, 1), Param("attr:b", 0, 1)]).grid(2)
    np.testing.assert_array_equal(two, [[0, 0], [0, 1], [1, 0], [1, 1]])
    with pytest.raises(ValueError, match="n is 0"):
        uset.grid(0)


def test_fixed_and_whole_dimensions_in_grids_and_corners() -> None:
    grid = box().grid(3)
    assert grid.shape == (3 * 3 * 3, 4)
    assert set(grid[:, 3]) == {0.7} and set(grid[:, 2]) == {0, 2, 3}
    corners = box().corners()
    assert corners.shape == (8, 4)
    expected = {(a, b, c) for a in (0.1, 3.0) for b in (0.01, 100.0) for c in (0, 3)}
    assert {tuple(row) for row in corners[:, :3]} == expected
    np.testing.assert_array_equal(box().free, [0, 1, 2])


def test_clip_is_the_nearest_member() -> None:
    clipped = box().clip(np.array([9.0, 0.0, 1.4, 0.0]))
    np.testing.assert_array_equal(clipped, [3.0, 0.01, 1.0, 0.7])
    assert box().contains(clipped)
    assert not box().contains(np.array([1.0, 1.0, 0.5, 0.7]))


def test_wrong_lengths_are_named() -> None:
    with pytest.raises(ValueError, match=r"psi has shape \(3,\), expected \[\.\.\., 4\]"):
        box().contains(np.zeros(3))


def test_nominal_values_that_nobody_knows() -> None:
    with pytest.raises(ValueError, match=r"nominal value of 'attr:x' is in the model: use uset\.bind"):
        _ = UncertaintySet([Param("attr:x", 0, 1)]).nominal
    np.testing.assert_array_equal(UncertaintySet([Param("force:foot[0]", -1, 1)]).nominal, [0])
    np.testing.assert_array_equal(
        UncertaintySet([Param("joint:*.damping", 0.5, 2, mode="scale")]).nominal, [1]
    )


@pytest.mark.parametrize(
    "uset",
    [
        box(),
        FiniteSet([[1.0, 2.0], [3.0, 4.0]], [Param("attr:a", 0, 1), Param("attr:b", 0, 1)]),
        Ellipsoid(PARAMS[:2], name="e"),
        RateLimited(UncertaintySet(PARAMS[:1], inertia="keep", grid_endpoint=False), 0.1),
    ],
    ids=lambda uset: type(uset).__name__,
)
def test_definitions_survive_json(uset: UncertaintySet) -> None:
    again = set_from_json(uset.to_json())
    assert type(again) is type(uset)
    assert again == uset and again.hash == uset.hash
    np.testing.assert_array_equal(again.sample(RNG(0), 4), uset.sample(RNG(0), 4))


def test_hash_is_the_definition_in_every_process() -> None:
    text = json.dumps(box().to_dict())
    code = f"import json; from dynrl.robust.sets import set_from_dict; print(set_from_dict(json.loads({text!r})).hash)"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert other == box().hash
    assert UncertaintySet(PARAMS, inertia="keep").hash != box().hash
    assert UncertaintySet(PARAMS, name="other").hash == box().hash
    assert box().subset(["delay.action"]).hash != box().hash


def test_wrong_definitions_are_named() -> None:
    with pytest.raises(ValueError, match="lacks 'params'"):
        set_from_dict(
            {"kind": "UncertaintySet", "name": "", "nominal": [], "inertia": "scale", "grid_endpoint": True}
        )
    with pytest.raises(ValueError, match="kind is 'Box'"):
        set_from_dict({**box().to_dict(), "kind": "Box"})
    for kind, lacking in (("FiniteSet", "points"), ("RateLimited", "rate")):
        with pytest.raises(ValueError, match=f"lacks '{lacking}'"):
            set_from_dict({**box().to_dict(), "kind": kind})
    with pytest.raises(ValueError, match="has 1 nominal values, expected 4"):
        set_from_dict({**box().to_dict(), "nominal": [1.0]})
    with pytest.raises(ValueError, match="no 'lo'"):
        Param.from_dict({"target": "attr:a", "lo": 0, "low": 0, "high": 1})


def test_subset_keeps_the_order_asked_for() -> None:
    assert box().subset(["attr:l", "body:torso.mass"]).names == ("attr:l", "body:torso.mass")
    with pytest.raises(ValueError, match="no parameter is called 'mass'"):
        box().subset(["mass"])


def test_finite_sets_contain_their_points_only() -> None:
    points = np.array([[1.0, 5.0], [2.0, 7.0], [4.0, 5.5]])
    uset = FiniteSet(points, [Param("attr:a", 0, 1), Param("attr:b", 0, 1)])
    np.testing.assert_array_equal(uset.contains(np.array([[1.0, 5.0], [1.0, 7.0]])), [True, False])
    np.testing.assert_array_equal(uset.clip(np.array([1.9, 6.9])), [2.0, 7.0])
    np.testing.assert_array_equal(uset.grid(7), points)
    drawn = uset.sample(RNG(0), 3000)
    counts = [int((drawn == point).all(1).sum()) for point in points]
    # Binomial, 4 standard deviations.
    np.testing.assert_allclose(counts, 1000, atol=4 * np.sqrt(3000 * 2 / 9))
    with pytest.raises(ValueError, match="expected \\[K, 2\\]"):
        FiniteSet([[1.0]], uset.params)


@settings(max_examples=30)
@given(arrays(float, (6, 2), elements=st.floats(0, 1)))
def test_ellipsoid_coordinates_are_a_bijection_with_the_cube(unit: np.ndarray) -> None:
    uset = Ellipsoid([Param("attr:a", -1, 1), Param("attr:b", 2, 6)])
    psi = uset.from_unit(unit)
    inside = psi[:, 0] ** 2 + ((psi[:, 1] - 4) / 2) ** 2
    assert (inside <= 1 + 1e-12).all() and uset.contains(psi).all()
    np.testing.assert_allclose(uset.to_unit(psi), unit, atol=1e-9)


def test_ellipsoid_samples_are_uniform() -> None:
    uset = Ellipsoid([Param("attr:a", -1, 1), Param("attr:b", 2, 6)])
    drawn = uset.sample(RNG(0), 4000)
    radius = np.sqrt(drawn[:, 0] ** 2 + ((drawn[:, 1] - 4) / 2) ** 2)
    # In two dimensions the square of the radius is uniform; Kolmogorov-Smirnov at 99.9 %.
    assert np.abs(np.sort(radius**2) - (np.arange(4000) + 0.5) / 4000).max() < 1.95 / np.sqrt(4000)
    assert uset.contains(uset.corners()).all()
    np.testing.assert_allclose(uset.clip(np.array([3.0, 4.0])), [1.0, 4.0], atol=1e-12)


def test_rate_is_a_fraction_of_the_range() -> None:
    uset = RateLimited(UncertaintySet([Param("attr:a", 0, 10)]), 0.1)
    assert uset.step(np.array([5.0]), np.array([1.0])) == 6.0
    assert uset.step(np.array([9.5]), np.array([7.0])) == 10.0
    with pytest.raises(ValueError, match="rate is 0"):
        RateLimited(UncertaintySet([Param("attr:a", 0, 10)]), 0)


def test_a_nominal_value_without_a_logarithm_is_outside_and_has_no_coordinates() -> None:
    damping = Param("joint:rootx.damping", 1e-3, 1.0, scale="log", nominal=0.0)
    for kind in (UncertaintySet, Ellipsoid):
        uset = kind([damping, Param("attr:l", 0.5, 1.5, nominal=1.0)])
        inside = uset.contains(np.array([uset.nominal, [0.03, 1.0]]))
        np.testing.assert_array_equal(inside, [False, True])
        with pytest.raises(ValueError, match=r"'joint:rootx.damping' is 0, which has no logarithm"):
            uset.to_unit(uset.nominal)


def test_points_between_whole_numbers_are_named() -> None:
    with pytest.raises(ValueError, match=r"point 1: 'delay.action' is 0.5, expected a whole number"):
        FiniteSet([[0], [0.5], [2]], [Param("delay.action", 0, 2)])


def test_a_negative_number_of_points_is_named() -> None:
    with pytest.raises(ValueError, match="n is -1"):
        box().sample(RNG(0), -1)
