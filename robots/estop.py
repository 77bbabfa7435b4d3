"""The emergency stop: what trips it, and when it may be reset."""

from __future__ import annotations

from typing import Any

SECOND = 1_000_000_000


class EmergencyStop:
    """Watches `/emergency_stop` and an optional heartbeat on it.

    `true` (or an Empty message, where the topic is of that type) trips; `false` only feeds the heartbeat. The cause is
    gone when the last message was not `true` and the heartbeat, if asked for, beats.

    Args:
        timeout: seconds without any message after which the heartbeat is missing; None for no heartbeat.
        now_ns: when watching begins.
    """

    def __init__(self, timeout: float | None, now_ns: int) -> None:
        self._timeout_ns = None if timeout is None else round(timeout * SECOND)
        self._last_ns = now_ns
        self._pressed = False

    def feed(self, message: Any, receive_ns: int) -> str | None:
        """Takes a message of the topic; the reason when it trips."""
        self._last_ns = max(self._last_ns, receive_ns)
        value = getattr(message, "data", None)
        if value is None:
            self._pressed = False
            return "emergency_stop was sent"
        self._pressed = bool(value)
        return "emergency_stop is true" if self._pressed else None

    def check(self, now_ns: int) -> str | None:
        """The reason when the heartbeat is missing."""
        if self._timeout_ns is None or now_ns - self._last_ns <= self._timeout_ns:
            return None
        age = (now_ns - self._last_ns) / SECOND
        return f"no heartbeat on emergency_stop for {age:.2f} s (allowed {self._timeout_ns / SECOND:g} s)"

    def cause(self, now_ns: int) -> str | None:
        """Why a reset is refused now; None when it is allowed."""
        if self._pressed:
            return "the last message on emergency_stop was true; release the button (publish false) first"
        return self.check(now_ns)
