"""Every registered environment keeps every promise that `check_env` knows."""

import pytest

from dynrl.registry import ENVS
from dynrl.testing import check_env

REQUIRED = {
    "dynrl/DLB-v0": {"system": "synthetic"},
    "dynrl/Sepsis-v0": {"grid": 9, "hold": 2, "burn_in": 2},
}
"""Constructor arguments that a name cannot do without, or that make its world small enough to be checked in seconds."""

OWN = sorted(name for name in ENVS if name.startswith("dynrl/"))


@pytest.mark.parametrize("name", OWN)
def test_keeps_its_promises(name):
    report = check_env(name, env_kwargs=REQUIRED.get(name), steps=60, examples=2)
    assert {result.status for result in report.results} == {"passed"}


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_keeps_its_promises_for_long_and_with_many_options(name):
    report = check_env(name, env_kwargs=REQUIRED.get(name), steps=5_000, examples=40, seed=1)
    assert {result.status for result in report.results} == {"passed"}
