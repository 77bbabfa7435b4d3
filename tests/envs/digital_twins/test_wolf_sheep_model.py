"""Wolf–sheep–grass: ledgers, grass clocks, interventions, edits and the edges of what can be asked for."""

import importlib.util
from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynrl.abm import AgentBasedModel, GrowingModel, simulate, size
from dynrl.envs.digital_twins.wolf_sheep import VARIANTS, WolfSheep
from dynrl.envs.digital_twins.wolf_sheep.dosing import asked
from dynrl.envs.digital_twins.wolf_sheep.ensembles import ensemble, sequential_run

NONE = np.zeros(2, np.float32)
SMALL = WolfSheep(9, 7, "rw8", capacity_sheep=128, capacity_wolves=64)
BENCHMARK_SMALL = SMALL.params(
    gain_sheep=5, gain_wolf=13, p_sheep=0.2, p_wolf=0.1, regrowth=20, initial_sheep=40, initial_wolves=20
)


def random_key(backend, seed=0):
    return np.random.default_rng(seed) if backend == "numpy" else jax.random.key(seed)


@cache
def compiled_step(model):
    return jax.jit(model.step)


@cache
def compiled_init(model):
    return jax.jit(model.init)


@cache
def compiled_edit(model):
    return jax.jit(model.edited)


def stepped_with(model, params, backend, steps=1, seed=0, control=NONE):
    """State before and everything after each of some steps."""
    key = random_key(backend, seed)
    keys = [key] * (steps + 1) if backend == "numpy" else jax.random.split(key, steps + 1)
    step, init = (
        (model.step, model.init) if backend == "numpy" else (compiled_step(model), compiled_init(model))
    )
    states = [init(keys[0], params)]
    outcomes = []
    for key in keys[1:]:
        outcomes.append(step(states[-1], control, key, params))
        states.append(outcomes[-1].state)
    return states, outcomes


def energies(herd):
    return np.asarray(herd.attributes["energy"])[np.asarray(herd.alive)]


def test_it_is_a_model_in_the_sense_of_the_contract():
    assert isinstance(SMALL, AgentBasedModel) and isinstance(SMALL, GrowingModel)


@pytest.mark.parametrize(
    ("backend", "variant"), [*(("numpy", variant) for variant in VARIANTS), ("jax", "rw8"), ("jax", "chase")]
)
def test_the_energy_ledger_balances(variant, backend):
    model = replace(SMALL, variant=variant, batches=4)
    params = BENCHMARK_SMALL._replace(p_sheep=np.float32(0), p_wolf=np.float32(0), regrowth=np.int32(5))
    (before, after), (outcome,) = stepped_with(model, params, backend)
    meals = int((np.asarray(after.countdown) == 5).sum())  # eaten now: R + 1, and one step of regrowth
    # Energy left = energy before − 1 each + gains − energy of those who died; nobody was born.
    died_of_hunger = np.asarray(before.wolves.alive) & ~np.asarray(after.wolves.alive)
    assert (np.asarray(after.wolves.attributes["energy"])[died_of_hunger] < 0).all()
    assert energies(after.wolves).min() >= 0
    slots = np.asarray(before.wolves.alive)
    change = (np.asarray(after.wolves.attributes["energy"]) - np.asarray(before.wolves.attributes["energy"]))[
        slots
    ]
    eaters = np.isclose(change, 12, atol=1e-4)
    assert (eaters | np.isclose(change, -1, atol=1e-4)).all()
    lost_sheep = int(size(before.sheep) - size(after.sheep))
    sheep_change = np.asarray(after.sheep.attributes["energy"]) - np.asarray(
        before.sheep.attributes["energy"]
    )
    sheep_change = sheep_change[np.asarray(before.sheep.alive)]
    grazers = np.isclose(sheep_change, 4, atol=1e-4)
    assert grazers.sum() == meals and (grazers | np.isclose(sheep_change, -1, atol=1e-4)).all()
    starved = int((np.asarray(after.sheep.attributes["energy"])[np.asarray(before.sheep.alive)] < 0).sum())
    assert lost_sheep == starved + eaters.sum()
    assert int(outcome.macro[1]) == int(size(after.sheep))


