"""Every back end has the distribution of the definition, and the definition the numbers it is known for."""

import importlib.util

import numpy as np
import pytest

from dynrl.envs.digital_twins.wolf_sheep import WolfSheep
from dynrl.envs.digital_twins.wolf_sheep.ensembles import ensemble
from dynrl.envs.digital_twins.wolf_sheep.measure import (
    SELF_CHECKS,
    SETTINGS,
    against_definition,
    compared,
    self_checks,
)

needs_numba = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="Numba is not installed")
CASES = [
    *((name, backend) for name in SETTINGS for backend in ("jax", "numba")),
    *((name, "numpy") for name in SETTINGS if name != "chase, dense"),
]


@needs_numba
@pytest.mark.slow
@pytest.mark.parametrize(("name", "backend"), CASES)
def test_every_back_end_has_the_distribution_of_the_definition(name, backend):
    found = against_definition(name, backend, 500)
    assert found.pvalue > 1e-3 and found.z < 4


@needs_numba
@pytest.mark.slow
def test_the_definition_has_the_numbers_it_is_known_for():
    found = self_checks(300)
    outside = {
        name: value
        for name, value in found.items()
        if not SELF_CHECKS[name][0] <= value <= SELF_CHECKS[name][1]
    }
    assert not outside


@needs_numba
@pytest.mark.slow
def test_deciding_all_chases_at_once_is_another_model():
    """Which the comparison must notice."""
    model, params = SETTINGS["chase, dense"]
    naive = ensemble(
        WolfSheep(50, 50, "chase", capacity_sheep=model.capacity_sheep, capacity_wolves=512, batches=1),
        params,
        steps=200,
        seeds=100,
    )
    definition = ensemble(model, params, steps=200, seeds=100, backend="seq")
    found = compared(definition, naive)
    assert found.pvalue < 1e-6 and found.z > 10
    assert abs(found.means[1, 0] - 71) < 6 < 119 - found.means[1, 0]


@needs_numba
@pytest.mark.slow
def test_four_times_the_area_and_the_animals_keep_the_densities():
    one, four = (
        ensemble(
            WolfSheep(side, side, capacity_sheep=4096, capacity_wolves=2048),
            steps=300,
            seeds=seeds,
            backend="numba",
        )
        for side, seeds in ((51, 400), (102, 100))
    )
    densities = [runs[:, 200:].mean(axis=(0, 1)) for runs in (one, four)]
    np.testing.assert_allclose(densities[1] / 4, densities[0], rtol=0.02)


@pytest.mark.slow
@needs_numba
def test_a_few_runs_of_the_machine_code_resemble_the_definition():
    model = WolfSheep(12, 12, "rw8", capacity_sheep=256, capacity_wolves=128)
    params = model.params(initial_sheep=30, initial_wolves=10)
    runs = [ensemble(model, params, steps=20, seeds=150, backend=backend) for backend in ("seq", "numba")]
    found = compared(*runs, steps=(1, 10, 20))
    assert found.pvalue > 1e-3 and found.z < 4
