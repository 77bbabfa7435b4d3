"""Settings of every test: compiled programs are kept between runs, and PyTorch leaves the other core alone."""

import gc
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

# How long an example takes says more about the machine (compilation, other jobs) than about the code; and the same
# examples in every run, so that no run fails by chance.
hypothesis.settings.register_profile("dynrl", deadline=None, derandomize=True)
hypothesis.settings.load_profile("dynrl")

_CACHE = Path(__file__).parents[1] / ".cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
os.environ.setdefault("OMP_NUM_THREADS", "1")


_MAPS = Path("/proc/self/maps")
_TESTS = itertools.count(1)
_MANY_MAPS = 20_000  # Linux allows a process 65 530; XLA takes about ten for each compiled program


@pytest.fixture(autouse=True)
def _few_programs_in_memory() -> Iterator[None]:
    """Forget compiled programs when there are many: past its limit of memory maps the process dies without a word.

    They come back from the persistent cache. Counting takes some 20 ms, so it is done after long tests and after every
    fiftieth.
    """
    begin = time.monotonic()
    yield
    if "jax" not in sys.modules or not _MAPS.exists():
        return
    long = time.monotonic() - begin > 2
    if (long or next(_TESTS) % 50 == 0) and _MAPS.read_bytes().count(b"\n") > _MANY_MAPS:
        sys.modules["jax"].clear_caches()
        gc.collect()


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