def one_step_of_fed_sheep(model, backend):
    """40 sheep with energies 5, 6, ... that all give birth, no wolves and no grass worth eating."""
    params = BENCHMARK_SMALL._replace(
        p_sheep=np.float32(1), gain_sheep=np.float32(0), initial_wolves=np.int32(0)
    )
    state = model.init(random_key(backend), params)
    xp = np if backend == "numpy" else jnp
    energy = xp.arange(model.capacity_sheep, dtype=np.float32) + 5
    fed = state._replace(sheep=state.sheep._replace(attributes={"energy": energy}))
    step = model.step if backend == "numpy" else compiled_step(model)
    return step(fed, NONE, random_key(backend, 1), params)


@pytest.mark.parametrize("backend", ["jax", "numpy"])
def test_parents_and_children_share_the_energy(backend):
    outcome = one_step_of_fed_sheep(SMALL, backend)
    halves = (np.arange(40) + 4) / 2
    np.testing.assert_allclose(np.sort(energies(outcome.state.sheep)), np.sort(np.tile(halves, 2)))


@pytest.mark.parametrize("backend", ["jax", "numpy"])
@pytest.mark.parametrize("regrowth", [0, 1, 3])
def test_a_patch_is_edible_again_exactly_r_plus_1_steps_after_it_was_eaten(backend, regrowth):
    model = WolfSheep(1, 1, "rw4", capacity_sheep=2, capacity_wolves=1)
    params = model.params(
        gain_sheep=8, p_sheep=0, p_wolf=0, regrowth=regrowth, initial_sheep=1, initial_wolves=0
    )
    states, _ = stepped_with(model, params, backend, steps=14, seed=2)
    energy = [float(state.sheep.attributes["energy"][0]) for state in states]
    meals = np.flatnonzero(np.diff(energy) > 0)
    assert len(meals) >= 3 and (np.diff(meals) == regrowth + 1).all()


TINY = [(1, 1, 3, 2), (2, 5, 0, 4), (3, 2, 4, 0), (4, 4, 0, 0)]
"""Height, width, sheep, wolves."""


@pytest.mark.parametrize(
    ("backend", "variant", "height", "width", "sheep", "wolves"),
    [
        *(("numpy", variant, *sizes) for variant in VARIANTS for sizes in TINY),
        ("jax", "netlogo", *TINY[0]),
        ("jax", "chase", *TINY[1]),
    ],
)
def test_tiny_grids_and_missing_species(backend, variant, height, width, sheep, wolves):
    model = WolfSheep(height, width, variant, capacity_sheep=32, capacity_wolves=16, batches=2)
    params = model.params(initial_sheep=sheep, initial_wolves=wolves, regrowth=2)
    states, outcomes = stepped_with(model, params, backend, steps=4)
    for state, outcome in zip(states[1:], outcomes, strict=True):
        assert np.isfinite(np.asarray(outcome.macro)).all()
        for herd in (state.sheep, state.wolves):
            cells = np.asarray(herd.cell)[np.asarray(herd.alive)]
            assert ((cells >= 0) & (cells < height * width)).all()
    if not sheep:
        assert int(outcomes[-1].macro[1]) == 0
    if not wolves:
        assert int(outcomes[-1].macro[0]) == 0


@pytest.mark.parametrize("variant", ["rw4", "rw8", "chase"])
def test_on_a_bounded_grid_nobody_crosses_the_edge(variant):
    model = WolfSheep(3, 6, variant, torus=False, capacity_sheep=64, capacity_wolves=32, batches=2)
    params = model.params(p_sheep=0, p_wolf=0, gain_sheep=100, initial_sheep=40, initial_wolves=10)
    (before, after), _ = stepped_with(model, params, "numpy")
    for old, new in ((before.sheep, after.sheep), (before.wolves, after.wolves)):
        lived = old.alive & new.alive
        apart = np.abs(np.subtract(np.divmod(old.cell, 6), np.divmod(new.cell, 6)))[:, lived]
        assert (apart.max(axis=0) <= 1).all()


