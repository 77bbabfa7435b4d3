"""Settings of every test: compiled programs are kept between runs, and PyTorch leaves the other core alone."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_CACHE = Path(__file__).parents[1] / ".cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def strict_ranks() -> Iterator[None]:
    """Make silent broadcasting between ranks an error; for tests of our own JAX code."""
    import jax

    with jax.numpy_rank_promotion("raise"):
        yield
