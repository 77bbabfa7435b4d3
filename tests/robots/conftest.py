"""What tests of robots share: DDS domains and ports of their own, and waiting for conditions instead of sleeping."""

import random
import socket
import time
from collections.abc import Callable, Iterator

import pytest


@pytest.fixture
def eventually() -> Callable[..., None]:
    """A function that waits until a condition holds, and fails the test after `seconds`."""

    def wait(condition: Callable[[], object], seconds: float = 20.0, what: str = "") -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {seconds} s: {what or condition}")
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
    """A DDS domain that no other test uses at the same time: whoever holds its lock port has it."""
    for candidate in random.sample(range(1, 102), 101):
        lock = socket.socket()
        try:
            lock.bind(("127.0.0.1", 31000 + candidate))
        except OSError:
            lock.close()
            continue
        with lock:
            yield candidate
        return
    pytest.fail("every DDS domain from 1 to 101 is in use")
