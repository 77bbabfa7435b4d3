"""Slots: newborns fill the free ones, overflow is counted, subsets have exactly the size asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dynrl.abm import Population, enlarged, place, scattered, size, subset


def population(alive, values, xp):
    alive = xp.array(alive)
    return Population(xp.arange(len(alive), dtype=np.int32), alive, {"mark": xp.array(values, np.float32)})


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=9, max_size=9))
def test_placing_equals_filling_free_slots_one_by_one(rows):
    alive, births = [row[0] for row in rows], [row[0] and row[1] for row in rows]
    free = [i for i, there in enumerate(alive) if not there]
    parents = [i for i, gives in enumerate(births) if gives]
    expected = [float(i) if there else None for i, there in enumerate(alive)]
    for slot, parent in zip(free, parents, strict=False):
        expected[slot] = 100.0 + parent
    for xp in (np, jnp):
        before = population(alive, range(len(rows)), xp)
        children = population(births, [100.0 + i for i in range(len(rows))], xp)
        placed = (jax.jit(place) if xp is jnp else place)(before, children)
        found = [
            float(mark) if there else None
            for mark, there in zip(
                np.asarray(placed.population.attributes["mark"]),
                np.asarray(placed.population.alive),
                strict=True,
            )
        ]
        assert found == expected
        assert int(placed.overflow) == max(len(parents) - len(free), 0)
        assert np.flatnonzero(np.asarray(placed.accepted)).tolist() == parents[: len(free)]


def test_newcomers_may_come_from_a_population_of_another_size():
    before = population([True, False, True, False], range(4), jnp)
    placed = place(before, population([True] * 3, [7, 8, 9], jnp))
    assert placed.population.attributes["mark"].tolist() == [0, 7, 2, 8]
    assert int(placed.overflow) == 1 and int(size(placed.population)) == 4


@pytest.mark.parametrize("backend", ["jax", "numpy"])
def test_a_subset_has_exactly_the_size_and_every_agent_the_same_chance(backend):
    among = np.array([True] * 6 + [False] * 3)
    if backend == "jax":
        keys = jax.random.split(jax.random.key(1), 6000)
        chosen = np.asarray(jax.vmap(lambda key: subset(key, jnp.array(among), jnp.int32(2)))(keys))
    else:
        rng = np.random.default_rng(1)
        chosen = np.array([subset(rng, among, np.int32(2)) for _ in range(3000)])
    assert (chosen.sum(axis=1) == 2).all() and not chosen[:, 6:].any()
    pairs = chosen[:, :6] @ (1 << np.arange(6))
    _, times = np.unique(pairs, return_counts=True)
    assert len(times) == 15 and stats.chisquare(times).pvalue > 1e-3


@pytest.mark.parametrize("number", [0, 1, 5, 6, 7, 100])
def test_a_subset_is_cut_to_those_there(number):
    among = np.array([True] * 6 + [False] * 3)
    for key, flags in ((jax.random.key(2), jnp.array(among)), (np.random.default_rng(2), among)):
        assert int(subset(key, flags, number).sum()) == min(number, 6)


def test_more_slots_hold_the_same_agents():
    before = population([True, False], [1, 2], jnp)
    after = enlarged(before, 5)
    assert after.alive.tolist() == [True, False, False, False, False]
    assert after.attributes["mark"].tolist()[:2] == [1, 2]
    with pytest.raises(ValueError, match="can only grow"):
        enlarged(after, 2)


def test_scattered_agents_are_uniform_over_the_grid():
    found = scattered(jax.random.key(0), 20_000, 18_000, 12, {})
    assert int(size(found)) == 18_000
    assert stats.chisquare(np.bincount(np.asarray(found.cell), minlength=12)).pvalue > 1e-3
