"""What an operator can do: keys, signals, and the words of the control topic."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from dynrl.robots.states import OPERATOR_EVENTS, Event

WORDS = {event.value: event for event in OPERATOR_EVENTS if event not in (Event.ESTOP, Event.CLEANUP)}
"""What `~/command` (std_msgs/String) understands; the e-stop has its own topic."""
KEYS = {
    " ": Event.ESTOP,
    "h": Event.HOLD,
    "r": Event.RESET,
    "a": Event.ACTIVATE,
    "c": Event.RESUME,
    "d": Event.DEACTIVATE,
    "q": Event.SHUTDOWN,
}
KEY_HELP = "keys: space e-stop, h hold, c continue, r reset, a activate, d deactivate, q quit"
SIGNALS = {
    signal.SIGINT: Event.SHUTDOWN,
    signal.SIGTERM: Event.SHUTDOWN,
    signal.SIGHUP: Event.SHUTDOWN,
    signal.SIGUSR1: Event.ESTOP,
    signal.SIGUSR2: Event.HOLD,
}
"""A lost terminal (SIGHUP) is a termination."""


class Surface:
    """Collects what the operator wants until the loop asks.

    Attributes:
        urgent: a second request to end came before the first was done: end at once.
    """

    def __init__(self) -> None:
        self.urgent = False
        self._pending: list[tuple[str, Event]] = []
        self._keys: int | None = None
        self._ready = select.poll()
        self._ending = False

    def put(self, origin: str, event: Event) -> None:
        """Adds a request; `origin` says from where, for the log."""
        if event is Event.SHUTDOWN:
            self.urgent = self._ending
            self._ending = True
        self._pending.append((origin, event))

    def take(self) -> tuple[tuple[str, Event], ...]:
        """Everything since the last call, in order, keys included."""
        if self._keys is not None:
            self._read_keys()
        if not self._pending:
            return ()
        taken, self._pending = tuple(self._pending), []
        return taken

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Handles signals inside the block, when called from the main thread (Python allows no other)."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def keyboard(self) -> Iterator[bool]:
        """Reads single keys inside the block; False when standard input is not a terminal (or not in front)."""
        if not _in_front():
            yield False
            return
        import termios
        import tty

        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
        tty.setcbreak(descriptor)
        self._keys = descriptor
        self._ready.register(descriptor, select.POLLIN)
        try:
            yield True
        finally:
            self._close_keys()
            with contextlib.suppress(termios.error):  # a terminal that is gone needs no settings back
                termios.tcsetattr(descriptor, termios.TCSADRAIN, before)

    def _read_keys(self) -> None:
        for descriptor, happened in self._ready.poll(0):
            if not happened & select.POLLIN:
                self._close_keys()
                self.put("terminal lost", Event.SHUTDOWN)
                return
            for key in os.read(descriptor, 32).decode(errors="replace"):
                event = KEYS.get(key)
                if event is not None:
                    self.put(f"key {key!r}", event)

    def _close_keys(self) -> None:
        if self._keys is not None:
            self._ready.unregister(self._keys)
            self._keys = None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.put(signal.Signals(number).name, SIGNALS[signal.Signals(number)])


def _in_front() -> bool:
    """Whether keys reach us: a terminal, and we are its foreground job."""
    try:
        descriptor = sys.stdin.fileno()
        return os.isatty(descriptor) and os.tcgetpgrp(descriptor) == os.getpgrp()
    except (OSError, ValueError):
        return False
