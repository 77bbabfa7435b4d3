"""The tumour lattice: what its rules may never break, and what the drug does."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom

from dynrl.abm import simulate
from dynrl.envs.digital_twins.tumour import TumourImmune, TumourImmuneModel, TumourParams
from dynrl.envs.digital_twins.tumour.model import MOST_IMMUNE_CELLS, checked_params

SMALL = TumourImmuneModel(12, 14, 256)
step = jax.jit(TumourImmuneModel.step, static_argnums=0)


def constants(**changes):
    return checked_params(TumourParams(radius=4, immune=120)._replace(**changes))


def rolled(params, dose, steps, seed=0, model=SMALL):
    """Microstates from the first on."""
    key = jax.random.key(seed)
    states = [model.init(key, params)]
    for number in range(steps):
        states.append(
            step(model, states[-1], jnp.full(1, dose), jax.random.fold_in(key, number), params).state
        )
    return states


def test_no_site_is_ever_too_full_and_births_have_parents():
    before = None
    for state in rolled(constants(attraction=9, recruitment=8), 0.5, 60):
        immune = jax.tree.map(np.asarray, state.immune)
        assert np.bincount(immune.cell[immune.alive], minlength=168).max() <= MOST_IMMUNE_CELLS
        assert set(immune.attributes["kind"][immune.alive]) <= {1, 2}
        tumour = np.asarray(state.tumour)
        if before is not None:
            grown = np.pad(before, 1)
            beside = (
                sum(np.roll(grown, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1))[1:-1, 1:-1] > 0
            )
            assert not (tumour & ~beside).any()
            assert tumour.sum() <= 2 * before.sum()
        before = tumour


def test_the_first_state_is_a_disc_and_the_cells_asked_for():
    state = rolled(constants(), 0.0, 0)[0]
    row, column = np.mgrid[:12, :14]
    disc = np.hypot(row - 5.5, column - 6.5) <= 4
    assert (np.asarray(state.tumour) == disc).all()
    assert SMALL.macro(state)[1:].tolist() == [120, 0, 0, 0]


def test_without_rates_nothing_happens():
    nothing = constants(division=0, apoptosis=0, killing=0, turning=0, loss=0, recruitment=0)
    first, *_, last = rolled(nothing, 0.0, 5)
    assert (first.tumour == last.tumour).all() and SMALL.macro(first)[:3].tolist() == SMALL.macro(last)[
        :3
    ].tolist()


def test_the_dead_become_debris_of_their_number():
    dying = constants(division=0, apoptosis=1, immune=0, recruitment=0)
    first, after = rolled(dying, 0.0, 1)
    dead = int(first.tumour.sum())
    assert not after.tumour.any() and float(after.debris.sum()) == pytest.approx(0.9 * dead, rel=1e-3)


def test_drug_level_tends_to_the_dose():
    levels = [float(state.drug) for state in rolled(constants(), 0.6, 30)]
    assert levels[1] == pytest.approx(0.06) and levels[30] == pytest.approx(0.6 * (1 - 0.9**30))


def test_type_2_turns_back_with_the_hill_probability_of_the_drug():
    # No tumour and no turnover: 200 cells of type 2 meet a drug level of 0.7, which is the half-effect level.
    params = constants(radius=0, immune=200, loss=0, recruitment=0, turning=0, drug_keep=0, returning=0.8)
    state = SMALL.init(jax.random.key(0), params)
    number = int(state.immune.alive.sum())
    state = state._replace(
        tumour=jnp.zeros_like(state.tumour),
        immune=state.immune._replace(attributes={"kind": jnp.full(SMALL.capacity, 2, jnp.int32)}),
    )
    keys = jax.random.split(jax.random.key(1), 50)
    turned = jax.jit(jax.vmap(lambda key: step(SMALL, state, jnp.full(1, 0.7), key, params).macro[1]))(keys)
    low, high = binom.ppf([5e-7, 1 - 5e-7], 50 * number, 0.4)
    assert low <= float(turned.sum()) <= high


def test_capacity_overflow_is_counted():
    tight = TumourImmuneModel(12, 14, 8)
    cohort = simulate(tight, constants(immune=8, recruitment=8, loss=0), steps=3)
    assert cohort.overflow.sum() > 0 and (cohort.macro[0, 0, :, 1:3].sum(-1) == 8).all()


@pytest.fixture(scope="module")
def env():
    return gymnasium.make(
        "dynrl/TumourImmune-v0",
        horizon=8,
        hold=3,
        height=12,
        width=14,
        capacity=256,
        patient=TumourParams(radius=4, immune=60),
        render_mode="rgb_array",
    )


def test_reward_is_the_weighted_shrinkage_less_the_dose(env):
    _, info = env.reset(seed=0)
    first = before = info["counts"]["tumour"]
    for dose in (0.0, 1.0, 0.25):
        _, reward, _, _, info = env.step(np.full(1, dose, np.float32))
        now = info["counts"]["tumour"]
        assert reward == pytest.approx(0.8 * (before - now) / np.log(first) - 0.2 * dose, abs=1e-4)
        assert sum(info["reward_terms"].values()) == pytest.approx(reward, abs=1e-6)
        before = now
    assert env.render().shape == (360, 420, 3)


def test_a_cleared_tumour_ends_the_episode(env):
    env.reset(seed=0, options={"apoptosis": 1.0})
    _, _, terminated, _, info = env.step(np.zeros(1, np.float32))
    assert terminated and info["cleared"] and info["covered"] == 0


def test_bad_doses_options_and_settings(env):
    env.reset(seed=0)
    for wrong in ([-0.1], [np.nan], [0.1, 0.1]):
        with pytest.raises(ValueError):
            env.step(np.array(wrong, np.float32))
    assert env.step(np.full(1, 3.0, np.float32))[4]["clipped"]
    for options, name in (
        ({"killing": 2}, "killing"),
        ({"anti_half": 0}, "anti_half"),
        ({"immune": 999}, "immune"),
        ({"size": 1}, "size"),
    ):
        with pytest.raises(ValueError, match=name):
            env.reset(options=options)
    for settings in ({"horizon": 0}, {"observe": "all"}, {"alpha": 2.0}, {"capacity": 0}, {"width": -1}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            TumourImmune(**settings)


def wilson(successes, runs, z=1.96):
    """Wilson's 95 % interval of a share."""
    share = successes / runs
    centre = (share + z**2 / (2 * runs)) / (1 + z**2 / runs)
    half = z / (1 + z**2 / runs) * np.sqrt(share * (1 - share) / runs + z**2 / (4 * runs**2))
    return centre - half, centre + half


@pytest.mark.slow
def test_full_dose_clears_half_a_dose_does_not_and_none_loses():
    model, runs = TumourImmuneModel(), 40
    tumour = {
        dose: np.asarray(simulate(model, None, np.full(1, dose), steps=600, seeds=runs, at_once=20).macro)[
            0, :, :, 0
        ]
        for dose in (0.0, 0.5, 1.0)
    }
    filled = (tumour[0.0].max(1) > 0.6 * model.grid.cells).sum()
    cleared = {dose: (course[:, -1] == 0).sum() for dose, course in tumour.items()}
    assert wilson(filled, runs)[0] > 0.8
    assert wilson(cleared[1.0], runs)[0] > 0.8
    assert wilson(cleared[0.5], runs)[1] < 0.4
