"""Many runs at once: reproducible whatever else is in the batch, resumable, exact at the edges."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
import pytest

from dynrl.agents.bandits import (
    AR2,
    BanditAgent,
    DLinUCB,
    DynLinUCB,
    Exp3,
    Exp3Batch,
    ExploreThenCommit,
    Simulation,
    SimulationResult,
    Uniform,
    agent_after,
    simulate,
    single_run,
)
from dynrl.agents.bandits.bench import problem
from dynrl.agents.bandits.simulation import jump_tables
from dynrl.bandits import BallSet, DLBSystem, FiniteSet
from dynrl.errors import FileFormatError

T = 1000
RECORD = 4  # one number of records and at most 16 runs: one compilation per algorithm and path
MAKERS: dict[str, tuple[str, Callable[..., BanditAgent]]] = {
    "DynLin-UCB, step": ("step", lambda s, a: DynLinUCB.from_system(s, a, T, radius="tight")),
    "DynLin-UCB, epoch": ("epoch", lambda s, a: DynLinUCB.from_system(s, a, T, radius="tight")),
    "Thompson, epoch": ("epoch", lambda s, a: DynLinUCB.from_system(s, a, T, radius="tight", index="ts")),
    "D-LinUCB, step": ("step", lambda s, a: DLinUCB.from_system(s, a, T)),
    "Exp3, step": ("step", lambda s, a: Exp3.from_system(s, a, T)),
    "Exp3-k, epoch": ("epoch", lambda s, a: Exp3Batch.from_system(s, a, T)),
    "AR2, step": ("step", lambda s, a: AR2.from_system(s, a, T, restart_every=100)),
}


def leaves(result: SimulationResult) -> list[np.ndarray]:
    return jax.tree.leaves(dataclasses.asdict(result))


def assert_same_runs(left: SimulationResult, right: SimulationResult, rows: object = slice(None)) -> None:
    """Bit for bit: run i of `left` is run `rows[i]` of `right`."""
    np.testing.assert_array_equal(left.times, right.times)
    for name in ("pseudo_regret", "reward_regret", "mean_regret", "plays", "misses"):
        ours, theirs = getattr(left, name), getattr(right, name)[rows]
        assert ours.tobytes() == np.ascontiguousarray(theirs).tobytes(), name
    for ours, theirs in zip(jax.tree.leaves(left.learned), jax.tree.leaves(right.learned), strict=True):
        assert ours.tobytes() == np.ascontiguousarray(theirs[rows]).tobytes()


@pytest.mark.parametrize("name", MAKERS)
def test_a_run_depends_on_its_seed_alone(name: str, ads: DLBSystem, six: FiniteSet) -> None:
    path, make = MAKERS[name]
    agent = make(ads, six)

    def run(seeds: object) -> SimulationResult:
        return simulate(ads, agent, T, seeds, record=RECORD, path=path)

    batch = run(np.arange(64))
    assert_same_runs(run(np.arange(64)), batch)
    assert_same_runs(run([5]), batch, [5])
    assert_same_runs(run([11, 2, 63]), batch, [11, 2, 63])
    assert_same_runs(run([0, 7, 1, 1, 60, 3, 9, 33]), batch, [0, 7, 1, 1, 60, 3, 9, 33])
    assert len(np.unique(batch.reward_regret[:, -1])) == 64


@pytest.mark.parametrize("name", ["DynLin-UCB, step", "DynLin-UCB, epoch", "Exp3-k, epoch"])
def test_a_saved_simulation_continues_to_the_same_bytes(name: str, ads: DLBSystem, six: FiniteSet) -> None:
    path, make = MAKERS[name]

    def fresh() -> Simulation:
        return Simulation(ads, make(ads, six), T, [0, 1, 2], record=RECORD, path=path)

    whole = fresh()
    whole.advance(whole.num_chunks)
    assert whole.num_chunks >= 3
    for chunks in range(whole.num_chunks + 1):
        first = fresh()
        first.advance(chunks)
        saved = {name: array.copy() for name, array in first.state_dict().items()}
        first.advance()  # what was saved does not move along
        second = fresh()
        second.load_state_dict(saved)
        assert second.rounds_done == (whole.result().times[chunks - 1] if chunks else 0)
        second.advance(second.num_chunks)
        assert second.done and second.rounds_done == T
        assert_same_runs(second.result(), whole.result())
    for ours, theirs in zip(whole.state_dict().items(), second.state_dict().items(), strict=True):
        assert ours[0] == theirs[0] and ours[1].tobytes() == theirs[1].tobytes()


def test_the_number_of_records_does_not_change_the_run(ads: DLBSystem, six: FiniteSet) -> None:
    agent = DynLinUCB.from_system(ads, six, T, radius="tight")
    few, many = (simulate(ads, agent, T, [0, 1], record=record) for record in (RECORD, 64))
    np.testing.assert_array_equal(few.plays[:, -1], many.plays[:, -1])
    np.testing.assert_allclose(few.learned.h_hat, many.learned.h_hat, rtol=1e-9)
    assert len(few.times) == 4 and 32 < len(many.times) <= 64
    assert few.times[-1] == many.times[-1] == T


@pytest.mark.parametrize("path", ["step", "epoch"])
@pytest.mark.parametrize("horizon", [0, 1, 2, 17, 97, 1009])
def test_any_number_of_rounds(path: str, horizon: int, ads: DLBSystem, six: FiniteSet) -> None:
    agent = DynLinUCB.from_system(ads, six, horizon, radius="tight")
    simulation = Simulation(ads, agent, horizon, [0, 1, 2], record=64, path=path)
    simulation.advance(simulation.num_chunks)
    result = simulation.result()
    assert simulation.done and simulation.rounds_done == horizon
    if horizon == 0:
        assert result.pseudo_regret.shape == (3, 0) and result.plays.shape == (3, 0, 6)
        return
    assert result.times[-1] == horizon
    np.testing.assert_array_equal(result.plays.sum(-1), np.tile(result.times, (3, 1)))
    gaps = result.optimal_value - result.values
    np.testing.assert_allclose(result.pseudo_regret, result.plays @ gaps, atol=1e-9)


def test_the_true_h_is_outside_where_the_radius_is_tiny(ads: DLBSystem, six: FiniteSet) -> None:
    sure, unsure = (
        simulate(
            ads, DynLinUCB.from_system(ads, six, T, beta_scale=scale), T, [0], record=RECORD, path="epoch"
        ).misses[0]
        for scale in (1e-6, 1.0)
    )
    epochs = len(Simulation(ads, DynLinUCB.from_system(ads, six, T), T, [0], path="epoch").schedule.holds)
    assert sure == epochs and unsure == 0


def test_jumps_are_the_rounds_of_the_hold(ads: DLBSystem, rng) -> None:
    lengths = np.array([1, 2, 5, 12])
    jumps = jump_tables(ads, lengths)
    x0, u = rng.standard_normal(3), rng.standard_normal(3)
    for row, length in enumerate(lengths):
        x, total = x0, 0.0
        powers, covariance = [np.eye(3)], np.zeros((5, 5))
        for _ in range(length):
            last = ads.omega @ x + ads.theta @ u
            x, total = ads.A @ x + ads.B @ u, total + last
            powers.append(ads.A @ powers[-1])
        # what the shock ε of round i adds to (state after, Σy, last y)
        for i in range(length):
            later = [ads.omega @ powers[k] for k in range(length - i - 1)]
            effect = np.vstack(
                [powers[length - i - 1], sum(later, np.zeros(3)), later[-1] if later else np.zeros(3)]
            )
            covariance += ads.sigma_x**2 * effect @ effect.T
        covariance[3, 3] += length * ads.sigma_y**2
        covariance[[3, 4, 4], [4, 3, 4]] += ads.sigma_y**2
        np.testing.assert_allclose(
            jumps.state[row] @ x0 + jumps.action[row] @ u, [*x, total, last], rtol=1e-12
        )
        np.testing.assert_allclose(jumps.noise[row] @ jumps.noise[row].T, covariance, atol=1e-16, rtol=1e-9)


def test_an_agent_goes_on_from_a_simulated_run(ads: DLBSystem, six: FiniteSet) -> None:
    agent = DynLinUCB.from_system(ads, six, T, radius="tight")
    simulation = Simulation(ads, agent, T, [4, 5], record=RECORD, path="epoch")
    simulation.advance(simulation.num_chunks)
    learner = agent_after(agent, simulation, 1)
    np.testing.assert_array_equal(learner.h_hat, simulation.result().learned.h_hat[1])
    assert learner.t == T and learner.rounds_left == 0
    single_run(ads, learner, 50, seed=0)
    assert learner.t == T + 50
    V = agent.algorithm.constants.lambda_ * np.eye(3)
    assert np.trace(learner.learned.V - V) == pytest.approx(1.25 * learner.learned_epochs)


def test_states_are_double_precision(ads: DLBSystem, six: FiniteSet) -> None:
    assert not jax.config.jax_enable_x64
    simulation = Simulation(ads, DynLinUCB.from_system(ads, six, T, radius="tight"), T, [0], record=RECORD)
    simulation.advance(1)
    floating = [leaf.dtype for leaf in jax.tree.leaves(simulation.carry) if leaf.dtype.kind == "f"]
    assert floating and set(floating) == {np.dtype(np.float64)}
    assert not jax.config.jax_enable_x64


def test_what_cannot_be_simulated_is_refused(ads: DLBSystem, six: FiniteSet) -> None:
    with pytest.raises(ValueError, match='path="step"'):
        Simulation(ads, ExploreThenCommit(six), T, [0], path="epoch")
    with pytest.raises(ValueError, match="random"):
        Simulation(ads, ExploreThenCommit(six, explore="random"), T, [0])
    with pytest.raises(ValueError, match="candidates"):
        Simulation(ads, DynLinUCB.from_system(ads, BallSet(1.0, dimension=3), T), T, [0])
    with pytest.raises(ValueError, match="path"):
        Simulation(ads, Uniform(six), T, [0], path="leap")
    with pytest.raises(ValueError, match="seed"):
        Simulation(ads, Uniform(six), T, [])
    with pytest.raises(ValueError, match="horizon"):
        Simulation(ads, Uniform(six), -1, [0])
    with pytest.raises(ValueError, match="dimension"):
        Simulation(ads, Uniform(FiniteSet(np.eye(2))), T, [0])


def test_a_simulation_starts_where_the_agent_stands_and_refuses_one_that_has_played() -> None:
    system, actions = problem("dynrl/DLBAds-v0")
    warm = DynLinUCB.from_system(system, actions, 400, radius="tight").warm_start(system.h, 1e6 * np.eye(3))
    cold = DynLinUCB.from_system(system, actions, 400, radius="tight")
    regret = {agent: simulate(system, agent, 400, [1]).pseudo_regret[0, -1] for agent in (warm, cold)}
    assert regret[warm] == pytest.approx(0.0, abs=1e-12)
    assert regret[cold] > 1.0
    cold.act()
    with pytest.raises(ValueError, match="give a new one"):
        simulate(system, cold, 400, [1])


def test_a_saved_simulation_is_not_continued_with_other_seeds() -> None:
    system, actions = problem("dynrl/DLBAds-v0")
    saved, other = (
        Simulation(system, DynLinUCB.from_system(system, actions, 400, radius="tight"), 400, seeds)
        for seeds in ([1, 2], [1, 3])
    )
    with pytest.raises(FileFormatError, match="seeds"):
        other.load_state_dict(saved.state_dict())
