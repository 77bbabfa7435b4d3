"""The target of every robust learner: a full score on a hundred inverted pendulums is possible (spec section 14.11)."""

import jax.numpy as jnp
import numpy as np
import pytest

from dynrl.robust import UncertaintySet, uset
from dynrl.robust.evaluation import make_evaluator
from dynrl.robust.policy import FunctionPolicy

ENV = "dynrl/InvertedPendulum-v0"
ROBUST = {"scale": [0.61, 9.54, 1.24, 0.87], "keep": [0.35, 15.68, 0.47, 0.64]}  # by inertia
LQR = [0.771, 8.751, 1.318, 1.591]  # of the nominal masses, with unit weights on states and force


def returns(gains, masses):
    policy = FunctionPolicy(lambda observation: observation @ jnp.array(gains)[:, None])
    return make_evaluator(ENV, masses)(policy, masses.grid(10, endpoint=True), np.arange(2)).returns


@pytest.mark.slow
@pytest.mark.parametrize("inertia", sorted(ROBUST))
def test_one_linear_feedback_balances_a_hundred_pendulums(inertia):
    masses = UncertaintySet(uset("inverted_pendulum", dims=2).params, inertia=inertia).bind(ENV)
    assert (returns(ROBUST[inertia], masses) == 1000).all()


@pytest.mark.slow
def test_the_average_says_nothing_about_the_worst():
    cells = returns(LQR, uset("inverted_pendulum", dims=2)).mean(axis=1)
    assert cells.mean() > 900
    assert cells.min() < 10
