"""Epidemics: the exact law of the fully mixed chain, the grid against its definition, and the environment."""

from itertools import product

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom, chisquare, ks_2samp

from dynrl.abm import simulate
from dynrl.abm.relabel import relabelled
from dynrl.envs.digital_twins.sir import GridSIR, SIRModel, SIRParams, final_size_distribution
from dynrl.envs.digital_twins.sir.model import checked_params
from dynrl.envs.digital_twins.sir.sequential import run


def params(people, **rates):
    return checked_params(SIRParams(**rates), people)


def by_enumeration(susceptible, infected, beta):
    """Final sizes from every outcome of every day, one infected after the other."""
    sizes = np.zeros(susceptible + 1)

    def follow(s, i, probability):
        if i == 0:
            sizes[susceptible - s] += probability
            return
        for caught in product((0, 1), repeat=s):
            new = sum(caught)
            chance = (1 - beta) ** i
            follow(s - new, new, probability * chance ** (s - new) * (1 - chance) ** new)

    follow(susceptible, infected, 1.0)
    return sizes


@pytest.mark.parametrize(
    ("s", "i", "beta"), [(0, 1, 0.3), (1, 1, 0.3), (2, 1, 0.3), (4, 2, 0.25), (5, 0, 0.5), (3, 2, 1.0)]
)
def test_final_sizes_are_those_of_every_outcome_enumerated(s, i, beta):
    sizes = final_size_distribution(s, i, beta)
    assert sizes == pytest.approx(by_enumeration(s, i, beta), abs=1e-12)
    assert sizes.sum() == pytest.approx(1)


def test_final_sizes_of_two_susceptibles_in_closed_form():
    q = 0.7
    assert final_size_distribution(2, 1, 1 - q) == pytest.approx(
        [q**2, 2 * (1 - q) * q * q, 1 - q**2 - 2 * (1 - q) * q * q]
    )
    with pytest.raises(ValueError, match="beta"):
        final_size_distribution(3, 1, 1.2)


def final_sizes(model, constants, seeds):
    cohort = simulate(model, constants, steps=model.grid.cells, seeds=seeds)
    return np.asarray(cohort.macro)[0, :, -1, 2].astype(int) - int(constants.infected)


def test_the_fully_mixed_epidemic_of_one_day_is_the_reed_frost_chain():
    constants = params(15, beta=0.12, gamma=1, infected=2)
    sizes = final_sizes(SIRModel(3, 5, mixing="full"), constants, 4000)
    expected = 4000 * final_size_distribution(13, 2, 0.12)
    assert expected.min() > 5  # as chi-square wants it
    assert chisquare(np.bincount(sizes, minlength=14), expected).pvalue > 1e-3


def test_fewer_contacts_are_a_smaller_beta():
    model, constants = SIRModel(3, 5, mixing="full"), params(15, beta=0.3, gamma=1, infected=2)
    cohort = simulate(model, constants, np.array([0.0, 0.6]), steps=15, seeds=4000)
    sizes = np.asarray(cohort.macro)[0, :, -1, 2].astype(int) - 2
    expected = 4000 * final_size_distribution(13, 2, 0.3 * 0.4)
    assert chisquare(np.bincount(sizes, minlength=14), expected).pvalue > 1e-3


@pytest.mark.parametrize("backend", ["jax", "numpy"])
@pytest.mark.parametrize("torus", [True, False])
def test_a_day_on_the_grid_infects_with_the_probability_of_the_contacts(backend, torus):
    model = SIRModel(4, 5, torus=torus)
    ill = np.zeros((4, 5), int)
    ill[0, 0] = ill[0, 1] = ill[2, 3] = 1
    contacts = np.zeros((4, 5), int)
    for row, column, down, right in product(range(4), range(5), (-1, 0, 1), (-1, 0, 1)):
        other = row + down, column + right
        inside = 0 <= other[0] < 4 and 0 <= other[1] < 5
        if (down, right) != (0, 0) and (torus or inside):
            contacts[row, column] += ill[other[0] % 4, other[1] % 5]
    constants, trials = params(20, beta=0.3, gamma=0.4), 4000 if backend == "jax" else 600
    if backend == "jax":
        state = model.init(jax.random.key(0), constants)._replace(status=jnp.asarray(ill, jnp.int32))
        day = jax.jit(jax.vmap(lambda key: model.step(state, None, key, constants).state.status))
        after = np.asarray(day(jax.random.split(jax.random.key(1), trials)))
    else:
        rng = np.random.default_rng(0)
        state = model.init(rng, constants)._replace(status=ill.astype(np.int32))
        after = np.stack([model.step(state, None, rng, constants).state.status for _ in range(trials)])
    caught = (after == 1).sum(0)[ill == 0]
    chance = 1 - 0.7 ** contacts[ill == 0]
    assert (caught[chance == 0] == 0).all() and (after[:, ill == 0] != 2).all()
    # 20 cells, each within bounds that a right model leaves with probability 1e-6.
    assert (caught >= binom.ppf(5e-7, trials, chance)).all() and (
        caught <= binom.ppf(1 - 5e-7, trials, chance)
    ).all()
    recovered = (after == 2).sum(0)[ill == 1]
    assert (
        (recovered >= binom.ppf(5e-7, trials, 0.4)) & (recovered <= binom.ppf(1 - 5e-7, trials, 0.4))
    ).all()


