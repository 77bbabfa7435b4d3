"""The checks of measured joints: names, lengths, ranges, jumps, and an age for each joint."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynrl.robots.description import Robot
from dynrl.robots.safety.faults import Fault, FaultKind
from dynrl.robots.safety.source_check import SECOND, SourceCheck, not_decoded

Floats = NDArray[np.float64]
Layout = tuple[NDArray[np.intp], NDArray[np.intp]]

VELOCITY_MARGIN = 1.5
JUMP_FACTOR, JUMP_FLOOR, JUMPS_TO_HOLD = 3.0, 0.01, 3
LAYOUTS_KEPT = 256


class JointMemory:
    """The last good position of each joint of the robot, whichever source and message brought it.

    Args:
        robot: the robot.
        joints: names of the joints that the bundle needs.

    Attributes:
        needed: bool[n].
        position: model units, float64[n]; NaN before the first message.
        receive_ns: own clock, int64[n]; -1 before the first message.
        timeout_ns: largest age, by the source that brought it, int64[n].
    """

    def __init__(self, robot: Robot, joints: Sequence[str]) -> None:
        count = len(robot.joints)
        self._wire_names = robot.wire_names
        self.needed = np.zeros(count, bool)
        self.needed[robot.index(joints)] = True
        self.position = np.full(count, np.nan)
        self.receive_ns = np.full(count, -1, np.int64)
        self.timeout_ns = np.full(count, np.iinfo(np.int64).max)

    def silence(self, now_ns: int) -> str:
        """Which joint is too old, in words; "" when none is."""
        never = self.needed & (self.receive_ns < 0)
        if never.any():
            return f"joint {self._wire_names[int(np.argmax(never))]!a} has not been in any message yet"
        old = self.needed & (now_ns - self.receive_ns > self.timeout_ns)
        if not old.any():
            return ""
        worst = int(np.argmax(old))
        age = (now_ns - int(self.receive_ns[worst])) / 1e6
        return f"joint {self._wire_names[worst]!a} has not been in a message for {age:.1f} ms"


class JointStateCheck(SourceCheck):
    """Measured joints: names, lengths, ranges, jumps, and an age for each joint (they may come in several messages)."""

    def __init__(
        self,
        name: str,
        robot: Robot,
        memory: JointMemory,
        kinds: frozenset[str],
        required: bool,
        control_period: float,
    ) -> None:
        source = robot.sources[name]
        super().__init__(name, source, kinds, required, control_period)
        self._robot, self._memory = robot, memory
        self._needs_velocity = "state/joint/velocity" in kinds and "velocity" not in source.derive
        self._needs_effort = "state/joint/effort" in kinds
        self._lower, self._upper = robot.lower - robot.tolerance, robot.upper + robot.tolerance
        self._turns = np.array([joint.kind == "continuous" for joint in robot.joints], bool)
        self._fastest = VELOCITY_MARGIN * robot.velocity_limit
        self._layouts: dict[tuple[str, ...], Layout | Fault] = {}
        self._was_complete = False
        self._pending: tuple[NDArray[np.intp], Floats] = (np.empty(0, np.intp), np.empty(0))

    def _content(self, message: Any, receive_ns: int) -> Fault | tuple[Floats, Fault | None]:
        if problem := not_decoded(message):
            return self._fault(FaultKind.MALFORMED, problem)
        layout = self._layout(message.name)
        if isinstance(layout, Fault):
            return layout
        if problem := self._wrong_lengths(message):
            return self._fault(FaultKind.MALFORMED, problem)
        places, joints = layout
        position = self._model(self._robot.position_to_model, message.position, layout)
        velocity = self._model(self._robot.velocity_to_model, message.velocity, layout)
        if not np.isfinite(position).all() or (self._needs_velocity and not np.isfinite(velocity).all()):
            return self._fault(FaultKind.NONFINITE_OBSERVATION, "a joint position or velocity is not finite")
        if self._needs_effort and not np.isfinite(np.asarray(message.effort)[places]).all():
            return self._fault(FaultKind.NONFINITE_OBSERVATION, "a joint effort is not finite")
        jump = self._jump(position, joints, receive_ns)
        if jump is not None:
            return jump
        self._pending = (joints, position)
        return np.concatenate((position, velocity)), self._range(position, velocity, joints)

    def _layout(self, names: Sequence[str]) -> Layout | Fault:
        """(places in the message, places in the robot) of the bundle's joints; or what is wrong."""
        key = tuple(names)
        if key not in self._layouts:
            if len(self._layouts) >= LAYOUTS_KEPT:
                self._layouts.clear()  # a peer that invents names must not fill our memory
            self._layouts[key] = self._new_layout(key)
        return self._layouts[key]

    def _new_layout(self, names: tuple[str, ...]) -> Layout | Fault:
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            return self._fault(FaultKind.MALFORMED, f"joint {twice!a} stands twice in the message")
        needed = np.flatnonzero(self._memory.needed)
        known = {self._robot.wire_names[joint]: joint for joint in needed}
        pairs = sorted((known[name], place) for place, name in enumerate(names) if name in known)
        joints = np.array([joint for joint, _ in pairs], np.intp)
        missing = np.setdiff1d(needed, joints)
        if names and len(needed) and not pairs:
            # Another robot or a gripper on the same topic is no fault of ours.
            detail = "none of the bundle's joints is in the message"
            return Fault(FaultKind.MALFORMED, self.name, detail, dropped=True, holds=False)
        if not len(missing):
            self._mark_complete()
        elif self._was_complete or not names:
            lacking = ", ".join(ascii(self._robot.wire_names[joint]) for joint in missing)
            return self._fault(FaultKind.MALFORMED, f"the message lacks joint {lacking}")
        return np.array([place for _, place in pairs], np.intp), joints

    def _mark_complete(self) -> None:
        """From the first message with all joints on, one that lacks some is broken, and not one of several parts."""
        if not self._was_complete:
            self._was_complete = True
            self._layouts.clear()

    def _wrong_lengths(self, message: Any) -> str:
        count = len(message.name)
        for field in ("position", "velocity", "effort"):
            length = len(getattr(message, field))
            if length not in (0, count):
                return f"{length} numbers in `{field}` for {count} names"
        if count and not len(message.position):
            return "`position` is empty"
        if count and self._needs_velocity and not len(message.velocity):
            return "`velocity` is empty; for a robot that never fills it: `derive: {velocity: finite_difference}`"
        if count and self._needs_effort and not len(message.effort):
            return "`effort` is empty"
        return ""

    def _model(self, convert: Callable[[Floats], Floats], wire: Floats, layout: Layout) -> Floats:
        """Model values of the joints of a message, in the order of the robot; none of an empty array."""
        if not len(wire):
            return np.empty(0)
        places, joints = layout
        full = np.zeros(len(self._robot.joints))
        full[joints] = np.asarray(wire, np.float64)[places]
        return convert(full)[joints]

    def _jump(self, position: Floats, joints: NDArray[np.intp], receive_ns: int) -> Fault | None:
        """Messages that were delayed together arrive together, so no two count as nearer than the source's period."""
        before_ns = self._memory.receive_ns[joints]
        since = np.maximum(receive_ns - before_ns, self.period_ns) / SECOND
        reach = JUMP_FACTOR * self._robot.velocity_limit[joints] * since + JUMP_FLOOR
        distance = np.abs(position - self._memory.position[joints])
        turns = self._turns[joints]
        distance = np.where(turns, np.minimum(distance % (2 * np.pi), -distance % (2 * np.pi)), distance)
        far = (distance > reach) & (before_ns >= 0)
        if not far.any():
            self.jumps = 0
            return None
        self.jumps += 1
        worst = int(np.argmax(np.where(far, distance / reach, 0)))
        name = self._robot.names[joints[worst]]
        detail = f"joint {name!a} moved by {distance[worst]:.3g} where {reach[worst]:.3g} is possible"
        holds = self.required and self.jumps >= JUMPS_TO_HOLD
        return Fault(FaultKind.JUMP, self.name, detail, dropped=True, holds=holds)

    def _range(self, position: Floats, velocity: Floats, joints: NDArray[np.intp]) -> Fault | None:
        outside = (position < self._lower[joints]) | (position > self._upper[joints])
        too_fast = np.abs(velocity) > self._fastest[joints] if len(velocity) else np.zeros(len(joints), bool)
        bad = outside | too_fast
        if not bad.any():
            return None
        place = int(np.argmax(bad))
        joint = self._robot.joints[joints[place]]
        if outside[place]:
            detail = f"joint {joint.name!a} is at {position[place]:.4g}, its limits are {joint.position}"
        else:
            detail = f"joint {joint.name!a} moves at {velocity[place]:.4g}, its limit is {joint.velocity:g}"
        return Fault(FaultKind.OUT_OF_RANGE, self.name, detail, holds=self.required)

    def _stream(self) -> Hashable:
        """Publishers that share a topic stamp their messages each for itself."""
        return tuple(self._pending[0].tolist())

    def _accept(self, receive_ns: int) -> None:
        super()._accept(receive_ns)
        joints, position = self._pending
        self._memory.position[joints] = position
        self._memory.receive_ns[joints] = receive_ns
        if self.timeout_ns is not None:
            self._memory.timeout_ns[joints] = self.timeout_ns
