"""The simulated robot: MuJoCo behind the topics of the real one, and the faults that it can be told to have."""

from dynrl.robots.twin.faults import (
    KINDS,
    FaultError,
    FaultSchedule,
    ScheduledFault,
    load_faults,
    parse_fault,
    schedule,
)
from dynrl.robots.twin.faulty import FaultyTransport
from dynrl.robots.twin.monitor import LimitMonitor, Violation
from dynrl.robots.twin.node import NodeOptions, Statistics, TwinNode
from dynrl.robots.twin.physics import Twin

__all__ = [
    "KINDS",
    "FaultError",
    "FaultSchedule",
    "FaultyTransport",
    "LimitMonitor",
    "NodeOptions",
    "ScheduledFault",
    "Statistics",
    "Twin",
    "TwinNode",
    "Violation",
    "load_faults",
    "parse_fault",
    "schedule",
]
