"""The position filter: whatever it is asked for, the commands keep position, velocity and acceleration limits."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynrl.errors import UserError
from dynrl.robots.safety.limits import Limits
from dynrl.robots.safety.tracking import EffortWindow

Floats = NDArray[np.float64]


class UnsafeStart(UserError):
    """The robot stands where no command can start from."""


class PositionFilter:
    """Position commands that can always be obeyed.

    With the last command `c1`, its velocity `v1`, the desired position `a` and the period `dt`:

        want = (clip(a, lower, upper) - c1)/dt
        s_hi = max(0, sqrt(2·acceleration·(upper - c1)) - acceleration·dt/2)     s_lo likewise
        top  = min(v1 + acceleration·dt,  velocity,  s_hi, (upper - c1)/dt)
        bot  = max(v1 - acceleration·dt, -velocity, -s_lo, (lower - c1)/dt)
        v    = clip(want, bot, top),  c = c1 + v·dt

    `s_hi` is the largest velocity from which braking in steps of `acceleration·dt` still ends before `upper`: that
    way is at most (v + acceleration·dt/2)²/(2·acceleration). One braking step takes a velocity within the bound to
    a velocity within the bound of the distance that is then left, so `bot <= top` always, and holding (braking
    alone) stays inside as well. `dt` is the nominal period, also after ticks that came late.

    Arrays have any shape `[..., n]` that the limits broadcast to; elements never influence each other. No call
    allocates when `out` is given. There is no jerk limit in this version.

    Args:
        limits: per element.
        period: seconds between two commands.
        shape: of the commands; the shape of the limits when absent.
        effort_window: keeps the driver's effort in range, where its gains are known.

    Attributes:
        command: the last command, float64[..., n]. Read only.
        velocity: its velocity. Read only.
    """

    def __init__(
        self,
        limits: Limits,
        period: float,
        shape: tuple[int, ...] | None = None,
        effort_window: EffortWindow | None = None,
    ) -> None:
        if not 0 < period < np.inf:
            raise ValueError(f"period is {period}, expected seconds above 0")
        self.limits = limits
        self.period = period
        shape = limits.lower.shape if shape is None else shape
        lower, upper, speed, acceleration = (
            np.broadcast_to(array, shape).copy()
            for array in (limits.lower, limits.upper, limits.velocity, limits.acceleration)
        )
        self._nominal_lower, self._nominal_upper = lower, upper
        self._lower, self._upper = lower.copy(), upper.copy()
        self._widened = self._widened_before = False
        # Every operand has the shape of the result, constants too: NumPy takes three times as long to broadcast.
        both = (2, *shape)
        self._dt = np.full(shape, period)
        self._step = acceleration * period
        self._half_steps = np.broadcast_to(self._step / 2, both).copy()
        self._twice = np.broadcast_to(2 * acceleration, both).copy()
        self._speeds = np.broadcast_to(speed, both).copy()
        self._zeros = np.zeros(both)
        self._state = np.full((2, *shape), np.nan)
        self._state_before = self._state.copy()
        self.command, self.velocity = self._state
        self._finite_range = bool(np.all(np.isfinite(upper - lower)))
        self._effort_window = effort_window
        self._window: tuple[Floats, Floats] | None = None
        self._want, self._scratch = np.empty(shape), np.empty(shape)
        self._finite = np.empty(shape, bool)
        # The two directions of a joint are one computation on arrays [2, ..., n]: upwards, and mirrored.
        self._distances, self._roots, self._bounds = (np.empty(both) for _ in range(3))
        self._above, self._below = self._distances
        self._top, self._bottom = self._bounds

    def start(self, position: ArrayLike) -> None:
        """Begin at rest at `position`, float64[..., n]; `command` is exactly that.

        A position outside the limits, within their tolerance, widens them until the command has moved in.

        Raises:
            UnsafeStart: not finite, or further outside than the tolerance.
        """
        position = np.asarray(position, np.float64)
        if not np.all(np.isfinite(position)):
            raise UnsafeStart(f"the measured position is not finite: {position.tolist()}")
        limits = self.limits
        outside = np.maximum(limits.lower - position, position - limits.upper)
        if np.any(outside > limits.tolerance):
            raise UnsafeStart(
                f"the measured position {position.tolist()} is up to {outside.max():.4g} outside the limits "
                f"{limits.lower.tolist()} ... {limits.upper.tolist()}: move the robot inside them first"
            )
        self.command[...] = position
        self.velocity[...] = 0.0
        np.minimum(self._nominal_lower, self.command, out=self._lower)
        np.maximum(self._nominal_upper, self.command, out=self._upper)
        self._widened = bool(np.any(outside > 0))
        self._keep_state()
        self._window = None

    def measured(self, position: Floats, velocity: Floats) -> None:
        """What the robot does now, float64[..., n] each; moves the effort window."""
        if self._effort_window is not None:
            self.narrow(*self._effort_window.around(position, velocity))

    def narrow(self, lower: Floats | None, upper: Floats | None) -> None:
        """Keep the targets of later calls within `lower` and `upper` (float64[..., n]; the arrays are not copied) as
        far as the acceleration limit lets it, for the effort window; None for no window."""
        self._window = None if lower is None or upper is None else (lower, upper)

    def __call__(self, desired: Floats, out: Floats | None = None) -> Floats:
        """The next command on the way to `desired`; where that is not finite, the joint brakes.

        Args:
            desired: float64[..., n], anything.
            out: takes the command; a new array when absent.
        """
        want = self._want
        np.isfinite(desired, out=self._finite)
        if np.count_nonzero(self._finite) == self._finite.size:  # quicker than all()
            self._towards(desired, want)
        else:
            self._brake(want)
            self._towards(desired, self._scratch)
            np.copyto(want, self._scratch, where=self._finite)
        return self._move(out)

    def hold(self, out: Floats | None = None) -> Floats:
        """The next command when nothing is wanted: brakes at the acceleration limit, then repeats itself."""
        self._brake(self._want)
        return self._move(out)

    def undo(self) -> None:
        """Take the last command back, which was not sent; once per command."""
        self._state[...] = self._state_before
        if self._widened_before:
            self._widened = True
            np.minimum(self._nominal_lower, np.minimum(self._lower, self.command), out=self._lower)
            np.maximum(self._nominal_upper, np.maximum(self._upper, self.command), out=self._upper)

    def stop(self, out: Floats | None = None) -> Floats:
        """What an emergency stop sends in stop mode `hold`: the same as `hold`."""
        return self.hold(out)

    @property
    def settled(self) -> bool:
        """Whether the command stands still."""
        return not self.velocity.any()

    def _towards(self, desired: Floats, out: Floats) -> None:
        """out = (clip(desired, lower, upper) - c1)/dt, the window before the limits"""
        if self._window is None:
            np.maximum(desired, self._lower, out=out)
        else:
            np.maximum(desired, self._window[0], out=out)
            np.minimum(out, self._window[1], out=out)
            np.maximum(out, self._lower, out=out)
        np.minimum(out, self._upper, out=out)
        np.subtract(out, self.command, out=out)
        if self._finite_range:
            np.divide(out, self._dt, out=out)
            return
        with np.errstate(over="ignore"):  # a continuous joint may be asked to go to 1e308
            np.divide(out, self._dt, out=out)

    def _brake(self, out: Floats) -> None:
        """out = sign(v1)·max(|v1| - acceleration·dt, 0)"""
        np.abs(self.velocity, out=out)
        np.subtract(out, self._step, out=out)
        np.maximum(out, self._zeros[0], out=out)
        np.copysign(out, self.velocity, out=out)

    def _move(self, out: Floats | None) -> Floats:
        """Clip `_want` to what the limits allow, and go there."""
        self._keep_state()
        velocity, command = self._want, self._scratch
        self._limit_velocity()
        np.negative(self._bottom, out=self._bottom)
        np.maximum(velocity, self._bottom, out=velocity)
        np.minimum(velocity, self._top, out=self.velocity)
        np.multiply(self.velocity, self._dt, out=command)
        np.add(self.command, command, out=command)
        np.maximum(command, self._lower, out=command)  # rounding may have gone beyond by one unit
        np.minimum(command, self._upper, out=self.command)
        if self._widened:
            self._shrink()
        if out is None:
            return self.command.copy()
        out[...] = self.command
        return out

    def _keep_state(self) -> None:
        self._state_before[...] = self._state
        self._widened_before = self._widened

    def _limit_velocity(self) -> Floats:
        """(top, -bot) as one array [2, ..., n].

        The bound distance/dt needs no step of its own: with x = sqrt(2·acceleration·distance) it exceeds s by
        (x - acceleration·dt)²/(2·acceleration·dt) >= 0.
        """
        bounds, distances, roots = self._bounds, self._distances, self._roots
        np.subtract(self._upper, self.command, out=self._above)
        np.subtract(self.command, self._lower, out=self._below)
        np.multiply(self._twice, distances, out=roots)
        np.sqrt(roots, out=roots)
        np.subtract(roots, self._half_steps, out=roots)
        np.maximum(roots, self._zeros, out=roots)
        np.add(self._step, self.velocity, out=self._top)
        np.subtract(self._step, self.velocity, out=self._bottom)
        np.minimum(bounds, self._speeds, out=bounds)
        return np.minimum(bounds, roots, out=bounds)

    def _shrink(self) -> None:
        """Limits that were widened at the start follow the command in."""
        np.maximum(self._nominal_upper, np.minimum(self._upper, self.command), out=self._upper)
        np.minimum(self._nominal_lower, np.maximum(self._lower, self.command), out=self._lower)
        self._widened = not (
            np.array_equal(self._upper, self._nominal_upper)
            and np.array_equal(self._lower, self._nominal_lower)
        )
