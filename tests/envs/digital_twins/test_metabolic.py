"""The metabolic network keeps its rules, its mass, and the distribution of the sequential definition."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynrl.abm import simulate
from dynrl.abm.metabolic_mean_field import mean_field_step
from dynrl.envs.digital_twins.metabolic import MetabolicGrid, MetabolicParams, trajectories
from dynrl.envs.digital_twins.metabolic.measure import agreement
from dynrl.envs.digital_twins.metabolic.rules import checked_rates
from dynrl.envs.digital_twins.metabolic.sequential import compiled_run, run

SMALL = MetabolicGrid(length=12, n1=6, n2=12, capacity=256)
MASS = np.array([1, 1, 2, -1, 1, 1, 2])  # E1 that are not free hold 1, inhibited ones 1 more; a product is 2
KEPT = MetabolicParams(delta_s=0, delta_i=0, kx=0, ch=0.1)

step = jax.jit(MetabolicGrid.step, static_argnums=0)
edited = jax.jit(MetabolicGrid.edited, static_argnums=0)


def stepped(model, numbers, u=0.0, seed=0, **rates):
    """The macrostate one step after a random microstate with `numbers`, and the step's harvest."""
    key = jax.random.key(seed)
    state = model.placed(key, np.array(numbers, np.int32))
    after = step(model, state, jnp.full(1, u), key, checked_rates(MetabolicParams(**rates))).state
    return np.asarray(model.macro(after)).astype(int).tolist(), int(after.harvested)


def mass(model, macro):
    return np.asarray(macro) @ MASS + model.n1


@pytest.mark.parametrize("backend", ["seq", "numpy", "jax"])
def test_nothing_is_lost_where_nothing_decays(backend):
    dense = MetabolicGrid(length=4, n1=6, n2=12, capacity=256)
    runs = trajectories(dense, np.full(40, 2.6), seeds=2, backend=backend, params=KEPT)
    assert (mass(dense, runs.macro)[:, 1:] == runs.supplied.cumsum(axis=1)).all()
    assert runs.macro[:, -1, 2].sum() + runs.macro[:, -1, 4].sum() > 0  # products were made
    assert not runs.overflow.any()


def test_as_many_enzymes_are_served_as_there_are_molecules():
    crowd = MetabolicGrid(length=1, n1=6, n2=5, capacity=64)
    always = {
        "a1": 1,
        "ah": 1,
        "a2": 1,
        "c1": 0,
        "ch": 0,
        "d2": 0,
        "c2": 0,
        "delta_s": 0,
        "delta_i": 0,
        "kx": 0,
    }
    for s, i, p in [(2, 3, 2), (9, 9, 3), (3, 0, 9), (0, 2, 0), (0, 0, 0)]:
        inhibited = min(p, 6)
        bound = min(s, 6 - inhibited)
        after, _ = stepped(crowd, [s, i, p, 6, 0, 0, 0], **always)
        took = min(i, 5)
        assert after == [s - bound, i - took, p - inhibited, 6 - inhibited - bound, inhibited, took, 0]


def test_molecules_let_go_are_available_in_the_next_step_only():
    crowd = MetabolicGrid(length=1, n1=2, n2=3, capacity=64)
    sure = {"a1": 1, "ah": 1, "a2": 1, "c1": 1, "ch": 1, "c2": 1, "delta_s": 0, "delta_i": 0, "kx": 0}
    # One bound, one inhibited E1 and one full E2 let go: an intermediate and two products stay free in this step.
    assert stepped(crowd, [0, 0, 0, 0, 1, 0, 1], **sure)[0] == [0, 1, 2, 2, 0, 0, 0]


def test_rates_of_zero_and_one():
    assert stepped(SMALL, [9, 8, 7, 6, 0, 0, 0], delta_s=1, delta_i=1, kx=1) == ([0, 0, 0, 6, 0, 0, 0], 7)
    still, harvested = stepped(SMALL, [9, 8, 7, 2, 3, 4, 5], **dict.fromkeys(MetabolicParams._fields, 0))
    assert still == [9, 8, 7, 2, 3, 4, 5] and harvested == 0


def test_one_enzyme_and_one_molecule_meet_with_the_probability_of_the_rules():
    cell = MetabolicGrid(length=1, n1=1, n2=0, capacity=4)
    state = cell.placed(jax.random.key(0), np.array([1, 0, 1, 1, 0, 0, 0]))
    params = checked_rates(MetabolicParams(a1=0.4, ah=0.3, delta_s=0.2, kx=0.5))
    keys = jax.random.split(jax.random.key(1), 20_000)
    after = jax.jit(jax.vmap(lambda key: cell.macro(step(cell, state, None, key, params).state)))(keys)
    inhibited, bound = np.mean(after[:, 4] == 1), np.mean((after[:, 3] == 0) & (after[:, 4] == 0))
    # 4 standard errors of 20000 draws are at most 0.014.
    assert inhibited == pytest.approx(0.5 * 0.3, abs=0.014)
    assert bound == pytest.approx(0.8 * 0.4 * (1 - 0.5 * 0.3), abs=0.014)


