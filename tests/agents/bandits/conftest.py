"""The systems and actions that the bandit tests share."""

import itertools

import numpy as np
import pytest

from dynrl.bandits import DLBSystem, FiniteSet
from dynrl.envs.bandits.systems import ads_system, synthetic_system


@pytest.fixture(scope="session")
def synthetic() -> DLBSystem:
    """The paper's synthetic system, σ = 0.01: ρ = 0.2, best (1, 0.5, 0), runner-up 0.03125 behind."""
    return synthetic_system()


@pytest.fixture(scope="session")
def ads() -> DLBSystem:
    """The paper's ad platforms, σ = 0.01: ρ = 0.667, complex eigenvalues."""
    return ads_system()


@pytest.fixture(scope="session")
def six() -> FiniteSet:
    """The permutations of (1, 0.5, 0), in lexicographic order."""
    return FiniteSet(sorted(itertools.permutations((1.0, 0.5, 0.0))))


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(7)
