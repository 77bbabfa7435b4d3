"""The table of methods: every name leads to a learner that keeps the protocol."""

import dataclasses
import inspect

import pytest

from dynrl.agents.robust.methods import METHODS, find_method
from dynrl.agents.robust.training import RobustLearner
from dynrl.robust import Param, UncertaintySet


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_made_from_its_settings_and_trains_by_the_protocol(name):
    method = find_method(name)
    assert dataclasses.is_dataclass(method.Config) and method.Config.__dataclass_params__.frozen
    method(method.Config())
    asked, given = (list(inspect.signature(kind.train).parameters) for kind in (RobustLearner, method))
    assert given[: len(asked)] == asked


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("budget", [0, -3])
def test_a_budget_of_no_steps_is_refused_before_anything_is_made(name, budget):
    def never(num_envs, sampler):
        raise AssertionError("an environment was made")

    uset, method = UncertaintySet([Param("attr:psi", 0, 1, nominal=0.5)]), find_method(name)
    with pytest.raises(ValueError, match=f"budget is {budget}, expected at least 1"):
        method(method.Config()).train(never, uset, budget, seed=0)


def test_a_misspelt_method_is_told_its_neighbour():
    with pytest.raises(ValueError, match="m2td3"):
        find_method("m2dt3")
