"""The checks of measured joints: names, lengths, ranges, jumps, and an age for each joint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynrl.robots.description import Robot
from dynrl.robots.safety import contents
from dynrl.robots.safety.faults import Fault, FaultKind
from dynrl.robots.safety.source_check import SECOND, Order, SourceCheck, not_decoded

Floats = NDArray[np.float64]

VELOCITY_MARGIN = 1.5
JUMP_FACTOR, JUMP_FLOOR, JUMPS_TO_HOLD = 3.0, 0.01, 3
LAYOUTS_KEPT = 256
_NOTHING = np.empty(0)


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
        last_layout: the layout of the last accepted message.
        complete_until_ns: when one message had all needed joints: until when none of them can be too old.
    """

    def __init__(self, robot: Robot, joints: Sequence[str]) -> None:
        count = len(robot.joints)
        self._wire_names = robot.wire_names
        self.needed = np.zeros(count, bool)
        self.needed[robot.index(joints)] = True
        self.position = np.full(count, np.nan)
        self.receive_ns = np.full(count, -1, np.int64)
        self.timeout_ns = np.full(count, np.iinfo(np.int64).max)
        self.last_layout: _Layout | None = None
        self.complete_until_ns = -1

    def silence(self, now_ns: int) -> str:
        """Which joint is too old, in words; "" when none is."""
        if now_ns <= self.complete_until_ns:
            return ""
        never = self.needed & (self.receive_ns < 0)
        if never.any():
            return f"joint {self._wire_names[int(np.argmax(never))]!a} has not been in any message yet"
        old = self.needed & (now_ns - self.receive_ns > self.timeout_ns)
        if not old.any():
            return ""
        worst = int(np.argmax(old))
        age = (now_ns - int(self.receive_ns[worst])) / 1e6
        return f"joint {self._wire_names[worst]!a} has not been in a message for {age:.1f} ms"


class _Layout:
    """Where a message with certain names has the bundle's joints, and what is possible for them.

    Rows of `values` and `bounds`: distance from the middle of the range, velocity, distance from the last position.

    Args:
        robot: the robot.
        places: in the message.
        joints: in the robot, in its order.
        complete: these are all that the bundle needs.
        order: shared by all layouts of the same joints.
    """

    def __init__(
        self, robot: Robot, places: NDArray[np.intp], joints: NDArray[np.intp], complete: bool, order: Order
    ) -> None:
        self.places, self.joints, self.complete, self.order = places, joints, complete, order
        self.scale = np.array([robot.joints[j].sign * robot.joints[j].unit_scale for j in joints], np.float64)
        self.offset = np.array([robot.joints[j].offset for j in joints], np.float64)
        self.lower = robot.lower[joints] - robot.tolerance[joints]
        self.upper = robot.upper[joints] + robot.tolerance[joints]
        endless = ~np.isfinite(self.upper - self.lower)
        self.middle = np.where(endless, 0.0, (self.lower + self.upper) / 2)
        self.turns = np.array([robot.joints[j].kind == "continuous" for j in joints], bool)
        self.values, self.bounds = np.zeros((3, len(joints))), np.zeros((3, len(joints)))
        self.bounds[0] = np.where(endless, np.inf, (self.upper - self.lower) / 2)
        self.bounds[1] = VELOCITY_MARGIN * robot.velocity_limit[joints]
        self.reach_rate = JUMP_FACTOR * robot.velocity_limit[joints] / SECOND
        self.reach = self.bounds[2]
        self.usual = np.zeros((3, len(joints)), bool)
        self.position, self.receive_ns = np.full(len(joints), np.nan), -1