def test_netlogo_animals_move_one_unit_forward():
    model = WolfSheep(9, 7, capacity_sheep=128, capacity_wolves=64)
    (before, after), _ = stepped_with(model, BENCHMARK_SMALL._replace(p_sheep=np.float32(0)), "jax")
    stayed = np.asarray(before.sheep.alive) & np.asarray(after.sheep.alive)
    moves = []
    for name, length in (("x", 7), ("y", 9)):
        step = np.asarray(after.sheep.attributes[name] - before.sheep.attributes[name])[stayed]
        moves.append((step + length / 2) % length - length / 2)
        place = np.asarray(after.sheep.attributes[name])
        assert ((place >= 0) & (place < length)).all()
    np.testing.assert_allclose(np.hypot(*moves), 1, atol=1e-5)
    heading = np.asarray(after.sheep.attributes["heading"])[stayed]
    np.testing.assert_allclose(np.sin(np.radians(heading)), moves[0], atol=1e-5)
    turn = (heading - np.asarray(before.sheep.attributes["heading"])[stayed] + 180) % 360 - 180
    assert np.abs(turn).max() <= 49 + 1e-3 and np.abs(turn - np.rint(turn)).max() < 1e-3


def test_the_first_energies_and_clocks():
    model = WolfSheep(60, 60, "rw4", energy_init="int", capacity_sheep=4000)
    params = model.params(initial_sheep=4000, initial_wolves=0)
    for key in (jax.random.key(0), np.random.default_rng(0)):
        state = model.init(key, params)
        energy = energies(state.sheep)
        assert sorted(set(energy.tolist())) == list(range(8))
        clock = np.asarray(state.countdown)
        assert abs((clock == 0).mean() - (0.5 + 0.5 / 30)) < 4 * 0.5 / 60
        assert set(clock.tolist()) == {0, *range(2, 31)}


# Interventions.


@pytest.mark.parametrize("backend", ["jax", "numpy"])
def test_a_dose_takes_whole_animals_and_no_more_than_there_are(backend):
    model = replace(SMALL, rounding="half_up")
    still = BENCHMARK_SMALL._replace(
        p_sheep=np.float32(0), p_wolf=np.float32(0), gain_sheep=np.float32(50), initial_wolves=np.int32(0)
    )
    _, (outcome,) = stepped_with(model, still, backend, control=np.array([0.11, 0.2], np.float32))
    assert np.asarray(outcome.intervention.amount).tolist() == [4, 0]
    assert not bool(outcome.intervention.saturated)
    _, (outcome,) = stepped_with(model, still, backend, control=np.array([1.5, 0], np.float32))
    assert np.asarray(outcome.intervention.amount).tolist() == [40, 0]
    assert bool(outcome.intervention.saturated) and int(outcome.macro[1]) == 0


@pytest.mark.parametrize("backend", ["jax", "numpy"])
def test_small_doses_do_nothing_under_half_up_and_their_due_under_stochastic_rounding(backend):
    state = SMALL.init(np.random.default_rng(0), BENCHMARK_SMALL)
    fractions = np.array([0.01, 0.01], np.float32)  # 0.4 sheep, 0.2 wolves

    def amounts(rounding):
        model = replace(SMALL, rounding=rounding)
        if backend == "numpy":
            rng = np.random.default_rng(1)
            return np.stack([asked(model, state, fractions, rng)[0] for _ in range(2000)])
        keys = jax.random.split(jax.random.key(1), 2000)
        return np.asarray(jax.vmap(lambda key: asked(model, state, jnp.array(fractions), key)[0])(keys))

    assert not amounts("half_up").any()
    for column, expected in ((0, 0.4), (1, 0.2)):
        mean = amounts("stochastic")[:, column].mean()
        assert abs(mean - expected) < 4 * np.sqrt(expected * (1 - expected) / 2000)


@pytest.mark.parametrize("backend", ["jax", "numpy"])
def test_negative_doses_add_animals_only_where_that_is_allowed(backend):
    control = np.array([-0.5, 0.0], np.float32)
    still = BENCHMARK_SMALL._replace(
        p_sheep=np.float32(0), gain_sheep=np.float32(50), initial_wolves=np.int32(0)
    )
    _, (outcome,) = stepped_with(replace(SMALL, allow_stocking=True), still, backend, control=control)
    assert np.asarray(outcome.intervention.amount).tolist() == [-20, 0]
    _, (outcome,) = stepped_with(SMALL, still, backend, control=control)
    assert np.asarray(outcome.intervention.amount).tolist() == [0, 0]


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_dose_that_is_no_number_counts_as_none_and_is_remembered(wrong):
    for backend in ("jax", "numpy"):
        states, outcomes = stepped_with(
            SMALL, BENCHMARK_SMALL, backend, control=np.array([wrong, 0.0], np.float32)
        )
        assert not np.asarray(outcomes[0].intervention.amount).any()
        assert bool(states[1].invalid) and not bool(states[0].invalid)


