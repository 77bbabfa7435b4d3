"""Settings of every test: compiled programs are kept between runs, and PyTorch leaves the other core alone."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

# How long an example takes says more about the machine (compilation, other jobs) than about the code.
hypothesis.settings.register_profile("dynrl", deadline=None)
hypothesis.settings.load_profile("dynrl")

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


@pytest.fixture(scope="session")
def campaign_file() -> Callable[[str], Path]:
    """A function from the name of a file of the iPinYou development data (research only, never in the repository) to
    its path; it skips the test where the file is absent."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    given = [Path(os.environ["DYNRL_DATA"])] if "DYNRL_DATA" in os.environ else []

    def find(name: str) -> Path:
        for folder in (*given, beside):
            for path in (folder / name, folder / "rtb" / name):
                if path.is_file():
                    return path
        pytest.skip(f"{name} (iPinYou, research only) is neither in $DYNRL_DATA nor in ../shared/data/rtb")

    return find
