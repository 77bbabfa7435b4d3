"""The windy walk: its reference numbers, and an environment that moves as its kernel says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynrl.envs.grid_worlds import WindyWalk, WindyWalkParams, windy_walk_kernel, windy_walk_problem
from dynrl.envs.grid_worlds.windy_walk import GOAL, LAYOUT, MOVES, STATES, WALL
from dynrl.robust.tabular import (
    MonteCarlo,
    iwocs,
    optimal,
    plot_grid_policy,
    policy_values,
    robust_policy_iteration,
    robust_value_iteration,
)

SOUTH, EAST, WEST = 1, 2, 3


@pytest.fixture(scope="module")
def walk():
    return windy_walk_problem()


def start_value(walk, number):
    return optimal(walk, walk.ambiguity.kernels[number]).value[0]


def test_optimal_values(walk):
    np.testing.assert_allclose(
        [start_value(walk, number) for number in (0, 10, 24)], [-4.52438, -5.84003, -7.95215], atol=1e-5
    )
    np.testing.assert_allclose(walk.ambiguity.grid[[10, 24], 0], [5 / 24, 0.5])


def test_first_move_turns_south_between_two_strengths(walk):
    moves = [optimal(walk, kernel).policy[0].argmax() for kernel in walk.ambiguity.kernels]
    turn = moves.index(SOUTH)
    assert set(moves[:turn]) == {EAST} and set(moves[turn:]) == {SOUTH}
    np.testing.assert_allclose(walk.ambiguity.grid[turn - 1 : turn + 1, 0], [0.3542, 0.3750], atol=1e-4)


def test_calm_policy_in_the_storm(walk):
    kernels = walk.ambiguity.kernels
    assert policy_values(walk, kernels[24:], optimal(walk, kernels[0]).policy)[0, 0] == pytest.approx(
        -10.29441, abs=1e-5
    )


def test_robust_value_of_the_hull_is_that_of_the_strongest_wind(walk):
    solution = robust_policy_iteration(walk)
    assert solution.value[0] == pytest.approx(-7.95215, abs=1e-5) == start_value(walk, 24)
    value = np.zeros(STATES)
    for sweep in range(1, 20):
        value = np.where(walk.terminal, 0.0, walk.rectangular.game_value(walk.outcome(value)))
        assert (abs(value[0] - solution.value[0]) <= 1e-3) == (sweep >= 19)
    np.testing.assert_allclose(robust_value_iteration(walk).value, solution.value, atol=1e-9)


def test_iwocs_is_certified_in_two_iterations(walk):
    result = iwocs(walk)
    assert result.status == "certified" and result.bound_kind == "grid" and len(result.history) == 2
    assert [model.index for model in result.models] == [0, 24]
    seen = [(each.pessimistic, each.worst) for each in result.history]
    np.testing.assert_allclose(seen, [(-4.52438, -10.29441), (-7.95215, -7.95215)], atol=1e-5)
    assert result.gap == pytest.approx(0, abs=1e-9) and result.evaluations == 50


def test_simulated_iwocs_is_within_three_standard_errors(walk):
    result = iwocs(walk, monte_carlo=MonteCarlo(rollouts=300, max_steps=10_000, seed=0))
    assert result.status == "estimated" and result.bound_kind == "estimated"
    assert len(result.history) == 2
    for each, exact in zip(result.history, (-10.29441, -7.95215), strict=True):
        assert 0 < each.error < 0.5 and abs(each.worst - exact) <= 3 * each.error
    assert result.env_steps > 25 * 300 * 5


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_kernel_is_the_layout(alpha):
    """In words, state by state: borders and walls stop, wind takes west, the goal keeps."""
    kernel = windy_walk_kernel(alpha)
    np.testing.assert_allclose(kernel.sum(axis=-1), 1)
    assert (kernel[GOAL, :, GOAL] == 1).all() and (kernel[~WALL][:, :, WALL] == 0).all()
    wind = {0: alpha, 2: alpha**3, 4: alpha**6, 5: alpha**6}
    for row, blows in wind.items():
        for column in (1, 2, 3):
            state = 6 * row + column
            assert kernel[state, WEST, state - 1] == 1
            assert kernel[state, EAST, state + 1] == pytest.approx(1 - blows)
            aside = {0: state, 2: state, 4: state + 6, 5: state}[row]
            assert kernel[state, SOUTH, aside] == pytest.approx(1 - blows)
            assert kernel[state, SOUTH, state - 1] == pytest.approx(blows)
    assert kernel[0, SOUTH, 6] == kernel[0, WEST, 0] == kernel[6, EAST, 6] == kernel[4, EAST, GOAL] == 1


def test_environment_moves_as_the_kernel_says():
    """Frequencies of 4000 draws per pair are within 5 standard errors, and impossible moves never happen."""
    env, draws, alpha = WindyWalk(alpha=0.7), 4000, 0.7
    states, actions = map(jnp.asarray, np.divmod(np.arange(STATES * 4), 4))
    keys = jax.random.split(jax.random.key(0), draws)
    many = jax.vmap(env.transition, (0, 0, None, None))
    after = jax.jit(jax.vmap(many, (None, None, 0, None)))(states, actions, keys, env.default_params)
    counts = (np.asarray(after)[..., None] == np.arange(STATES)).mean(axis=0)
    kernel = windy_walk_kernel(alpha).reshape(-1, STATES)
    error = np.sqrt(kernel * (1 - kernel) / draws)
    assert (np.abs(counts - kernel) <= 5 * error + 1e-6).all()


def test_strength_is_a_parameter_and_not_compiled_in():
    calm, storm = WindyWalk(alpha=0.0), WindyWalk(alpha=1.0)
    assert calm == storm
    assert float(storm.default_params.alpha) == 1 and isinstance(calm.default_params, WindyWalkParams)
    with pytest.raises(ValueError, match="strength of the wind"):
        WindyWalk(alpha=1.5)


def test_walker_wall_and_goal_are_drawn():
    env = WindyWalk()
    picture = env.render_image(np.int32(14))
    assert picture.shape == (288, 288, 3) and picture.dtype == np.uint8
    middle = picture[24::48, 24::48].reshape(-1, 3)
    assert len(np.unique(middle[WALL], axis=0)) == 1
    assert (middle[14] != middle[13]).any() and (middle[GOAL] != middle[4]).any()
    assert (env.render_image(np.int32(20))[24 + 48 * 2, 24 + 48 * 2] == middle[13]).all()


def test_policy_is_drawn_as_arrows(walk, tmp_path):
    solution = robust_policy_iteration(walk)
    out = plot_grid_policy(solution.actions, solution.value, LAYOUT, MOVES, tmp_path / "policy.png")
    assert out.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="36 squares"):
        plot_grid_policy(np.zeros(3, int), solution.value, LAYOUT, MOVES, tmp_path / "policy.png")
