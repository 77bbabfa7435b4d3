"""The two systems of Mussi, Metelli, Restelli, "Dynamical Linear Bandits" (ICML 2023), section 5, and their
actions.
"""

import numpy as np
from numpy.typing import NDArray

from dynrl.bandits import ActionSet, BoxSet, BudgetSet, DLBSystem, FiniteSet, SimplexSet

__all__ = [
    "ACTION_SETS",
    "EXPERT_SPENDS",
    "SYSTEMS",
    "ads_system",
    "named_action_set",
    "named_system",
    "synthetic_system",
]

EXPERT_SPENDS: NDArray[np.float64] = np.array([1641952.0, 259591273.0, 716354611.0])
"""Historic spending per platform behind the ad-platform system: the expert keeps these proportions."""

SYSTEMS = ("synthetic", "ads")
ACTION_SETS = ("permutations", "budget", "box", "simplex")


def synthetic_system(sigma: float = 0.01, sigma_y: float | None = None) -> DLBSystem:
    """The synthetic three-channel system: h = (0.5625, 0.5, 1/9), ρ = 0.2.

    Of the actions (1, 0.5, 0) in any order the best is (1, 0.5, 0) with J* = 0.8125; (0, 1, 0.5) looks best
    at once. The first entry of B is 0.45; a circulating version of the text prints 0.25, which does not give
    the published h.

    Args:
        sigma: standard deviation of the state noise, and of the reward noise unless ``sigma_y`` is given.
    """
    return DLBSystem(
        A=np.diag([0.2, 0.0, 0.1]),
        B=np.diag([0.45, 0.0, 0.1]),
        omega=np.array([1.0, 0.0, 0.1]),
        theta=np.array([0.0, 0.5, 0.1]),
        sigma_x=sigma,
        sigma_y=sigma if sigma_y is None else sigma_y,
    )


def ads_system(sigma: float = 0.01, sigma_y: float | None = None) -> DLBSystem:
    """Three advertising platforms, identified by the authors from real spending and conversion logs.

    Action: spend on each platform (budget 1.5, at most 1 on each). Reward: the sum of the three outputs, so
    ω = Cᵀ1 = (−0.61, −0.04, −0.13) and θ = Dᵀ1 = (0.13, 0.41, 0.02). The dominant eigenvalues are complex.
    The raw logs are not published.

    Args:
        sigma: standard deviation of the state noise, and of the reward noise unless ``sigma_y`` is given.
            (The authors' code adds noise to each of the three outputs: sigma_y = √3·sigma.)
    """
    sigma_y = sigma if sigma_y is None else sigma_y
    return DLBSystem.from_state_space(
        A=[[0.38, 0.33, 0.60], [0.07, 0.76, -0.54], [0.18, 0.34, 0.05]],
        B=[[0.14, 0.34, -0.05], [-0.17, 0.03, -0.01], [0.04, -0.09, 0.17]],
        C=[[0.25, -0.14, 0.01], [-0.55, 0.20, -0.13], [-0.31, -0.10, -0.01]],
        D=[[0.11, 0.10, 0.01], [0.01, 0.36, 0.01], [0.01, -0.05, 0.00]],
        sigma_x=sigma,
        sigma_out=sigma_y / np.sqrt(3.0),
    )


def named_system(name: str) -> DLBSystem:
    """``"synthetic"`` or ``"ads"``, each with noise 0.01; ValueError for another name."""
    builders = {"synthetic": synthetic_system, "ads": ads_system}
    if name not in builders:
        raise ValueError(f"unknown system {name!r}; expected a DLBSystem or one of {', '.join(SYSTEMS)}")
    return builders[name]()


def named_action_set(name: str, dimension: int) -> ActionSet:
    """Spends of d channels with a cap of 1 each and a budget of d/2 in all (1.5 for three channels).

    Args:
        name: ``"permutations"``: the ways to spend the whole budget on as few channels as possible, for d = 3
            the six permutations of (1, 0.5, 0) of the published experiments, as ``itertools.permutations``
            orders them;
            ``"budget"``: every spend within caps and budget; ``"box"``: the caps alone; ``"simplex"``:
            exactly the budget, without caps.

    Raises:
        ValueError: another name.
    """
    zero, one = np.zeros(dimension), np.ones(dimension)
    budget = BudgetSet(zero, one, dimension / 2)
    if name == "permutations":
        return FiniteSet(budget.vertices(full_spend_only=True))
    if name == "budget":
        return budget
    if name == "box":
        return BoxSet(zero, one)
    if name == "simplex":
        return SimplexSet(dimension, dimension / 2)
    raise ValueError(f"unknown action set {name!r}; expected an ActionSet or one of {', '.join(ACTION_SETS)}")