def test_grid_epidemics_are_distributed_like_the_definition():
    model, constants = SIRModel(9, 11, torus=False), params(99, beta=0.15, gamma=0.3, infected=3)
    controls = np.tile([0.03, 0.2], (25, 1))
    rng = np.random.default_rng(0)
    theirs = np.stack([run(model, controls, constants, rng) for _ in range(300)])
    ours = np.asarray(simulate(model, constants, controls, steps=25, seeds=1000).macro)[0]
    assert (ours.sum(-1) == 99).all() and (theirs.sum(-1) == 99).all()
    for day, column in product((1, 5, 12, 25), range(4)):
        one, other = ours[:, day, column], theirs[:, day, column]
        assert ks_2samp(one, other, method="asymp").pvalue > 1e-3
        error = np.hypot(one.std() / 1000**0.5, other.std() / 300**0.5)
        assert abs(one.mean() - other.mean()) <= 4 * error


def test_vaccination_takes_whole_susceptible_people():
    constants = params(20, beta=0, gamma=0, infected=5)
    expected = {"half_up": {2}, "floor": {1}, "stochastic": {1, 2}}
    for rounding, numbers in expected.items():
        model = SIRModel(4, 5, rounding=rounding, most_vaccinated=1.0)
        cohort = simulate(model, constants, np.array([0.1, 0.0]), steps=1, seeds=20)
        assert set(np.asarray(cohort.amount)[0, :, 0, 0]) == numbers  # a tenth of 15
    everybody = simulate(SIRModel(4, 5, most_vaccinated=1.0), constants, np.array([1.0, 0.0]), steps=3)
    assert everybody.macro[0, 0].tolist() == [[15, 5, 0, 0]] + 3 * [[0, 5, 0, 15]]


@pytest.mark.parametrize("kind", ["jax", "numpy"])
def test_edited_epidemics_have_the_numbers_asked_for(kind):
    key, xp = (jax.random.key(2), jnp) if kind == "jax" else (np.random.default_rng(2), np)
    model = SIRModel(5, 6)
    state = model.init(key, params(30, infected=7))
    change = jax.jit(model.edited) if kind == "jax" else model.edited
    after = change(state, xp.asarray(np.array([0, 9, 4, 2], np.float32)), None, key)
    assert model.macro(after).tolist() == [15, 9, 4, 2]
    was_ill = np.asarray(state.status) == 1
    assert (np.asarray(after.status)[was_ill] == 1).all()  # nobody changes without need
    assert (np.asarray(after.status) != np.asarray(state.status)).sum() == 8
    impossible = change(state, xp.asarray(np.array([0, 25, np.nan, 99], np.float32)), None, key)
    assert model.macro(impossible).tolist() == [0, 25, 0, 5]


def test_relabelling_chooses_at_random():
    label = jnp.array([0, 0, 0, 0, 1, 1])
    draws = jax.jit(jax.vmap(lambda key: relabelled(key, label, [3, 1])))(
        jax.random.split(jax.random.key(0), 8000)
    )
    draws = np.asarray(draws)
    assert (np.bincount(draws.ravel(), minlength=3) == 8000 * np.array([2, 3, 1])).all()
    assert (draws[:, 4:] == 1).all()  # those stay
    for value, share in ((1, 0.25), (2, 0.25)):
        assert chisquare((draws[:, :4] == value).sum(0), [8000 * share] * 4).pvalue > 1e-3


@pytest.fixture(scope="module")
def env():
    return gymnasium.make(
        "dynrl/GridSIR-v0", horizon=30, hold=2, height=6, width=8, infected=3, render_mode="rgb_array"
    )


def test_terms_add_up_and_doses_are_people(env):
    _, info = env.reset(seed=1)
    assert info["counts"] == {"S": 45, "I": 3, "R": 0, "V": 0}
    ended, vaccinated, reward_sum = False, 0.0, 0.0
    while not ended:
        observation, reward, terminated, truncated, info = env.step(np.array([0.05, 0.3], np.float32))
        assert sum(info["reward_terms"].values()) == pytest.approx(reward, abs=1e-6)
        vaccinated, reward_sum = vaccinated + info["dose"][0], reward_sum + reward
        ended = terminated or truncated
    numbers = info["counts"]
    assert numbers["V"] == vaccinated and (numbers["I"] == 0) == terminated
    caught = 45 - numbers["S"] - numbers["V"]
    days = info["time"]
    assert reward_sum == pytest.approx(-caught / 48 - 0.2 * vaccinated / 48 - 0.01 * 0.3 * days, abs=1e-5)
    assert observation["macro"].sum() == pytest.approx(1)
    assert env.render().shape == (306, 408, 3)


def test_an_epidemic_without_infected_ends_at_once(env):
    env.reset(seed=0, options={"infected": 0})
    assert env.step(np.zeros(2, np.float32))[2]


def test_bad_doses_and_options(env):
    env.reset(seed=0)
    for wrong in ([-0.1, 0], [0, np.nan], [0.1]):
        with pytest.raises(ValueError):
            env.step(np.array(wrong, np.float32))
    assert env.step(np.array([0.5, 0.5], np.float32))[4]["clipped"]
    for options, name in (
        ({"beta": 2}, "beta"),
        ({"infected": 99}, "infected"),
        ({"R0": 3}, "R0"),
        ({"vaccine_cost": -1}, "vaccine_cost"),
    ):
        with pytest.raises(ValueError, match=name):
            env.reset(options=options)
    for settings in (
        {"horizon": 0},
        {"hold": 0},
        {"mixing": "some"},
        {"gamma": -1},
        {"infected": 5000},
        {"height": 0},
    ):
        with pytest.raises(ValueError, match=next(iter(settings))):
            GridSIR(**settings)