def test_inflow_is_rounded_as_asked():
    empty = MetabolicGrid(length=5, n1=0, n2=0, capacity=128)
    kept = {"delta_s": 0}
    for rounding, possible in (("stochastic", {2, 3}), ("half_up", {2}), ("floor", {2})):
        model = MetabolicGrid(5, 0, 0, 128, rounding)
        assert {stepped(model, [0] * 7, 2.4, seed, **kept)[0][0] for seed in range(12)} == possible
    supplied = trajectories(empty, np.full(4000, 0.3), backend="numpy").supplied.mean()
    assert supplied == pytest.approx(0.3, abs=4 * (0.21 / 4000) ** 0.5)


def test_impossible_commands_in_compiled_code_are_cut_and_reported():
    state, params = SMALL.init(jax.random.key(0), None), SMALL.default_params()
    too_much = step(SMALL, state, jnp.full(1, 99.0), jax.random.key(1), params)
    assert too_much.intervention.amount.item() == 20 and too_much.intervention.saturated
    nothing = step(SMALL, state, jnp.full(1, jnp.nan), jax.random.key(1), params)
    assert nothing.intervention.amount.item() == 0 and nothing.state.invalid
    assert not step(SMALL, state, jnp.full(1, 3.0), jax.random.key(1), params).state.invalid


def test_inflow_without_room_is_counted_and_the_model_can_grow():
    tight = MetabolicGrid(length=5, n1=0, n2=0, capacity=50)
    kept = KEPT._replace(**{name: np.float32(value) for name, value in KEPT._asdict().items()})
    crowded = simulate(tight, kept, np.full(1, 20.0), steps=4)
    assert crowded.overflow.sum() == 30 and crowded.macro[0, 0, -1, 0] == 50
    assert crowded.amount.sum() == 50
    roomy = simulate(tight, kept, np.full(1, 20.0), steps=4, on_overflow="grow")
    assert roomy.overflow.sum() == 0 and roomy.macro[0, 0, -1, 0] == 80


@pytest.mark.parametrize("kind", ["jax", "numpy"])
def test_an_edited_microstate_has_the_numbers_asked_for_and_lives_on(kind):
    key = jax.random.key(5) if kind == "jax" else np.random.default_rng(5)
    change, xp = (edited, jnp) if kind == "jax" else (MetabolicGrid.edited, np)
    state = SMALL.placed(key, np.array([30, 10, 4, 2, 1, 3, 2]))
    for target in ([31, 2, 9, 0, 6, 12, 0], [0, 0, 0, 6, 0, 0, 0], [30, 10, 4, 2, 1, 3, 2]):
        after = change(SMALL, state, xp.asarray(np.array(target, np.float32)), None, key)
        assert SMALL.macro(after).tolist() == target and after.overflow == 0
        load, held = np.asarray(after.load), np.asarray(after.held)
        slots = [*held[load > 0, 0], *held[6:][load[6:] == 2, 1]]
        assert len(set(slots)) == len(slots) == (np.asarray(after.kind) == 4).sum()
        assert (np.asarray(after.kind)[slots] == 4).all()
    # Nothing else moved: molecules that stay are where they were.
    more = change(SMALL, state, xp.asarray(np.array([31, 10, 4, 2, 1, 3, 2], np.float32)), None, key)
    there = np.asarray(state.kind) == 1
    assert (np.asarray(more.kind)[there] == 1).all()
    assert (np.asarray(more.cell)[there] == np.asarray(state.cell)[there]).all()
    # Impossible numbers become the nearest possible ones.
    cut = change(
        SMALL, state, xp.asarray(np.array([-3, 2.4, 1.6, 50, 50, np.nan, 99], np.float32)), None, key
    )
    assert SMALL.macro(cut).tolist() == [0, 2, 2, 6, 0, 0, 12]


def test_same_seed_same_run_whatever_else_is_simulated():
    alone = trajectories(SMALL, np.full(20, 3.0), seeds=[7])
    together = trajectories(SMALL, np.full(20, 3.0), seeds=[3, 7, 9])
    assert (alone.macro[0] == together.macro[1]).all()


def test_compiled_definition_draws_what_the_plain_one_draws():
    pytest.importorskip("numba")
    rates = np.array(MetabolicParams())
    arguments = (np.full(50, 2.5), 9, 8, 16, rates)
    plain = run(*arguments, np.random.default_rng(3))
    assert (compiled_run()(*arguments, np.random.default_rng(3)) == plain).all()
    assert plain[-1, :7].sum() > 0


