"""The table of methods: every name leads to a learner that keeps the protocol."""

import dataclasses
import inspect

import pytest

from dynrl.agents.robust.methods import METHODS, find_method
from dynrl.agents.robust.training import RobustLearner


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_made_from_its_settings_and_trains_by_the_protocol(name):
    method = find_method(name)
    assert dataclasses.is_dataclass(method.Config) and method.Config.__dataclass_params__.frozen
    method(method.Config())
    asked, given = (list(inspect.signature(kind.train).parameters) for kind in (RobustLearner, method))
    assert given[: len(asked)] == asked


def test_a_misspelt_method_is_told_its_neighbour():
    with pytest.raises(ValueError, match="m2td3"):
        find_method("m2dt3")
