"""The published numbers of the two published systems."""

from fractions import Fraction

import numpy as np
import pytest

from dynrl.bandits import BoxSet, BudgetSet, FiniteSet, SimplexSet, SystemBounds
from dynrl.envs.bandits import EXPERT_SPENDS, ads_system, named_action_set, named_system, synthetic_system


def test_synthetic_system() -> None:
    system, actions = synthetic_system(), named_action_set("permutations", 3)
    np.testing.assert_allclose(system.h, [0.5625, 0.5, 1 / 9], rtol=1e-12)
    assert system.rho == pytest.approx(0.2) and system.transient_growth() == pytest.approx(1.0)
    np.testing.assert_array_equal(system.optimal_action(actions), [1, 0.5, 0])
    values = np.sort(system.value(actions.candidates()))
    assert values[-1] == pytest.approx(0.8125, rel=1e-12)
    assert values[-1] - values[-2] == pytest.approx(0.03125, rel=1e-10)
    assert system.value([0.5, 1, 0]) == pytest.approx(values[-2])
    np.testing.assert_array_equal(actions.linear_argmax(system.theta), [0, 1, 0.5])
    assert (system.sigma_x, system.sigma_y) == (0.01, 0.01)


def ads_gain_exactly() -> list[Fraction]:
    """h = θ + Bᵀ(I − A)^{-ᵀ}ω in rational arithmetic, from the published hundredths, by Cramer's rule."""
    A = [[38, 33, 60], [7, 76, -54], [18, 34, 5]]
    B = [[14, 34, -5], [-17, 3, -1], [4, -9, 17]]
    omega, theta = [-61, -4, -13], [13, 41, 2]
    transposed = [[Fraction(100 * (i == j) - A[j][i], 100) for j in range(3)] for i in range(3)]

    def determinant(m: list) -> Fraction:
        return sum(
            m[0][i] * (m[1][(i + 1) % 3] * m[2][(i + 2) % 3] - m[1][(i + 2) % 3] * m[2][(i + 1) % 3])
            for i in range(3)
        )

    weight = []
    for column in range(3):
        replaced = [
            [Fraction(omega[i], 100) if j == column else transposed[i][j] for j in range(3)] for i in range(3)
        ]
        weight.append(determinant(replaced) / determinant(transposed))
    return [
        Fraction(theta[j], 100) + sum(Fraction(B[i][j], 100) * weight[i] for i in range(3)) for j in range(3)
    ]


def test_ad_platform_system() -> None:
    system, actions = ads_system(), named_action_set("permutations", 3)
    np.testing.assert_allclose(system.omega, [-0.61, -0.04, -0.13], rtol=1e-12)
    np.testing.assert_allclose(system.theta, [0.13, 0.41, 0.02], rtol=1e-12)
    np.testing.assert_allclose(system.h, [float(entry) for entry in ads_gain_exactly()], rtol=1e-12)
    assert system.rho == pytest.approx(0.6668913423, abs=1e-9)
    dominant = np.linalg.eigvals(system.A)[np.argmax(abs(np.linalg.eigvals(system.A)))]
    assert dominant.imag != 0
    assert system.transient_growth() == pytest.approx(2.78122, abs=1e-4)
    np.testing.assert_array_equal(system.optimal_action(actions), [1, 0, 0.5])
    first, _, third = ads_gain_exactly()
    assert system.optimal_value(actions) == pytest.approx(float(first + third / 2), rel=1e-12)
    # The second platform looks best at once and is worth less than nothing in the long run.
    assert system.theta.argmax() == 1 and system.h[1] < 0
    np.testing.assert_array_equal(system.optimal_action(named_action_set("budget", 3)), [1, 0, 0.5])
    assert (system.sigma_x, system.sigma_y) == (0.01, pytest.approx(0.01))
    assert ads_system(0.02, sigma_y=0.5).sigma_y == pytest.approx(0.5)


def test_the_expert_spends_almost_nothing_where_it_is_worth_most() -> None:
    shares = EXPERT_SPENDS / EXPERT_SPENDS.sum()
    assert shares[ads_system().h.argmax()] < 0.002
    assert 1.5 * shares @ ads_system().h < 0.5 * ads_system().optimal_value(named_action_set("budget", 3))


def test_named_action_sets() -> None:
    assert len(named_action_set("permutations", 3)) == 6
    kinds = {"permutations": FiniteSet, "budget": BudgetSet, "box": BoxSet, "simplex": SimplexSet}
    for name, kind in kinds.items():
        actions = named_action_set(name, 3)
        assert isinstance(actions, kind) and actions.dimension == 3
        assert actions.contains([1, 0.5, 0])
    with pytest.raises(ValueError, match="unknown action set 'cube'; expected an ActionSet or one of perm"):
        named_action_set("cube", 3)
    with pytest.raises(ValueError, match="unknown system 'add'; expected a DLBSystem or one of synthetic"):
        named_system("add")


@pytest.mark.parametrize("system", [synthetic_system(), ads_system()])
def test_rewards_stay_within_the_bounds_that_agents_are_told(system) -> None:
    bounds = system.bounds()
    assert isinstance(bounds, SystemBounds)
    effects = np.linalg.norm(system.markov_parameters(60), axis=1)
    limit = bounds.omega * bounds.b * bounds.phi * bounds.rho ** np.arange(59)
    assert (effects[1:] <= limit * (1 + 1e-6) + 1e-15).all()
    assert np.linalg.norm(system.h) <= bounds.theta + limit.sum() + 1e-12
