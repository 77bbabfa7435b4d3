"""Objectives and statistics by hand; paired seeds are paired."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from dynrl.agents.digital_twins.controllers import Constant
from dynrl.agents.digital_twins.lifting import lift, paired_difference, summarise, wilson_interval
from dynrl.agents.digital_twins.objectives import SetPoint, Yield


def test_set_point_costs_by_hand() -> None:
    objective = SetPoint((50.0, 200.0, None), tail=2)
    macro = jnp.array([[50.0, 200.0, 7.0], [25.0, 200.0, 9.0], [50.0, 220.0, 1.0], [50.0, 200.0, 1.0]])
    np.testing.assert_allclose(objective.instant(macro), [0.0, 0.25, 0.01, 0.0], rtol=1e-5, atol=1e-7)
    assert float(objective.cost(macro)) == pytest.approx(0.005)
    assert float(objective.full_cost(macro)) == pytest.approx(0.26 / 3)
    assert float(objective.cost(macro, stride=2)) == pytest.approx(0.0, abs=1e-7)


def test_a_target_of_zero_counts_absolute_errors() -> None:
    assert float(SetPoint((0.0, 10.0)).instant(jnp.array([3.0, 10.0]))) == pytest.approx(9.0)
    with pytest.raises(ValueError, match="at least one"):
        SetPoint((None, None))


def test_yield_of_nothing_is_nothing() -> None:
    np.testing.assert_allclose(
        Yield().value(jnp.array([0.0, 3.0]), jnp.array([0.0, 60.0])), [0.0, 0.05], rtol=1e-6
    )
    level = jnp.stack([jnp.zeros(11), jnp.zeros(11), jnp.full(11, 10.0)], -1)
    assert float(Yield().harvest(level)) == pytest.approx(0.02 * 10 * 10)
    assert float(Yield().harvest(level[::5], stride=5)) == pytest.approx(0.02 * 10 * 10)


def test_summary_by_hand() -> None:
    report = summarise(np.arange(1.0, 21.0))
    assert (report.mean, report.median, report.cvar, report.runs) == (10.5, 10.5, 19.5, 20)
    assert report.standard_error == pytest.approx(np.std(np.arange(20), ddof=1) / np.sqrt(20))
    with pytest.raises(ValueError, match="finite"):
        summarise([1.0, np.nan])


@pytest.mark.parametrize(
    ("count", "runs", "low", "high"), [(10, 100, 0.0552, 0.1744), (0, 20, 0.0, 0.1611), (20, 20, 0.8389, 1.0)]
)
def test_wilson_intervals_are_the_tabulated_ones(count: int, runs: int, low: float, high: float) -> None:
    np.testing.assert_allclose(wilson_interval(count, runs), (low, high), atol=1e-4)
    with pytest.raises(ValueError, match="expected"):
        wilson_interval(runs + 1, runs)


def test_equal_seeds_are_paired_and_a_zero_dose_is_no_control(meadow: Any) -> None:
    objective = SetPoint((35.0, 130.0), tail=50)
    none = lift(meadow, None, objective, seeds=8, steps=60)
    zero = lift(meadow, Constant(jnp.zeros(2)), objective, seeds=8, steps=60)
    np.testing.assert_allclose(none.macro, zero.macro, rtol=1e-5)
    assert paired_difference(none.cost, zero.cost)[0] == pytest.approx(0.0, abs=1e-6)
    some = lift(meadow, None, objective, seeds=[3, 5], steps=60)
    np.testing.assert_array_equal(some.macro, none.macro[[3, 5]])
    assert none.command.shape == (8, 60, 2) and not none.extinct.any() and none.overflow == 0
