"""Neighbours, moves and diffusion against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dynrl.abm import Grid, counts, diffused, evaporated, neighbour_sum

REACH = {"von_neumann": 1, "moore": 2}


@pytest.mark.parametrize("torus", [True, False])
@pytest.mark.parametrize("kind", ["von_neumann", "moore", "moore_self"])
def test_neighbours_are_the_cells_at_the_right_distance(kind, torus):
    grid = Grid(4, 5, torus)
    table, degrees = grid.neighbours(kind), grid.degrees(kind)
    for cell in range(grid.cells):
        expected = []
        for other in range(grid.cells):
            apart = np.abs(np.subtract(divmod(cell, 5), divmod(other, 5)))
            if torus:
                apart = np.minimum(apart, np.array([4, 5]) - apart)
            near = apart.sum() == 1 if kind == "von_neumann" else apart.max() == 1
            if near or (kind == "moore_self" and other == cell):
                expected.append(other)
        assert sorted(table[cell, : degrees[cell]]) == expected


def test_on_a_single_cell_the_mover_stays():
    for torus in (True, False):
        grid = Grid(1, 1, torus)
        cell = jnp.zeros(3, jnp.int32)
        assert grid.step(jax.random.key(0), cell, "moore").tolist() == [0, 0, 0]
        assert grid.step(np.random.default_rng(0), np.zeros(3, np.int32), "von_neumann").tolist() == [0, 0, 0]


@pytest.mark.parametrize(("shape", "torus", "expected"), [
    ((1, 3), True, [0.5, 0.25, 0.25]), ((3, 3), False, [0, 0.5, 0, 0.5, 0, 0, 0, 0, 0])
])  # fmt: skip
def test_moves_are_uniform_over_the_listed_neighbours(shape, torus, expected):
    grid = Grid(*shape, torus)
    for key, xp in ((jax.random.key(5), jnp), (np.random.default_rng(5), np)):
        went = np.asarray(grid.step(key, xp.zeros(8000, np.int32), "von_neumann"))
        found = np.bincount(went, minlength=grid.cells)
        share = np.array(expected)
        assert not found[share == 0].any()
        assert stats.chisquare(found[share > 0], 8000 * share[share > 0]).pvalue > 1e-3


@pytest.mark.parametrize("wrong", [0, -2, 2.5, True, "3"])
def test_sizes_that_are_no_whole_numbers_are_named(wrong):
    with pytest.raises(ValueError, match="height is"):
        Grid(wrong, 3)


def test_an_unknown_neighbourhood_is_named():
    with pytest.raises(ValueError, match="neighbourhood is 'hexagonal'"):
        Grid(3, 3).neighbours("hexagonal")


@pytest.mark.parametrize("torus", [True, False])
@pytest.mark.parametrize("neighbourhood", ["von_neumann", "moore"])
@pytest.mark.parametrize("fraction", [0.0, 0.4, 1.0])
def test_diffusion_moves_equal_parts_and_conserves_mass(torus, neighbourhood, fraction):
    field = np.random.default_rng(0).random((2, 5, 6), np.float32)
    grid = Grid(5, 6, torus)
    table, degrees = grid.neighbours(neighbourhood), grid.degrees(neighbourhood)
    expected = np.array(field, np.float64).reshape(2, -1)
    for cell in range(grid.cells):
        part = fraction * field.reshape(2, -1)[:, cell] / table.shape[1]
        for neighbour in table[cell, : degrees[cell]]:
            expected[:, cell] -= part
            expected[:, neighbour] += part
    for xp in (np, jnp):
        found = np.asarray(diffused(xp.asarray(field), fraction, neighbourhood, torus))
        np.testing.assert_allclose(found.reshape(2, -1), expected, atol=1e-6)
        assert abs(found.sum() / field.sum() - 1) < 1e-5


def test_what_evaporates_below_the_least_is_gone_and_overflow_is_guarded():
    found = evaporated(jnp.array([1.0, 0.02, 1e13]), 0.4, least=0.01)
    np.testing.assert_allclose(found, [0.4, 0.0, 1e12])


def test_counts_leave_out_those_not_meant():
    cell, among = np.array([2, 2, 0, 1]), np.array([True, True, False, True])
    assert counts(cell, among, 4).tolist() == [0, 1, 2, 0]
    assert counts(jnp.array(cell), jnp.array(among), 4).tolist() == [0, 1, 2, 0]


def test_neighbour_sums_of_ones_are_degrees():
    for torus in (True, False):
        grid = Grid(3, 4, torus)
        found = neighbour_sum(np.ones((3, 4)), "moore", torus)
        assert found.reshape(-1).tolist() == grid.degrees("moore").tolist()