@functools.cache
def mean_field(u):
    params = checked_rates(MetabolicParams())
    start = jnp.array([0, 0, 0, 60.0, 0, 0, 0])
    x, harvested = jax.lax.scan(lambda x, _: mean_field_step(x, u, params), start, None, length=2000)
    return np.asarray(x), float(harvested[1000:].sum() / (1000 * u))


@pytest.mark.parametrize(
    ("u", "s", "i", "y"), [(1.0, 28.6, 32.9, 0.035), (4.0, 135, 85, 0.049), (12.0, 467, 140, 0.040)]
)
def test_mean_field_is_right_about_molecules_and_flatters_the_yield(u, s, i, y):
    x, yield_ = mean_field(u)
    assert x[0] == pytest.approx(s, rel=0.1) and x[1] == pytest.approx(i, rel=0.1)
    assert 1.1 < yield_ / y < 1.45


def test_mean_field_keeps_mass():
    x = jnp.array([10.0, 8, 7, 20, 10, 30, 9])
    params = checked_rates(KEPT)
    after, harvested = mean_field_step(x, 2.5, params)
    assert harvested == 0
    assert np.asarray(after) @ MASS == pytest.approx(np.asarray(x) @ MASS + 2.5, rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"length": 0}, "length"),
        ({"n1": -1}, "n1"),
        ({"n2": 2.5}, "n2"),
        ({"capacity": 10}, "capacity"),
        ({"rounding": "up"}, "rounding"),
        ({"control_limit": 0.0}, "control_limit"),
    ],
)
def test_impossible_sizes_are_named(settings, names):
    with pytest.raises(ValueError, match=names):
        MetabolicGrid(**settings)


def test_impossible_rates_and_schedules_are_named():
    with pytest.raises(ValueError, match="rate kx"):
        checked_rates(MetabolicParams(kx=1.5))
    with pytest.raises(ValueError, match="rate a1"):
        checked_rates(MetabolicParams(a1=float("nan")))
    for wrong in (-1.0, 21.0, np.nan):
        with pytest.raises(ValueError, match="inflow"):
            trajectories(SMALL, np.full(3, wrong), backend="numpy")
    with pytest.raises(ValueError, match="backend"):
        trajectories(SMALL, np.ones(3), backend="c")


def test_no_steps_give_the_first_record_only():
    assert trajectories(SMALL, np.zeros(0), backend="numpy").macro.tolist() == [[[0, 0, 0, 6, 0, 0, 0]]]


def assert_same_distribution(ours, theirs, times):
    found = agreement(ours, theirs, times)
    assert found.pvalue > 1e-3 and found.z < 4


@pytest.mark.parametrize("backend", ["jax", "numpy"])
def test_array_form_is_distributed_like_the_definition(backend):
    pytest.importorskip("numba")
    # Dense, with fast turnover, so that several enzymes often want the same molecule.
    dense = MetabolicGrid(length=4, n1=12, n2=24, capacity=192)
    settings = {"inflow": np.full(30, 4.0), "params": MetabolicParams(ch=0.1, kx=0.1)}
    runs = 500 if backend == "jax" else 150
    ours = trajectories(dense, seeds=runs, backend=backend, **settings)
    theirs = trajectories(dense, seeds=range(10_000, 10_000 + runs), backend="numba", **settings)
    assert_same_distribution(ours, theirs, (1, 10, 30))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "numpy"])
def test_array_form_is_distributed_like_the_definition_at_full_size(backend):
    pytest.importorskip("numba")
    model, inflow = MetabolicGrid(), np.full(200, 6.0)
    ours = trajectories(model, inflow, seeds=500, backend=backend)
    theirs = trajectories(model, inflow, seeds=range(10_000, 10_500), backend="numba")
    assert_same_distribution(ours, theirs, (1, 10, 50, 100, 200))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["numba", "jax"])
def test_yields_and_levels_of_the_definition(backend):
    if backend == "numba":
        pytest.importorskip("numba")
    yields = {}
    for u in (1, 2, 4, 8, 12):
        runs = trajectories(MetabolicGrid(), np.full(2000, float(u)), seeds=24, backend=backend)
        yields[u] = runs.harvested[:, 1000:].sum() / runs.supplied[:, 1000:].sum()
        assert not runs.overflow.any()
        if u == 4:
            levels = runs.macro[:, 1001:, :5].mean((0, 1))
            assert levels == pytest.approx([135, 85, 10, 36, 18], rel=0.06)
    assert yields[1] == pytest.approx(0.035, abs=0.003)
    assert yields[4] == pytest.approx(0.049, abs=0.003)
    assert yields[12] == pytest.approx(0.040, abs=0.003)
    assert max(yields, key=yields.__getitem__) == 4
