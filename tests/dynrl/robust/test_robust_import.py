"""`import dynrl.robust` loads nothing heavy and builds nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import dynrl.robust


def test_import_loads_no_heavy_package() -> None:
    code = (
        "import sys, dynrl.robust\n"
        "from dynrl.robust import Param, RobustEnv, UncertaintySet, make_robust_vec\n"
        "UncertaintySet([Param('attr:l', 0, 1)]).grid(3)\n"
        "print([name for name in ('jax', 'torch', 'mujoco', 'brax', 'ray', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_name_is_where_the_table_says() -> None:
    for name in dynrl.robust.__all__:
        assert getattr(dynrl.robust, name).__module__.startswith("dynrl.robust"), name
    with pytest.raises(AttributeError, match="no attribute 'Sets'"):
        _ = dynrl.robust.Sets
