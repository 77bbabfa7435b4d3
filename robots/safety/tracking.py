"""Command and robot must stay together: the tracking leash, and the window that the driver's torque can follow."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class TrackingLeash:
    """Trips when the command has been too far from the measured position for too long: an obstacle, or a robot that
    does not obey.

    A deployment that holds for this reason sends `filter(leash.target)` instead of `filter.hold()`, which takes the
    command back to where the robot was found, within all limits, so that nothing winds up against the obstacle. The
    target is the pose at the trip and not the present one, or else an arm that sags would be followed to the floor.

    Args:
        distance: largest |command - measured|, rad or m.
        duration: seconds that it may be exceeded.
        period: seconds between two updates.

    Attributes:
        target: measured position when it tripped, float64[n]; None before.
    """

    def __init__(self, distance: ArrayLike, duration: float, period: float) -> None:
        self._distance = np.asarray(distance, np.float64)
        self._ticks_allowed = int(np.floor(duration / period + 1e-9))
        self._counting = False
        self._resize(0)
        self.target: Floats | None = None

    def reset(self) -> None:
        """Forget the past."""
        self._resize(len(self._ticks))
        self.target = None

    def update(self, command: Floats, measured: Floats) -> bool:
        """Whether it trips now; float64[n] each."""
        if len(command) != len(self._ticks):
            self._resize(len(command))
        np.subtract(command, measured, out=self._away)
        np.abs(self._away, out=self._away)
        np.less_equal(self._away, self._distance, out=self._near)
        if np.count_nonzero(self._near) == len(self._near):
            if self._counting:
                self._ticks[...] = 0
                self._counting = False
            return False
        self._counting = True
        self._ticks += 1
        self._ticks[self._near] = 0
        if not np.any(self._ticks > self._ticks_allowed):
            return False
        self.target = np.array(measured)
        self._ticks[...] = 0
        return True

    def _resize(self, count: int) -> None:
        self._ticks = np.zeros(count, np.int64)
        self._away, self._near = np.empty(count), np.empty(count, bool)
        self._counting = False


class EffortWindow:
    """Position commands `c` whose effort `kp·(c - q) - kd·q̇` the driver can give:

        q + (-effort + kd·q̇)/kp  <=  c  <=  q + (effort + kd·q̇)/kp

    Args:
        kp, kd: gains, float64[n]; NaN where unknown, which leaves the joint without a window.
        effort: largest effort, float64[n]; inf where unknown.
    """

    def __init__(self, kp: ArrayLike, kd: ArrayLike, effort: ArrayLike) -> None:
        gains, damping, largest = np.broadcast_arrays(*(np.asarray(x, np.float64) for x in (kp, kd, effort)))
        known = np.isfinite(gains) & np.isfinite(damping) & np.isfinite(largest)
        self._reach = np.where(known, largest / np.where(known, gains, 1.0), np.inf)
        self._lead = np.where(known, damping / np.where(known, gains, 1.0), 0.0)
        self._lower, self._upper, self._centre = (np.empty(gains.shape) for _ in range(3))

    @property
    def useful(self) -> bool:
        """Whether any joint has a window."""
        return bool(np.isfinite(self._reach).any())

    def around(self, position: Floats, velocity: Floats) -> tuple[Floats, Floats]:
        """(lower, upper) for the measured position and velocity, float64[n] each; the same arrays at every call."""
        np.multiply(self._lead, velocity, out=self._centre)
        np.add(position, self._centre, out=self._centre)
        np.subtract(self._centre, self._reach, out=self._lower)
        np.add(self._centre, self._reach, out=self._upper)
        return self._lower, self._upper
