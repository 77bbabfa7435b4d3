"""Conflicts inside a cell: who wins is uniformly random, and as many win as there is to win."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dynrl.abm import claims, match, priorities, ranks, split, winners

P_LEAST = 1e-3


def trials_of(draw, backend, number):
    """`draw(key)` for many keys; NumPy gets one generator."""
    if backend == "numpy":
        rng = np.random.default_rng(7)
        return [np.array(leaf) for leaf in zip(*(draw(rng) for _ in range(number)), strict=True)]
    return [np.asarray(leaf) for leaf in jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(7), number))]


@pytest.mark.parametrize(("backend", "number"), [("jax", 10_000), ("numpy", 2_000)])
@pytest.mark.parametrize(("wolves", "sheep"), [(2, 5), (4, 3), (3, 3)])
def test_k_wolves_and_m_sheep_of_one_cell_eat_min_k_m_each_equally_often(backend, number, wolves, sheep):
    xp = np if backend == "numpy" else jnp
    # Slots of the dead and inhabitants of other cells stand around.
    wolf_cell, sheep_cell = xp.array([3] * wolves + [3, 1]), xp.array([3] * sheep + [3, 2])
    wolf_there = xp.array([True] * wolves + [False, True])
    sheep_there = xp.array([True] * sheep + [False, True])

    def draw(key):
        found = match(key, wolf_cell, wolf_there, sheep_cell, sheep_there, 5)
        return found.takers, found.taken

    fed, eaten = trials_of(draw, backend, number)
    fewer = min(wolves, sheep)
    assert (fed.sum(axis=1) == fewer).all() and (eaten.sum(axis=1) == fewer).all()
    assert not fed[:, wolves:].any() and not eaten[:, sheep:].any()
    for taken, several in ((fed, wolves), (eaten, sheep)):
        if fewer < several:
            assert stats.chisquare(taken[:, :several].sum(axis=0)).pvalue > P_LEAST


@pytest.mark.parametrize(("backend", "number"), [("jax", 10_000), ("numpy", 2_000)])
def test_of_n_sheep_on_one_patch_exactly_one_eats_each_equally_often(backend, number):
    xp = np if backend == "numpy" else jnp
    cell, hungry = xp.array([2, 2, 2, 0, 2, 2]), xp.array([True, True, True, True, False, True])

    def draw(key):
        return (winners(cell, hungry, priorities(key, 6), 4),)

    (ate,) = trials_of(draw, backend, number)
    assert (ate[:, [0, 1, 2, 5]].sum(axis=1) == 1).all()
    assert ate[:, 3].all() and not ate[:, 4].any()
    assert stats.chisquare(ate[:, [0, 1, 2, 5]].sum(axis=0)).pvalue > P_LEAST


@pytest.mark.parametrize(("backend", "number"), [("jax", 6_000), ("numpy", 2_000)])
def test_ranks_are_uniformly_random_orders_of_each_cell(backend, number):
    xp = np if backend == "numpy" else jnp
    cell, among = xp.array([1, 1, 0, 1, 1]), xp.array([True, True, True, True, False])

    def draw(key):
        return (ranks(key, cell, among, 2),)

    (rank,) = trials_of(draw, backend, number)
    assert (rank[:, 2] == 0).all() and (rank[:, 4] == 2**31 - 1).all()
    orders, times = np.unique(rank[:, [0, 1, 3]], axis=0, return_counts=True)
    assert sorted(map(tuple, orders.tolist())) == [
        (0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)
    ]  # fmt: skip
    assert stats.chisquare(times).pvalue > P_LEAST


@pytest.mark.parametrize(("backend", "number"), [("jax", 10_000), ("numpy", 2_000)])
def test_a_stock_serves_as_many_as_it_has_each_equally_often(backend, number):
    xp = np if backend == "numpy" else jnp
    cell, claiming = xp.array([0, 0, 0, 0, 1, 1]), xp.ones(6, bool)
    stock = xp.array([3, 0])

    def draw(key):
        return (claims(key, cell, claiming, stock),)

    (served,) = trials_of(draw, backend, number)
    assert (served[:, :4].sum(axis=1) == 3).all() and not served[:, 4:].any()
    assert stats.chisquare(served[:, :4].sum(axis=0)).pvalue > P_LEAST


def test_rounds_that_run_out_are_counted():
    cell, there = jnp.zeros(4, jnp.int32), jnp.ones(4, bool)
    short = match(jax.random.key(0), cell, there, cell, there, 1, max_rounds=3)
    assert int(short.takers.sum()) == 3 and int(short.unsettled) == 1
    enough = match(jax.random.key(0), cell, there, cell, there, 1, max_rounds=4)
    assert int(enough.takers.sum()) == 4 and int(enough.unsettled) == 0


@pytest.mark.parametrize("number", [1, 2, 1000, 1024, 5000])
def test_priorities_are_distinct_and_above_nobody(number):
    for key in (jax.random.key(3), np.random.default_rng(3)):
        words = np.asarray(priorities(key, number))
        assert len(np.unique(words)) == number and words.min() > 0


def test_too_many_agents_for_a_priority_are_refused():
    with pytest.raises(ValueError, match="agents in one population"):
        priorities(np.random.default_rng(0), 2**23 + 1)


def test_a_generator_stands_for_all_keys_and_a_key_is_split():
    rng = np.random.default_rng(0)
    assert all(part is rng for part in split(rng, 3))
    assert len(split(jax.random.key(0), 3)) == 3