class JointStateCheck(SourceCheck):
    """Measured joints: names, lengths, ranges, jumps, and an age for each joint (they may come in several messages).

    Args:
        name: of the source.
        robot: the robot.
        memory: of all sources of joints.
        kinds: term kinds that the bundle reads from the source.
        required: without it there is no deployment.
        control_period: seconds.
    """

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
        self._layouts: dict[tuple[str, ...], _Layout | Fault] = {}
        self._joint_orders: dict[tuple[int, ...], Order] = {}
        self._was_complete = False

    def judge(self, message: Any, receive_ns: int) -> Fault | None:
        self.counted = []
        if problem := not_decoded(message):
            return self._bad(self._fault(FaultKind.MALFORMED, problem))
        layout = self._layout(message.name)
        if isinstance(layout, Fault):
            return self._bad(layout)
        if problem := self._wrong_lengths(message):
            return self._bad(self._fault(FaultKind.MALFORMED, problem))
        position, velocity = self._read(message, layout)
        out_of_range = None
        if not self._is_usual(layout, position, velocity, message, receive_ns):
            fault = self._unusual(layout, position, velocity, message, receive_ns)
            if fault is not None and fault.dropped:
                return self._bad(fault)
            out_of_range = fault
        self.jumps = 0
        fault = self._in_order(layout.order, contents.stamp_ns(message), (position, velocity), receive_ns)
        if fault is not None:
            return fault
        self._remember(layout, position, receive_ns)
        if out_of_range is not None:
            return self._bad(out_of_range)
        self.fresh += 1
        return None

    def _read(self, message: Any, layout: _Layout) -> tuple[Floats, Floats]:
        """Model positions and velocities of the layout's joints; no velocities where the message has none."""
        position = np.asarray(message.position, np.float64)[layout.places]
        np.multiply(position, layout.scale, out=position)
        np.add(position, layout.offset, out=position)
        if not len(message.velocity):
            return position, _NOTHING
        velocity = np.asarray(message.velocity, np.float64)[layout.places]
        return position, np.multiply(velocity, layout.scale, out=velocity)

    def _is_usual(
        self, layout: _Layout, position: Floats, velocity: Floats, message: Any, receive_ns: int
    ) -> bool:
        """Whether all numbers are finite and within what is possible: one comparison for all of them, as NaN compares
        false. What fails it is looked at in detail by `_unusual`."""
        values, memory = layout.values, self._memory
        np.subtract(position, layout.middle, out=values[0])
        values[1] = velocity if len(velocity) else 0.0
        if memory.last_layout is layout:  # then the memory holds what this layout brought last, at one time
            since: Any = max(receive_ns - layout.receive_ns, self.period_ns)
            np.subtract(position, layout.position, out=values[2])
        else:
            since = np.maximum(receive_ns - memory.receive_ns[layout.joints], self.period_ns)
            np.subtract(position, memory.position[layout.joints], out=values[2])
        np.abs(values, out=values)
        np.multiply(layout.reach_rate, since, out=layout.reach)
        np.add(layout.reach, JUMP_FLOOR, out=layout.reach)
        np.less_equal(values, layout.bounds, out=layout.usual)
        if np.count_nonzero(layout.usual) != layout.usual.size:
            return False
        return not self._needs_effort or bool(np.isfinite(np.asarray(message.effort)[layout.places]).all())

    def _unusual(
        self, layout: _Layout, position: Floats, velocity: Floats, message: Any, receive_ns: int
    ) -> Fault | None:
        """What is wrong, if anything is; `values` and `bounds` of the layout are set."""
        if not np.isfinite(position).all() or (self._needs_velocity and not np.isfinite(velocity).all()):
            return self._fault(FaultKind.NONFINITE_OBSERVATION, "a joint position or velocity is not finite")
        if self._needs_effort and not np.isfinite(np.asarray(message.effort)[layout.places]).all():
            return self._fault(FaultKind.NONFINITE_OBSERVATION, "a joint effort is not finite")
        return self._jump(layout) or self._out_of_range(layout, position, velocity)

    def _layout(self, names: Sequence[str]) -> _Layout | Fault:
        key = tuple(names)
        if key not in self._layouts:
            if len(self._layouts) >= LAYOUTS_KEPT:
                self._layouts.clear()  # a peer that invents names must not fill our memory
            self._layouts[key] = self._new_layout(key)
        return self._layouts[key]

    def _new_layout(self, names: tuple[str, ...]) -> _Layout | Fault:
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
        # Publishers that share a topic stamp their messages each for itself.
        order = self._joint_orders.setdefault(tuple(joints.tolist()), Order())
        places = np.array([place for _, place in pairs], np.intp)
        return _Layout(self._robot, places, joints, not len(missing), order)

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

    def _jump(self, layout: _Layout) -> Fault | None:
        """Messages that were delayed together arrive together, so no two count as nearer than the source's period."""
        distance, reach = layout.values[2], layout.bounds[2]
        distance = np.where(
            layout.turns, np.minimum(distance % (2 * np.pi), -distance % (2 * np.pi)), distance
        )
        far = distance > reach  # false for joints that were never seen, whose distance is NaN
        if not far.any():
            return None
        self.jumps += 1
        worst = int(np.argmax(np.where(far, distance / reach, 0)))
        name = self._robot.names[layout.joints[worst]]
        detail = f"joint {name!a} moved by {distance[worst]:.3g} where {reach[worst]:.3g} is possible"
        holds = self.required and self.jumps >= JUMPS_TO_HOLD
        return Fault(FaultKind.JUMP, self.name, detail, dropped=True, holds=holds)

    def _out_of_range(self, layout: _Layout, position: Floats, velocity: Floats) -> Fault | None:
        outside = (position < layout.lower) | (position > layout.upper)
        too_fast = np.abs(velocity) > layout.bounds[1] if len(velocity) else np.zeros(len(position), bool)
        bad = outside | too_fast
        if not bad.any():
            return None
        place = int(np.argmax(bad))
        joint = self._robot.joints[layout.joints[place]]
        if outside[place]:
            detail = f"joint {joint.name!a} is at {position[place]:.4g}, its limits are {joint.position}"
        else:
            detail = f"joint {joint.name!a} moves at {velocity[place]:.4g}, its limit is {joint.velocity:g}"
        return Fault(FaultKind.OUT_OF_RANGE, self.name, detail, holds=self.required)

    def _remember(self, layout: _Layout, position: Floats, receive_ns: int) -> None:
        self._accept(receive_ns)
        memory, joints = self._memory, layout.joints
        memory.position[joints] = position
        memory.receive_ns[joints] = receive_ns
        memory.last_layout, layout.position, layout.receive_ns = layout, position, receive_ns
        if self.timeout_ns is not None:
            memory.timeout_ns[joints] = self.timeout_ns
            if layout.complete:
                memory.complete_until_ns = receive_ns + self.timeout_ns
