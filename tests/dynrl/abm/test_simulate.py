"""Cohorts: paired seeds, schedules and policies, patients of their own, overflow."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynrl.abm import (
    AgentBasedModel,
    GrowingModel,
    Intervention,
    Population,
    Stepped,
    died,
    place,
    simulate,
    size,
    subset,
    uniform,
)


class Rates(NamedTuple):
    birth: float
    first: int


@dataclass(frozen=True)
class Colony:
    """Every cell divides with the probability `birth`; the control is how many are taken out before."""

    capacity: int = 64
    macro_names = ("cells",)
    macro_scale = (10.0,)
    control_names = ("taken",)
    control_low, control_high = (0.0,), (10.0,)

    def default_params(self):
        return Rates(np.float32(0.1), np.int32(8))

    def init(self, key, params):
        alive = jnp.arange(self.capacity) < params.first
        return Population(jnp.zeros(self.capacity, jnp.int32), alive, {})

    def step(self, state, u, key, params):
        first, second = jax.random.split(key)
        amount = jnp.minimum(jnp.floor(u), size(state))
        state = died(state, subset(first, state.alive, amount[0]))
        divides = state.alive & (uniform(second, (self.capacity,)) < params.birth)
        placed = place(state, state._replace(alive=divides))
        done = Intervention(amount, jnp.any(u > size(state)))
        return Stepped(placed.population, self.macro(placed.population), done, placed.overflow)

    def macro(self, state):
        return size(state).astype(jnp.float32)[None]

    def edited(self, state, macro, params, key):
        return self.init(key, params._replace(first=macro[0]))

    def grown(self):
        return replace(self, capacity=2 * self.capacity)


COLONY = Colony()


def third(policy_state, macro, key):
    return policy_state * macro, policy_state


def test_a_model_on_the_kernel_keeps_the_contract():
    assert isinstance(COLONY, AgentBasedModel) and isinstance(COLONY, GrowingModel)


def test_growth_without_control_is_exponential():
    cohort = simulate(Colony(512), steps=20, seeds=400)
    final = np.asarray(cohort.macro[0, :, -1, 0])
    assert cohort.macro.shape == (1, 400, 21, 1) and not np.asarray(cohort.overflow).any()
    assert abs(final.mean() - 8 * 1.1**20) < 4 * final.std() / 20


def test_what_happens_to_a_patient_depends_on_nobody_else():
    birth = np.array([0.05, 0.1, 0.2], np.float32)
    together = simulate(COLONY, Rates(birth, np.int32(8)), steps=6, seeds=[3, 5, 9])
    alone = simulate(COLONY, Rates(birth, np.int32(8)), steps=6, seeds=[5], at_once=1)
    np.testing.assert_array_equal(together.macro[:, 1:2], alone.macro)
    np.testing.assert_array_equal(together.macro[:, :, 0], 8)


def test_a_patient_with_no_births_only_loses_what_is_taken():
    schedule = np.array([[2], [0], [100], [1]], np.float32)
    cohort = simulate(COLONY, Rates(np.float32(0), np.int32(8)), schedule, steps=4)
    assert cohort.macro[0, 0, :, 0].tolist() == [8, 6, 6, 0, 0]
    assert cohort.amount[0, 0, :, 0].tolist() == [2, 0, 6, 0]
    assert cohort.command[0, 0, :, 0].tolist() == [2, 0, 100, 1]
    assert cohort.saturated[0, 0].tolist() == [False, False, True, True]


def test_schedules_of_each_patient_and_constants():
    none = Rates(np.float32(0), np.int32(8))
    each = simulate(COLONY, none, np.array([[[1], [1]], [[3], [0]]], np.float32), steps=2)
    assert each.macro[:, 0, :, 0].tolist() == [[8, 7, 6], [8, 5, 5]]
    constant = simulate(COLONY, none, [2.0], steps=3)
    assert constant.macro[0, 0, :, 0].tolist() == [8, 6, 4, 2]


def test_a_policy_sees_the_macrostate_and_holds_its_answer():
    none = Rates(np.float32(0), np.int32(32))
    followed = simulate(COLONY, none, third, steps=3, policy_state=jnp.float32(0.5))
    assert followed.macro[0, 0, :, 0].tolist() == [32, 16, 8, 4]
    held = simulate(COLONY, none, third, steps=4, policy_state=jnp.float32(0.25), hold=2)
    assert held.command[0, 0, :, 0].tolist() == [8, 8, 4, 4]


def test_no_steps_give_the_first_record_only():
    cohort = simulate(COLONY, steps=0, seeds=2)
    assert cohort.macro.shape == (1, 2, 1, 1) and cohort.overflow.shape == (1, 2, 0)


def test_a_cohort_goes_on_from_its_last_microstates():
    begun = simulate(COLONY, steps=5, seeds=4)
    on = simulate(COLONY, steps=3, seeds=4, state=begun.state)
    np.testing.assert_array_equal(on.macro[:, :, 0], begun.macro[:, :, -1])


def test_overflow_is_counted_raised_or_grown():
    always = Rates(np.float32(1), np.int32(8))
    counted = simulate(Colony(20), always, steps=3)
    assert counted.macro[0, 0, :, 0].tolist() == [8, 16, 20, 20]
    assert counted.overflow[0, 0].tolist() == [0, 12, 20]
    with pytest.raises(
        OverflowError, match="32 births found no free slot, the first in patient 0, seed 0, step 1"
    ):
        simulate(Colony(20), always, steps=3, on_overflow="raise")
    grown = simulate(Colony(20), always, steps=3, on_overflow="grow")
    assert grown.macro[0, 0, :, 0].tolist() == [8, 16, 32, 64] and not np.asarray(grown.overflow).any()
    assert grown.state.alive.shape[-1] == 80


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"steps": -1}, "steps is -1"),
        ({"steps": 2, "hold": 0}, "hold is 0"),
        ({"steps": 2, "seeds": 0}, "seeds has shape"),
        ({"steps": 2, "on_overflow": "ignore"}, "on_overflow is 'ignore'"),
        ({"steps": 2, "control": np.zeros((3, 1))}, "control has shape"),
        ({"steps": 2, "control": np.array([np.nan])}, "control has values that are not finite"),
        ({"steps": 2, "control": np.array([-1.0])}, "control of 'taken' has negative values"),
        ({"steps": 2, "params": Rates(np.zeros(3), np.zeros(2))}, "params.first is of 2 patients"),
        ({"steps": 2, "params": Rates(np.zeros((3, 3)), 8)}, "params.birth has shape"),
        ({"steps": 2, "params": (0.1, 8)}, "params have the structure"),
    ],
)
def test_wrong_arguments_are_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        simulate(COLONY, **arguments)
