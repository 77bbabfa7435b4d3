"""The noise-free example of the specification's section 10, by the NumPy agent and by the compiled step path."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynrl.agents.bandits import DynLinUCB, simulate, single_run
from dynrl.agents.bandits.algorithm import schedule_until
from dynrl.agents.bandits.run_functions import RoundInputs, World, initial_carry, step
from dynrl.bandits import DLBSystem, FiniteSet

SYSTEM = DLBSystem([[0.5]], [[1.0, 0.2]], [0.4], [0.1, 0.3])
ACTIONS = FiniteSet([[1.0, 0.0], [0.0, 1.1], [0.6, 0.65]])
T = 20
CHOSEN = [1, 0, 1, 0, 1, 0, 1, 0]
STARTS = [0, 1, 3, 5, 8, 11, 14, 17]
HOLDS = [1, 2, 2, 3, 3, 3, 3, 3]  # the eighth is cut from 4
LAST_REWARDS = [0.33, 0.544, 0.729, 0.771875, 0.645984, 0.761498, 0.644687]
H_HAT = [0.519343, 0.442575]
INDEX_VALUES = [
    [3.376034, 3.713637, 2.986407],
    [4.765053, 3.706533, 3.644400],
    [4.625074, 4.735880, 4.020569],
]


def agent(**settings: object) -> DynLinUCB:
    told = {
        "rho_bar": 0.5,
        "phi_bar": 1.0,
        "theta_bar": math.sqrt(0.1),
        "omega_bar": 0.4,
        "b_bar": math.sqrt(1.04),
        "x_bar": math.sqrt(1.04) * 1.1 / 0.5,
        "sigma": 0.1,
        "lambda_": 1.0,
        "delta": 0.05,
    }
    return DynLinUCB(ACTIONS, **{**told, **settings})


def test_the_constants() -> None:
    constants = agent().algorithm.constants
    assert constants.u_bar == 1.1
    assert constants.c1 == pytest.approx(1.974340, abs=5e-7)
    assert constants.c2 == pytest.approx(1.132071, abs=5e-7)
    assert constants.variance == pytest.approx(0.0121333, abs=5e-8)


def test_the_radius_after_0_1_and_9_rounds() -> None:
    by_round = agent().algorithm.paper_radius(np.ones(10, np.int64))
    np.testing.assert_allclose(by_round[[0, 1, 9]], [3.376034, 4.765053, 7.995882], atol=5e-7)


def test_the_automatic_state_bound_is_the_one_of_the_example() -> None:
    assert agent(x_bar="auto").algorithm.constants == agent().algorithm.constants


def test_the_schedule() -> None:
    holds = agent().algorithm.schedule(16).holds
    np.testing.assert_array_equal(holds - 1, [0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 4])
    np.testing.assert_array_equal(schedule_until(agent().algorithm, T).holds, HOLDS)


def test_acting_and_updating_by_hand() -> None:
    learner, x = agent(), 0.0
    for t in range(T):
        if t in STARTS:
            epoch = STARTS.index(t)
            if epoch < 3:
                values = learner.algorithm.ucb(learner.learned, learner.inputs(epoch + 1))
                np.testing.assert_allclose(values, INDEX_VALUES[epoch], atol=5e-7)
        assert learner.act() == CHOSEN[sum(t >= start for start in STARTS) - 1]
        u = ACTIONS.actions[learner.act()]
        y = 0.4 * x + 0.1 * u[0] + 0.3 * u[1]
        x = 0.5 * x + u[0] + 0.2 * u[1]
        if t + 1 in STARTS:
            assert y == pytest.approx(LAST_REWARDS[STARTS.index(t + 1) - 1], abs=5e-7)
        learner.update(y)
    np.testing.assert_allclose(learner.h_hat, H_HAT, atol=5e-7)
    assert (learner.epoch, learner.learned_epochs, learner.rounds_left) == (8, 7, 1)


def test_a_single_run() -> None:
    learner = agent()
    run = single_run(SYSTEM, learner, T, seed=0)
    np.testing.assert_array_equal(run.actions, ACTIONS.actions[np.repeat(CHOSEN, HOLDS)])
    np.testing.assert_allclose(run.rewards[np.array(STARTS[1:]) - 1], LAST_REWARDS, atol=5e-7)
    np.testing.assert_allclose(learner.h_hat, H_HAT, atol=5e-7)
    assert learner.learned_epochs == 7


def test_the_compiled_step_path_round_by_round() -> None:
    algorithm = agent().algorithm
    inputs = algorithm.schedule(8).inputs
    world = World(SYSTEM.params, np.asarray(SYSTEM.h), np.asarray(0.9))
    rewards, played = [], []
    with jax.enable_x64(True):
        carry = jax.tree.map(jnp.asarray, initial_carry(algorithm, SYSTEM.params))
        compiled, before = jax.jit(step), 0.0
        for epoch, (start, hold) in enumerate(zip(STARTS, HOLDS, strict=True)):
            for t in range(start, start + hold):
                last = t + 1 in STARTS
                round_ = RoundInputs(
                    t=np.array(t),
                    active=np.array(1.0),
                    start=np.array(t == start),
                    end=np.array(last),
                    weight=np.array(float(last)),
                    epoch={name: table[epoch] for name, table in inputs.items()},
                )
                carry = compiled(world, algorithm, carry, round_, np.zeros(2), np.zeros(0))
                played.append(int(carry.held.index))
                rewards.append(float(carry.totals.reward) - before)
                before = float(carry.totals.reward)
    np.testing.assert_array_equal(played, np.repeat(CHOSEN, HOLDS))
    np.testing.assert_allclose(np.array(rewards)[np.array(STARTS[1:]) - 1], LAST_REWARDS, atol=5e-7)
    np.testing.assert_allclose(carry.learned.h_hat, H_HAT, atol=5e-7)


@pytest.mark.parametrize("path", ["step", "epoch"])
def test_the_compiled_paths(path: str) -> None:
    result = simulate(SYSTEM, agent(), T, [0, 1], record=1, path=path)
    np.testing.assert_array_equal(result.plays[:, -1], [[11, 9, 0]] * 2)
    np.testing.assert_allclose(result.learned.h_hat, [H_HAT, H_HAT], atol=5e-7)
    assert result.pseudo_regret[0, -1] == pytest.approx((0.9 - 0.506) * (1 + 2 + 3 + 3), abs=1e-12)
    np.testing.assert_allclose(result.mean_regret, result.reward_regret, atol=1e-12)


def test_the_index_on_jax_arrays() -> None:
    algorithm = agent().algorithm
    with jax.enable_x64(True):
        state = jax.tree.map(jnp.asarray, algorithm.init())
        for epoch in range(3):
            inputs = {name: table[epoch] for name, table in algorithm.schedule(3).inputs.items()}
            np.testing.assert_allclose(algorithm.ucb(state, inputs), INDEX_VALUES[epoch], atol=5e-7)
            state, index = algorithm.choose(state, inputs, jnp.zeros(0))
            assert index == CHOSEN[epoch]
            u = jnp.asarray(ACTIONS.actions[CHOSEN[epoch]])
            state = algorithm.learn(state, inputs, index, u, jnp.asarray([0.33, 0.544, 0.729][epoch]))
