"""Filters of the other command modes: velocity, effort, muscle pressure and body velocity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynrl.robots.description import BodyLimits, Muscle
from dynrl.robots.safety.limits import Limits
from dynrl.robots.safety.position import UnsafeStart

Floats = NDArray[np.float64]


class CommandFilter(Protocol):
    """What stands between policy and wire; one for each command mode. Arrays are float64[n].

    Attributes:
        command: the last command.
        velocity: its rate of change.
    """

    command: Floats
    velocity: Floats

    def start(self, position: ArrayLike) -> None:
        """Begin at rest, at the measured value of the commanded quantity."""

    def measured(self, position: Floats, velocity: Floats) -> None:
        """What the joints do now; before each command."""

    def __call__(self, desired: Floats, out: Floats | None = None) -> Floats:
        """The next command on the way to `desired`."""

    def hold(self, out: Floats | None = None) -> Floats:
        """The next command when nothing is wanted."""

    def undo(self) -> None:
        """Take the last command back, which was not sent; once per command."""

    def stop(self, out: Floats | None = None) -> Floats:
        """The next command of an emergency stop."""

    @property
    def settled(self) -> bool:
        """Whether holding has nothing more to do."""


class _Ramp:
    """A value that stays in a box and changes by at most `step` per call; a step out of reach is cut, never refused."""

    def __init__(self, lower: Floats, upper: Floats, step: Floats, period: float) -> None:
        self.lower, self.upper, self.step, self.period = lower, upper, step, period
        self.value = np.full(lower.shape, np.nan)
        self.rate = np.zeros(lower.shape)
        self._value_before, self._rate_before = self.value.copy(), self.rate.copy()
        self._finite = np.empty(lower.shape, bool)
        self._low, self._high = np.empty(lower.shape), np.empty(lower.shape)

    def start(self, value: ArrayLike, what: str) -> None:
        value = np.asarray(value, np.float64)
        if not np.all(np.isfinite(value)):
            raise UnsafeStart(f"the measured {what} is not finite: {value.tolist()}")
        np.clip(value, self.lower, self.upper, out=self.value)
        self.rate[...] = 0.0
        np.copyto(self._value_before, self.value)
        np.copyto(self._rate_before, self.rate)

    def choose(self, desired: Floats, otherwise: Floats, out: Floats) -> None:
        """`desired` where it is finite, else `otherwise`."""
        np.isfinite(desired, out=self._finite)
        np.copyto(out, otherwise)
        np.copyto(out, desired, where=self._finite)

    def advance(self, want: Floats, out: Floats | None) -> Floats:
        """Go towards `want`, which is finite and is overwritten."""
        np.copyto(self._value_before, self.value)
        np.copyto(self._rate_before, self.rate)
        np.subtract(self.value, self.step, out=self._low)
        np.add(self.value, self.step, out=self._high)
        np.maximum(want, self.lower, out=want)
        np.minimum(want, self.upper, out=want)
        np.maximum(want, self._low, out=want)
        np.minimum(want, self._high, out=want)
        np.subtract(want, self.value, out=self.rate)
        np.divide(self.rate, self.period, out=self.rate)
        np.copyto(self.value, want)
        if out is None:
            return self.value.copy()
        np.copyto(out, self.value)
        return out

    def undo(self) -> None:
        """Take the last step back."""
        np.copyto(self.value, self._value_before)
        np.copyto(self.rate, self._rate_before)


class _RampFilter:
    """What the filters below share: commands are a ramp, and holding goes to `_rest`, which may change.

    Args:
        ramp: of the commands.
        rest: what holding goes to; kept, not copied.
        what: is commanded, in words.
    """

    def __init__(self, ramp: _Ramp, rest: Floats, what: str) -> None:
        self._ramp, self._rest, self._what = ramp, rest, what
        self._want = np.empty(rest.shape)
        self.command, self.velocity = ramp.value, ramp.rate

    def start(self, position: ArrayLike) -> None:
        """Begin at `position`, the measured value of what is commanded."""
        self._ramp.start(position, self._what)

    def hold(self, out: Floats | None = None) -> Floats:
        np.copyto(self._want, self._rest)
        return self._ramp.advance(self._want, out)

    def undo(self) -> None:
        self._ramp.undo()

    def stop(self, out: Floats | None = None) -> Floats:
        return self.hold(out)


class VelocityFilter(_RampFilter):
    """Velocity commands: speed and acceleration limits exactly; towards a position limit no faster than braking from
    the measured position allows (the bound `s` of `PositionFilter`), as far as the acceleration limit lets it.

    Holding brakes to zero.
    """

    def __init__(self, limits: Limits, period: float) -> None:
        self._limits, self._period = limits, period
        shape = limits.lower.shape
        ramp = _Ramp(-limits.velocity, limits.velocity, limits.acceleration * period, period)
        super().__init__(ramp, np.zeros(shape), "velocity")
        self._bounds = np.full((2, *shape), 0.0)
        self._distances = np.empty((2, *shape))

    def start(self, position: ArrayLike) -> None:
        """Begin at the measured velocity `position`; no motion is allowed before `measured` has been called."""
        super().start(position)
        self._bounds[...] = 0.0

    def measured(self, position: Floats, velocity: Floats) -> None:
        """Sets the distances to the limits; a position that is no number leaves no distance at all."""
        distances, bounds = self._distances, self._bounds
        np.subtract(self._limits.upper, position, out=distances[0])
        np.subtract(position, self._limits.lower, out=distances[1])
        np.fmax(distances, 0.0, out=distances)
        np.multiply(2 * self._limits.acceleration, distances, out=bounds)
        np.sqrt(bounds, out=bounds)
        np.subtract(bounds, self._ramp.step / 2, out=bounds)
        np.maximum(bounds, 0.0, out=bounds)
        np.divide(distances, self._period, out=distances)
        np.minimum(bounds, distances, out=bounds)

    def __call__(self, desired: Floats, out: Floats | None = None) -> Floats:
        want = self._want
        self._ramp.choose(desired, self._rest, want)
        np.maximum(want, -self._bounds[1], out=want)
        np.minimum(want, self._bounds[0], out=want)
        return self._ramp.advance(want, out)

    @property
    def settled(self) -> bool:
        """Whether the commanded velocity is zero."""
        return not self.command.any()


class EffortFilter(_RampFilter):
    """Effort commands: |u| <= effort and |Δu| <= rate·dt exactly. A joint that is within its braking distance
    q̇²/(2·acceleration) of a limit, or beyond it, gets no effort towards that limit beyond the one that holds it.

    Holding fades, at the same rate, to the effort that holds the arm: `holding_effort(position)`, or zero.

    Args:
        limits: per joint.
        rate: largest change of effort per second, float64[n].
        period: seconds.
        holding_effort: of a position float64[n], the effort float64[n] that carries the arm there.
    """

    def __init__(
        self,
        limits: Limits,
        rate: Floats,
        period: float,
        holding_effort: Callable[[Floats], Floats] | None = None,
    ) -> None:
        self._limits = limits
        ramp = _Ramp(-limits.effort, limits.effort, np.asarray(rate, np.float64) * period, period)
        super().__init__(ramp, np.zeros(limits.lower.shape), "effort")
        self._holding_effort = holding_effort
        self._top, self._bottom = limits.effort.copy(), -limits.effort

    def measured(self, position: Floats, velocity: Floats) -> None:
        limits = self._limits
        if self._holding_effort is not None:
            np.copyto(self._rest, self._holding_effort(position))
            np.clip(self._rest, -limits.effort, limits.effort, out=self._rest)
        way = np.square(velocity) / (2 * limits.acceleration)
        # Written so that a position or velocity that is no number counts as near.
        free_above = limits.upper - position > np.where(velocity > 0, way, 0.0)
        free_below = position - limits.lower > np.where(velocity < 0, way, 0.0)
        known = np.isfinite(position) & np.isfinite(velocity)
        np.copyto(self._top, np.where(free_above & known, limits.effort, self._rest))
        np.copyto(self._bottom, np.where(free_below & known, -limits.effort, self._rest))

    def __call__(self, desired: Floats, out: Floats | None = None) -> Floats:
        want = self._want
        self._ramp.choose(desired, self._rest, want)
        np.maximum(want, self._bottom, out=want)
        np.minimum(want, self._top, out=want)
        return self._ramp.advance(want, out)

    @property
    def settled(self) -> bool:
        """Whether the effort is the one that holds the arm."""
        return bool(np.allclose(self.command, self._rest, rtol=0, atol=1e-9))


class PressureFilter(_RampFilter):
    """Muscle pressures: [min, max] and |Δp| <= rate·dt exactly. Holding keeps the pressures; an emergency stop ramps
    to the safe ones.

    Args:
        muscles: in the order of the commands.
        period: seconds.
    """

    def __init__(self, muscles: tuple[Muscle, ...], period: float) -> None:
        lower, upper = (np.array([float(muscle.pressure[side]) for muscle in muscles]) for side in (0, 1))
        ramp = _Ramp(lower, upper, np.array([muscle.rate for muscle in muscles]) * period, period)
        super().__init__(ramp, ramp.value, "pressure")
        self._safe = np.array([float(muscle.safe) for muscle in muscles])

    def measured(self, position: Floats, velocity: Floats) -> None:
        """Pressures are limited whatever the joints do."""

    def __call__(self, desired: Floats, out: Floats | None = None) -> Floats:
        self._ramp.choose(desired, self.command, self._want)
        return self._ramp.advance(self._want, out)

    def stop(self, out: Floats | None = None) -> Floats:
        np.copyto(self._want, self._safe)
        return self._ramp.advance(self._want, out)

    @property
    def settled(self) -> bool:
        """Holding never has anything to do."""
        return True


class BodyVelocityFilter(_RampFilter):
    """Body velocities `(x, y, yaw)`: box and acceleration limits exactly; zero when the target is old, and on holding.

    Attributes:
        age: seconds since the target was made; the deployment sets it.
    """

    def __init__(self, limits: BodyLimits, period: float) -> None:
        velocity, acceleration = np.array(limits.velocity), np.array(limits.acceleration)
        super().__init__(
            _Ramp(-velocity, velocity, acceleration * period, period), np.zeros(3), "body velocity"
        )
        self._timeout = limits.timeout
        self.age = 0.0

    def start(self, position: ArrayLike) -> None:
        """Begin at the measured velocity `position`."""
        super().start(position)
        self.age = 0.0

    def measured(self, position: Floats, velocity: Floats) -> None:
        """A body has no position limits."""

    def __call__(self, desired: Floats, out: Floats | None = None) -> Floats:
        self._ramp.choose(desired if self.age <= self._timeout else self._rest, self._rest, self._want)
        return self._ramp.advance(self._want, out)

    @property
    def settled(self) -> bool:
        """Whether the commanded velocity is zero."""
        return not self.command.any()
