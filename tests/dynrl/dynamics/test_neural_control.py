"""Controllers trained through the solver: least energy where it is known, synchrony, way-points, an epidemic."""

from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynrl.dynamics import (
    ControlProblem,
    DiffraxSolver,
    Kuramoto,
    LinearSystem,
    NetworkSirx,
    NeuralControlConfig,
    Rk4,
    Solution,
    StateController,
    Steered,
    TimeController,
    integrate_control,
    steer,
)

SWAP = LinearSystem(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[1.0], [0.0]]))
START, TARGET = np.array([0.5, 0.5]), np.array([1.0, -1.0])
REFERENCE = ControlProblem(SWAP, START, 1.0, target=TARGET)
LEAST = SWAP.minimum_energy(START, [TARGET], [1.0])


@cache
def reference(solver: object = None) -> Steered:
    return steer(REFERENCE, TimeController(1, 1.0, key=jax.random.key(0)), solver)  # type: ignore[arg-type]


def test_minimum_energy_is_the_published_number() -> None:
    assert pytest.approx(70.443, abs=1e-3) == LEAST


def test_minimum_energy_is_what_the_optimal_signal_spends() -> None:
    """u(t) = Bᵀ e^{Aᵀ(T-t)} W⁻¹ d arrives, and its energy by quadrature is the closed form."""
    from scipy.linalg import expm

    gram, missed = SWAP._gram(1.0, 1.0), TARGET - expm(SWAP.drift) @ START
    weight = jnp.asarray(np.linalg.solve(gram, missed))

    def signal(t: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.asarray(SWAP.input.T) @ jax.scipy.linalg.expm(SWAP.drift.T * (1.0 - t)) @ weight

    solved = integrate_control(SWAP, signal, jnp.asarray(START), 1.0, Rk4(100))
    np.testing.assert_allclose(solved.x[-1], TARGET, atol=1e-4)
    np.testing.assert_allclose(solved.energy[-1], LEAST, rtol=1e-4)


def test_reference_problem_is_solved_with_nearly_the_least_energy() -> None:
    found = reference()
    assert found.loss < 1e-8
    assert found.epochs < 1000
    assert LEAST * 0.999 < float(found.solution.energy[-1]) <= 1.02 * LEAST


@pytest.mark.parametrize("gradient", ["discrete", "continuous"])
def test_adaptive_solver_and_both_of_its_gradients_agree_with_rk4(gradient: str) -> None:
    controller = TimeController(1, 1.0, key=jax.random.key(1), scale=1.0)

    def loss(controller: TimeController, solver: object) -> jax.Array:
        return REFERENCE.cost(integrate_control(SWAP, controller, jnp.asarray(START), 1.0, solver))  # type: ignore[arg-type]

    by_steps = eqx.filter_grad(loss)(controller, Rk4(40))
    adaptive = eqx.filter_grad(loss)(controller, DiffraxSolver(tolerance=1e-6, gradient=gradient))  # type: ignore[arg-type]
    for ours, other in zip(
        jax.tree.leaves(eqx.filter(by_steps, eqx.is_array)),
        jax.tree.leaves(eqx.filter(adaptive, eqx.is_array)),
        strict=True,
    ):
        np.testing.assert_allclose(ours, other, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_continuous_adjoint_trains_to_the_target() -> None:
    """The adjoint's error of about the tolerance leaves a terminal error of its order, not 1e-8."""
    found = steer(
        REFERENCE,
        TimeController(1, 1.0, key=jax.random.key(0)),
        DiffraxSolver(points=8, tolerance=1e-5, gradient="continuous"),
        NeuralControlConfig(tolerance=1e-6, epochs=500),
    )
    assert found.loss < 1e-6
    assert float(found.solution.energy[-1]) < 1.03 * LEAST


def test_two_targets_one_after_the_other() -> None:
    """Through (1, 0) at half time to (-1, 0): the signal's energy comes near the least of all that pass both."""
    middle, end = np.array([1.0, 0.0]), np.array([-1.0, 0.0])
    system = LinearSystem(SWAP.drift, np.eye(2))

    def loss(solution: Solution) -> jax.Array:
        return jnp.sum((solution.x[10] - middle) ** 2) + jnp.sum((solution.x[-1] - end) ** 2)

    found = steer(
        ControlProblem(system, START, 2.0, loss=loss),
        TimeController(2, 2.0, key=jax.random.key(0), width=16, depth=2, scale=0.5),
        Rk4(20),
        NeuralControlConfig(0.01, tolerance=1e-6),
    )
    assert found.loss < 1e-6
    least = system.minimum_energy(START, [middle, end], [1.0, 2.0])
    # The best signal has a kink at half time, which a smooth network rounds off.
    assert least * 0.999 < float(found.solution.energy[-1]) < 1.4 * least


def ring(n: int) -> np.ndarray:
    steps = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    return np.isin(steps, [1, 2, n - 1, n - 2]).astype(float)


def test_oscillators_on_a_ring_synchronise_only_under_control() -> None:
    rng = np.random.default_rng(0)
    system = Kuramoto(ring(10), rng.uniform(-0.5, 0.5, 10), coupling=3.0)
    start = rng.uniform(-1.5, 1.5, 10)
    problem = ControlProblem(system, start, 4.0, loss=lambda solution: 1 - system.order(solution.x[-1]))
    free = integrate_control(system, lambda t, x: jnp.ones(10), jnp.asarray(start), 4.0, Rk4(40))
    assert float(system.order(free.x[-1])) < 0.95
    found = steer(
        problem,
        TimeController(10, 4.0, key=jax.random.key(0)),
        Rk4(40),
        NeuralControlConfig(tolerance=1e-3, epochs=400),
    )
    assert float(system.order(found.solution.x[-1])) > 0.998


def test_quarantine_learns_where_the_epidemic_is() -> None:
    """One infected node at the end of a chain: the peak under learned shares is a tenth below that of equal ones."""
    n = 8
    chain = np.eye(n, k=1) + np.eye(n, k=-1) + np.eye(n)
    system = NetworkSirx(chain, infection=1.0, recovery=0.1, budget=4.0)
    infected = np.zeros(n)
    infected[0] = 0.1
    start = np.concatenate([1 - infected, infected, np.zeros(2 * n)])
    problem = ControlProblem(
        system, start, 8.0, loss=lambda s: jax.nn.logsumexp(100 * system.infected(s.x)) / 100
    )
    equal = integrate_control(system, lambda t, x: jnp.zeros(n), jnp.asarray(start), 8.0, Rk4(40))
    found = steer(
        problem,
        StateController(4 * n, n, 8.0, key=jax.random.key(0), scale=0.5),
        Rk4(40),
        NeuralControlConfig(0.003, tolerance=0.0, epochs=150),
    )
    shares = np.asarray(found.solution.x).reshape(-1, 4, n).sum(1)
    np.testing.assert_allclose(shares, 1.0, atol=1e-4)
    assert float(system.infected(found.solution.x).max()) < 0.9 * float(system.infected(equal.x).max())


def test_feedback_brings_many_starts_to_one_target() -> None:
    starts = np.random.default_rng(0).normal(size=(16, 2)) * 0.5
    found = steer(
        ControlProblem(LinearSystem(SWAP.drift, np.eye(2)), starts, 1.0, target=np.zeros(2)),
        StateController(2, 2, 1.0, key=jax.random.key(0)),
        Rk4(20),
        NeuralControlConfig(tolerance=1e-4, epochs=1000),
    )
    assert found.loss < 1e-4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": None}, "target state or a loss"),
        ({"horizon": 0.0}, "horizon"),
        ({"target": np.zeros(3)}, "states differ"),
        ({"start": 1.0}, "start has shape"),
    ],
)
def test_problems_that_make_no_sense_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ControlProblem(**{"dynamics": SWAP, "start": START, "horizon": 1.0, "target": TARGET, **change})


def test_unreachable_target_and_diverging_training_are_named() -> None:
    stuck = LinearSystem(np.zeros((2, 2)), np.array([[1.0], [0.0]]))
    with pytest.raises(ValueError, match="out of reach"):
        stuck.minimum_energy(START, [TARGET], [1.0])
    explosive = ControlProblem(lambda t, x, u: 100 * x**3 + u[0], np.array([2.0, 2.0]), 1.0, target=TARGET)
    with pytest.raises(FloatingPointError, match="smaller learning rate"):
        steer(explosive, TimeController(1, 1.0, key=jax.random.key(0)))