@pytest.mark.parametrize("backend", ["jax", "numpy"])
@pytest.mark.parametrize("target", [(3, 100, 20), (60, 0, 63), (0, 12, 0)])
def test_an_edited_microstate_has_the_macrostate_asked_for(backend, target):
    for variant in ("rw8", "netlogo") if backend == "numpy" else ("rw8",):
        model = replace(SMALL, variant=variant)
        (_, state), _ = stepped_with(model, BENCHMARK_SMALL, backend)
        shorter = BENCHMARK_SMALL._replace(regrowth=np.int32(4))
        edit = model.edited if backend == "numpy" else compiled_edit(model)
        edited = edit(state, np.array(target, np.float32), shorter, random_key(backend, 5))
        assert np.asarray(model.macro(edited)).tolist() == list(target)
        assert int(np.asarray(edited.countdown).max()) <= 4
        if target[1] >= int(size(state.sheep)):
            kept = np.asarray(state.sheep.alive)
            np.testing.assert_array_equal(
                np.asarray(edited.sheep.cell)[kept], np.asarray(state.sheep.cell)[kept]
            )


# Capacity.


@pytest.mark.parametrize("backend", ["jax", "numpy"])
def test_births_without_room_are_counted_and_cost_the_parent_nothing(backend):
    outcome = one_step_of_fed_sheep(replace(SMALL, capacity_sheep=44), backend)
    assert int(outcome.overflow) == 36 and int(outcome.macro[1]) == 44
    left = energies(outcome.state.sheep)
    assert left.sum() == (np.arange(40) + 4).sum() and len(np.unique(left)) < 44


def test_a_grown_model_runs_without_overflow_and_goes_on_from_a_smaller_one():
    tight = replace(SMALL, capacity_sheep=40, capacity_wolves=20)
    params = BENCHMARK_SMALL._replace(p_sheep=np.float32(0.5))
    with pytest.raises(OverflowError, match="found no free slot"):
        simulate(tight, params, steps=3, seeds=2, on_overflow="raise")
    enough = simulate(tight, params, steps=3, seeds=2, on_overflow="grow")
    assert not np.asarray(enough.overflow).any()
    assert enough.state.sheep.alive.shape[-1] > 40
    state = tight.init(np.random.default_rng(0), params)
    larger = tight.grown().enlarged(state)
    assert larger.sheep.alive.shape == (80,)
    assert tight.macro(state).tolist() == tight.grown().macro(larger).tolist()


def test_memory_of_a_microstate_is_what_the_slots_need():
    state = SMALL.init(jax.random.key(0), BENCHMARK_SMALL)
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    assert held <= 9 * (128 + 64) + 4 * 63 + 8


def test_patients_of_their_own_also_in_the_regrowth_time():
    times = np.array([0, 30], np.int32)
    params = BENCHMARK_SMALL._replace(regrowth=times, initial_wolves=np.int32(0), p_sheep=np.float32(0.01))
    cohort = simulate(SMALL, SMALL.checked(params), steps=10, seeds=3)
    grass = np.asarray(cohort.macro)[..., 2]
    assert (grass[0] == 63).all() and (grass[1, :, -1] < 63).all()


# The definition.


@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="Numba is not installed")
@pytest.mark.parametrize("variant", VARIANTS)
def test_plain_python_and_compiled_give_the_same_numbers(variant):
    model = WolfSheep(12, 11, variant, capacity_sheep=300, capacity_wolves=150)
    params = model.params(initial_sheep=40, initial_wolves=15)
    doses = np.random.default_rng(0).integers(-2, 3, (40, 2))
    plain, compiled = (sequential_run(model, params, doses, 3, compiled=flag) for flag in (False, True))
    np.testing.assert_array_equal(plain, compiled)
    assert plain.shape == (41, 6) and plain[:, 3:5].any()


