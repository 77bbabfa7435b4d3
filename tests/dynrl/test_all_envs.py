"""Every registered environment keeps every promise that `check_env` knows."""

import pytest

from dynrl.registry import ENVS
from dynrl.testing import check_env

REQUIRED = {
    "dynrl/DLB-v0": {"system": "synthetic"},
    "dynrl/Sepsis-v0": {"grid": 9, "hold": 2, "burn_in": 2},
}
"""Constructor arguments that a name cannot do without, or that make its world small enough to be checked in seconds."""

SMALL = REQUIRED | {
    "dynrl/WSG-SS-255-v0": {"height": 51, "width": 51, "capacity_sheep": 512, "capacity_wolves": 256}
}
"""For the short check; the long one sees the world as it is registered."""

SLOW_TO_COMPILE = {
    "dynrl/GridSIR-v0",
    "dynrl/Sepsis-v0",
    "dynrl/TumourImmune-v0",
    "dynrl/WSG-SS-255-v0",
    "dynrl/WSG-SS-Patients-v0",
    "dynrl/WSG-SS-v0",
}
"""One draw of constructor options in the short check; the long one draws forty, or ten of these."""

OWN = sorted(name for name in ENVS if name.startswith("dynrl/"))


SLOW = {
    "dynrl/Acrobot-v0",
    "dynrl/ContinuousMountainCar-v0",
    "dynrl/HumanoidStandup-v0",
    "dynrl/MetBudget-v0",
    "dynrl/MetTrack-v0",
    "dynrl/MetYield-v0",
    "dynrl/Sepsis-v0",
    "dynrl/TumourImmune-v0",
    "dynrl/WSG-SS-255-v0",
    "dynrl/WSG-SS-Patients-v0",
    "dynrl/Walker2d-v0",
}
"""Variants of classes that the short check sees under another name, and what takes half a minute or more to compile."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in OWN]
)
def test_keeps_its_promises(name):
    examples = 1 if name in SLOW_TO_COMPILE else 2
    report = check_env(name, env_kwargs=SMALL.get(name), steps=60, examples=examples)
    assert {result.status for result in report.results} == {"passed"}


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_keeps_its_promises_for_long_and_with_many_options(name):
    steps, examples = (1_000, 10) if name in SLOW_TO_COMPILE else (5_000, 40)
    report = check_env(name, env_kwargs=REQUIRED.get(name), steps=steps, examples=examples, seed=1)
    assert {result.status for result in report.results} == {"passed"}
