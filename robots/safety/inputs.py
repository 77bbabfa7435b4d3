"""Whether a message may be used, and whether every source is still alive: the checks of each tick, in their order.

Ages are by our own receive times. Stamps, which another machine wrote, tell repeated and reordered messages only.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from dynrl.robots.description import Robot, Source
from dynrl.robots.safety import contents
from dynrl.robots.safety.faults import Fault, FaultKind
from dynrl.robots.safety.joint_check import JointMemory, JointStateCheck
from dynrl.robots.safety.source_check import CLOCK, ClockCheck, SourceCheck

if TYPE_CHECKING:
    from dynrl.policy.contract import Contract

JOINT_STATE = "sensor_msgs/msg/JointState"


class InputChecks:
    """The checks of everything that a bundle reads from a robot.

    Sources whose terms all have a default, or that the robot file does not require, are checked when they speak and
    never waited for. What is wrong with them drops the message and does not hold.

    Args:
        robot: the robot.
        contract: of the bundle.
        use_sim_time: `/clock` must run.

    Attributes:
        fresh: consecutive good samples of each required source.
        counters: how often each `(kind, source)` was found.
    """

    def __init__(self, robot: Robot, contract: Contract, use_sim_time: bool = False) -> None:
        self.counters: Counter[tuple[str, str]] = Counter()
        self._joints = JointMemory(robot, contract.robot.joints)
        self._sources: dict[str, SourceCheck] = {
            name: _make_check(name, robot, contract, self._joints)
            for name in robot.sources
            if _is_used(name, robot, contract)
        }
        if use_sim_time:
            self._sources[CLOCK] = ClockCheck(contract.control.period)

    @property
    def fresh(self) -> dict[str, int]:
        return {name: check.fresh for name, check in self._sources.items() if check.required}

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the sources that must speak."""
        return tuple(name for name, check in self._sources.items() if check.required)

    def reset(self) -> None:
        """Begin anew, at activation: old jumps and repetitions no longer count. Ages stay as they are."""
        for check in self._sources.values():
            check.jumps = 0

    def check(self, source: str, message: Any, receive_ns: int) -> Fault | None:
        """What is wrong with a message; call once per message in order of arrival.

        Args:
            source: name in the robot file, or "clock". Others are nobody's business here.
            message: the message, or `messages.Malformed`.
            receive_ns: own monotonic clock at reception.
        """
        check = self._sources.get(source)
        if check is None:
            return None
        fault = check.judge(message, receive_ns)
        for kind in check.counted:
            self.counters[(kind.name, source)] += 1
        return fault

    def stale(self, now_ns: int) -> Fault | None:
        """The first required source that is silent, or speaks and says nothing new; once per tick, after `check`."""
        for check in self._sources.values():
            check.looked_ns = now_ns
        silent = self._first_silent(now_ns)
        if silent is not None:
            self.counters[(silent.kind.name, silent.source)] += 1
        return silent

    def _first_silent(self, now_ns: int) -> Fault | None:
        """Silent sources first, then frozen ones, then joints that are missing from live sources."""
        frozen = None
        for check in self._sources.values():
            fault = check.silence(now_ns) if check.required else None
            if fault is not None:
                check.fresh = 0
                if fault.kind is FaultKind.STALE:
                    return fault
                frozen = frozen or fault
        if frozen is None and (detail := self._joints.silence(now_ns)):
            return Fault(FaultKind.STALE, "joints", detail)
        return frozen


def _is_used(name: str, robot: Robot, contract: Contract) -> bool:
    source = robot.sources[name]
    measures_joints = source.type == JOINT_STATE and source.kind is None
    commands_pressure = robot.command.mode == "pressure" and "state/muscle/pressure" in source.provides
    return measures_joints or commands_pressure or name in robot.activation or bool(_kinds(source, contract))


def _kinds(source: Source, contract: Contract) -> frozenset[str]:
    return frozenset(term.kind for term in contract.observation) & frozenset(source.provides)


def _make_check(name: str, robot: Robot, contract: Contract, joints: JointMemory) -> SourceCheck:
    source = robot.sources[name]
    kinds = _kinds(source, contract)
    without_default = any(
        term.kind in kinds and term.kind.startswith("command/") and term.default is None
        for term in contract.observation
    )
    required = source.required or without_default
    if source.type == JOINT_STATE and source.kind is None:
        return JointStateCheck(name, robot, joints, kinds, required, contract.control.period)
    check = SourceCheck(name, source, kinds, required, contract.control.period)
    full_pose = any(t.kind == "command/pose" and t.shape != (3,) for t in contract.observation)
    check.needs_rotation = contents.needs_rotation(kinds, full_pose)
    if "state/muscle/pressure" in source.provides:
        check.length = len(robot.muscles)
    return check