def test_the_definition_counts_overflow_and_saturation():
    model = replace(SMALL, capacity_sheep=41)
    doses = np.array([[-5, 0], [1000, 0], [0, 0]])
    record = sequential_run(model, BENCHMARK_SMALL, doses, 0, compiled=False)
    assert record[1, 3] == -1 and record[1, 5] >= 4
    assert record[2, 1] == 0 and record[2, 3] <= 41


@pytest.mark.parametrize("backend", ["python", "numpy", "jax"])
def test_no_steps_give_the_first_record(backend):
    found = ensemble(SMALL, BENCHMARK_SMALL, steps=0, seeds=2, backend=backend)
    assert found.shape == (2, 1, 3) and (found[:, 0, :2] == [20, 40]).all()


# What cannot be.


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"p_sheep": 1.2}, "p_sheep is 1.2"),
        ({"p_wolf": -0.1}, "p_wolf is -0.1"),
        ({"gain_wolf": -1}, "gain_wolf is -1"),
        ({"gain_sheep": np.nan}, "gain_sheep is nan"),
        ({"regrowth": 2.5}, "regrowth is 2.5"),
        ({"initial_sheep": 129}, "initial_sheep is 129, expected a number from 0 to 128 .the capacity"),
        ({"initial_wolves": 1.5}, "initial_wolves is 1.5"),
    ],
)
def test_constants_out_of_range_are_named(wrong, named):
    with pytest.raises(ValueError, match=named):
        SMALL.params(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"height": 0},
        {"width": 2.5},
        {"variant": "hop"},
        {"capacity_sheep": 0},
        {"batches": 0},
        {"rounding": "up"},
        {"energy_init": "half"},
        {"max_rounds": 0},
        {"torus": False, "variant": "netlogo"},
    ],
)
def test_settings_out_of_range_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        WolfSheep(**wrong)


def test_a_fixed_number_of_rounds_reports_what_it_left_undone():
    model = WolfSheep(1, 1, "rw4", capacity_sheep=16, capacity_wolves=16, max_rounds=2)
    params = model.params(initial_sheep=8, initial_wolves=8, p_sheep=0, p_wolf=0, gain_sheep=50)
    step = jax.jit(model.step)(model.init(jax.random.key(0), params), jnp.zeros(2), jax.random.key(1), params)
    wolves_before = 8
    assert int(step.overflow) == wolves_before - 2
    assert int(step.macro[1]) <= 6


# Machine code.


@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="Numba is not installed")
@pytest.mark.parametrize("variant", ["rw8", "netlogo", "chase"])
def test_grids_in_machine_code_are_independent_of_their_batch_and_obey_doses(variant):
    from dynrl.envs.digital_twins.wolf_sheep.native import NativeCohort

    model = replace(SMALL, variant=variant, rounding="half_up", capacity_sheep=60)
    doses = np.zeros((3, 6, 2), np.float32)
    doses[1, 2], doses[2, 4] = (0.5, 0.0), (7.0, 1.0)
    together = NativeCohort(model, BENCHMARK_SMALL, [4, 5, 6]).run(doses)
    alone = NativeCohort(model, BENCHMARK_SMALL, [5])
    np.testing.assert_array_equal(together[1], np.concatenate([alone.step(dose[None]) for dose in doses[1]]))
    np.testing.assert_array_equal(alone.macro()[0], together[1, -1, :3])
    assert together[1, 2, 3] == np.floor(together[1, 1, 1] / 2 + 0.5)
    assert (together[2, 4:, :2] == 0).all()
    assert together[2, 4, 3:5].tolist() == together[2, 3, [1, 0]].tolist()
    with pytest.raises(ValueError, match="fractions have shape"):
        alone.run(doses)
    with pytest.raises(ValueError, match="negative"):
        alone.step([[-0.1, 0.0]])


@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="Numba is not installed")
def test_machine_code_counts_births_without_room_and_newcomers():
    from dynrl.envs.digital_twins.wolf_sheep.native import NativeCohort

    model = replace(SMALL, capacity_sheep=41, allow_stocking=True)
    record = NativeCohort(model, BENCHMARK_SMALL._replace(p_sheep=np.float32(1)), [0]).run(
        np.array([[[-0.5, 0.0]]], np.float32)
    )[0, 0]
    assert record[3] == -1 and record[5] >= 19 and record[1] <= 41
