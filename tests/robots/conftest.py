"""What tests of robots share: DDS domains and ports of their own, and waiting for conditions instead of sleeping."""

import gc
import random
import socket
import time
from collections.abc import Callable, Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def _only_own_objects_are_collected() -> Iterator[None]:
    """Keep the heap of other tests in the same process (JAX, torch: seconds) out of a deployment's collections."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def eventually() -> Callable[..., None]:
    """A function that waits until a condition holds; after `seconds` it fails the test and shows what `show` gives."""

    def wait(
        condition: Callable[[], object],
        seconds: float = 20.0,
        what: str = "the condition holds",
        show: Callable[[], object] = lambda: "",
    ) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {seconds} s: {what} {show()}")
            time.sleep(0.002)

    return wait


@pytest.fixture
def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def domain() -> Iterator[int]:
    """A DDS domain that nobody else uses: no test, since one test at a time holds its lock port, and no program, since
    the ports of its first participant are free."""
    for candidate in random.sample(range(1, 102), 101):
        with socket.socket() as lock:
            if not _binds(lock, 31000 + candidate):
                continue
            with socket.socket(type=socket.SOCK_DGRAM) as first:
                free = _binds(first, 7400 + 250 * candidate + 10)
            if free:
                yield candidate
                return
    pytest.fail("every DDS domain from 1 to 101 is in use")


def _binds(probe: socket.socket, port: int) -> bool:
    try:
        probe.bind(("0.0.0.0", port))
    except OSError:
        return False
    return True
