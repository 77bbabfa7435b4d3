"""The twin as a ROS node: publishes what the robot publishes, obeys what the robot obeys, on any transport."""

from __future__ import annotations

import copy
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynrl.robots.clocks import Clock, VirtualClock
from dynrl.robots.messages import MessageTypes
from dynrl.robots.transports.base import CLOCK, COMMAND, TF, Endpoints, Received, Transport
from dynrl.robots.twin.decode import BadCommand, CommandDecoder
from dynrl.robots.twin.faults import FaultSchedule
from dynrl.robots.twin.faulty import Connect, FaultyTransport
from dynrl.robots.twin.monitor import LimitMonitor, Violation
from dynrl.robots.twin.mutations import stamp_ns
from dynrl.robots.twin.physics import Twin
from dynrl.robots.twin.sensors import Make, Sensors

Floats = NDArray[np.float64]

SECOND = 1_000_000_000
BEHIND_NS = 50_000_000
VIRTUAL_EPOCH_NS = 1_700_000_000 * SECOND
"""Wall time at the start of virtual time: any fixed number that looks like one."""
CLOCK_RATE, TF_RATE, LATCH_RATE = 100.0, 50.0, 1.0
INTRUSION_NS = 50_000_000
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class NodeOptions:
    """How a twin behaves as a node.

    Attributes:
        shuffle_joints: publish joints in an order of their own, so that who relies on an order is found out.
        hardware_limits: watch every command for broken limits, see `TwinNode.violations`.
        command_period: of the deployer in seconds; needed by `hardware_limits`.
        seed: of the shuffle and of all faults.
        log_length: commands kept in `TwinNode.commands`.
        publish_transforms: publish `/tf`.
    """

    shuffle_joints: bool = False
    hardware_limits: bool = False
    command_period: float | None = None
    seed: int = 0
    log_length: int = 1_000_000
    publish_transforms: bool = True


@dataclass
class _Publication:
    channel: str
    make: Make
    period_ns: int
    next_ns: int = 0


@dataclass
class Statistics:
    """What a node counted.

    Attributes:
        rejected: commands that no robot would obey, by reason (the first of each).
        late_commands: commands that were stamped before one that had come already.
        watchdog_trips: times at which no command came for too long, ns of the clock.
        behind_ns: by how much a step in real time was late at most.
        shifts: times at which simulated time fell behind by more than 50 ms and was shifted.
    """

    rejected: dict[str, int] = field(default_factory=dict)
    late_commands: int = 0
    watchdog_trips: list[int] = field(default_factory=list)
    behind_ns: int = 0
    shifts: int = 0


class TwinNode:
    """A twin on a transport.

    With a `VirtualClock`, `start` puts the twin on the clock's agenda: whoever waits on the clock drives it, and the
    same seeds give the same bytes. With a `MonotonicClock`, `run` steps it so that simulated time is wall time.

    Args:
        twin: the body.
        transport: of `twin_endpoints(robot, options)`; not yet open.
        clock: the transport's clock.
        types: message types.
        faults: what goes wrong, and when, counted from `start`.
        options: see there.
        endpoints, connect: for faults that connect a second time, see `FaultyTransport`.
        on_kill: what the fault `kill` does; by default the twin falls silent as a dead process does.

    Attributes:
        commands: `(receive_ns, command)` of every command obeyed, model units in the robot's order.
        violations: limits broken by commands, with `hardware_limits`.
        holding: the watchdog has stopped the robot.
        statistics: counters.
        dead: killed by a fault.
    """

    def __init__(
        self,
        twin: Twin,
        transport: Transport,
        clock: Clock,
        types: MessageTypes,
        faults: FaultSchedule | None = None,
        options: NodeOptions | None = None,
        endpoints: Endpoints | None = None,
        connect: Connect | None = None,
        on_kill: Callable[[], None] | None = None,
    ) -> None:
        self.twin, self.clock, self._types = twin, clock, types
        self.options = options or NodeOptions()
        self.faults = faults or FaultSchedule()
        seed = self.options.seed
        self.transport = FaultyTransport(transport, self.faults, clock, seed, endpoints, connect)
        self._sensors = Sensors(twin, types, seed if self.options.shuffle_joints else None)
        self._decode = CommandDecoder(twin.robot)
        self._monitor = self._make_monitor()
        self._on_kill = on_kill
        self._publications = self._schedule_publications()
        self.commands: deque[tuple[int, Floats]] = deque(maxlen=self.options.log_length)
        self.violations: list[Violation] = []
        self.statistics = Statistics()
        self.holding, self.dead, self._stopped = True, False, False
        self._watchdog_ns = round(twin.robot.command.watchdog * SECOND)
        self._step_ns = round(twin.settings.physics_dt * SECOND)
        self._last_command_ns: int | None = None
        self._last_stamp_ns: int | None = None
        self._last_message: Any = None
        self._next_intrusion_ns = 0
        self._start_ns = self._epoch_ns = 0

    def start(self) -> None:
        """Open the transport and begin; with a virtual clock everything else happens on its agenda."""
        self.transport.open()
        self._start_ns = self.clock.now_ns()
        virtual = isinstance(self.clock, VirtualClock)
        self._epoch_ns = (VIRTUAL_EPOCH_NS if virtual else time.time_ns()) - self._start_ns
        for publication in self._publications:
            publication.next_ns = self._start_ns
        self.transport.start()
        if isinstance(self.clock, VirtualClock):
            self.clock.at(self._start_ns, self._on_agenda)

    def stop(self) -> None:
        """Close the transport; nothing moves any more."""
        self._stopped = True
        self.transport.close()

    def run(self, duration: float = np.inf, stop: Event | None = None) -> None:
        """Live in real time until `duration` seconds are over, `stop` is set, or a fault kills it; call `start` before.

        Falling behind by more than 50 ms is said once and shifts simulated time; it never catches up in a burst longer
        than that.
        """
        begin = self.clock.now_ns()
        due = begin
        while not self.dead and not self._stopped and not (stop is not None and stop.is_set()):
            now = self.clock.now_ns()
            if (now - begin) * 1e-9 >= duration:
                return
            if now - due > BEHIND_NS:
                self.statistics.behind_ns = max(self.statistics.behind_ns, now - due)
                self.statistics.shifts += 1
                LOG.warning("the twin is %.0f ms behind wall time; it goes on from here", (now - due) * 1e-6)
                due = now
            self.clock.wait_until(due)
            self.statistics.behind_ns = max(self.statistics.behind_ns, self.clock.now_ns() - due)
            self.step()
            due += self._step_ns

    def step(self) -> None:
        """Read commands, watch the watchdog, move by one physics step, publish what is due."""
        if any(fault.active(self.transport.seconds) for fault in self._kills()):
            self._die()
            return
        now = self.clock.now_ns()
        for received in self.transport.poll():
            if received.source == COMMAND:
                self._obey(received)
        self._watch(now)
        self._intrude(now)
        self._publish(now)
        self.twin.step()

    def _on_agenda(self) -> None:
        if self._stopped or self.dead:
            return
        self.step()
        assert isinstance(self.clock, VirtualClock)
        if not self.dead:
            self.clock.at(self.clock.now_ns() + self._step_ns, self._on_agenda)

    def _obey(self, received: Received) -> None:
        message, now = received.message, received.receive_ns
        try:
            command = self._decode(message, self.commands[-1][1] if self.commands else self._resting())
        except BadCommand as error:
            reason = str(error)
            self.statistics.rejected[reason] = self.statistics.rejected.get(reason, 0) + 1
            return
        stamp = stamp_ns(message) or now
        if self._last_stamp_ns is not None and not self.holding and stamp <= self._last_stamp_ns:
            self.statistics.late_commands += stamp < self._last_stamp_ns
            self._last_command_ns = now
            return
        if self._monitor is not None:
            if self.holding:
                self._monitor.reset()
            self.violations += self._monitor.check(command, stamp, now, self.twin.position)
        self.holding = False
        self._last_command_ns, self._last_stamp_ns, self._last_message = now, stamp, message
        self.commands.append((now, command))
        self.twin.command(command)

    def _resting(self) -> Floats:
        return self.twin.target.copy()

    def _watch(self, now: int) -> None:
        """No command for too long: hold, as the robot's own controller does."""
        if self.holding or self._last_command_ns is None:
            return
        if now - self._last_command_ns > self._watchdog_ns:
            self.holding = True
            self.statistics.watchdog_trips.append(now)
            self.twin.hold()

    def _publish(self, now: int) -> None:
        for publication in self._publications:
            if now >= publication.next_ns:
                self.transport.publish(publication.channel, publication.make(now + self._epoch_ns))
                missed = (now - publication.next_ns) // publication.period_ns
                publication.next_ns += (missed + 1) * publication.period_ns

    def _schedule_publications(self) -> list[_Publication]:
        sensors, sources = self._sensors, self.twin.robot.sources
        rates = [(name, make, sources[name].rate or LATCH_RATE) for name, make in sensors.makers.items()]
        rates.append((CLOCK, sensors.clock, CLOCK_RATE))
        if self.options.publish_transforms:
            rates.append((TF, sensors.transforms, TF_RATE))
        return [_Publication(name, make, round(SECOND / rate)) for name, make, rate in rates]

    def _make_monitor(self) -> LimitMonitor | None:
        if not self.options.hardware_limits:
            return None
        if self.options.command_period is None:
            raise ValueError("hardware_limits needs command_period, the deployer's control period in seconds")
        return LimitMonitor(self.twin.robot, self.options.command_period)

    def _kills(self) -> list[Any]:
        return [fault for fault in self.faults.of_kind("kill") if fault.direction == "state"]

    def _die(self) -> None:
        self.dead = True
        LOG.warning("the twin dies by fault kill")
        if self._on_kill is not None:
            self._on_kill()

    def _intrude(self, now: int) -> None:
        """The second commander repeats the last command, or asks for home where there was none."""
        if self.transport.intruder is None or now < self._next_intrusion_ns:
            return
        self._next_intrusion_ns = now + INTRUSION_NS
        message = (
            copy.deepcopy(self._last_message) if self._last_message is not None else self._home_command()
        )
        if message is not None:
            self.transport.intruder.publish(COMMAND, message)

    def _home_command(self) -> Any:
        robot = self.twin.robot
        if robot.command.type != "sensor_msgs/msg/JointState" or robot.command.mode != "position":
            return None
        values = robot.position_to_wire(robot.home_position)
        return self._types.new(robot.command.type, name=list(robot.wire_names), position=values)
