"""Between policy and wire: what may come in, and what may go out."""

from dynrl.robots.safety.choose import check_action, make_filter
from dynrl.robots.safety.faults import Fault, FaultKind
from dynrl.robots.safety.inputs import InputChecks
from dynrl.robots.safety.limits import Limits
from dynrl.robots.safety.modes import (
    BodyVelocityFilter,
    CommandFilter,
    EffortFilter,
    PressureFilter,
    VelocityFilter,
)
from dynrl.robots.safety.position import PositionFilter, UnsafeStart
from dynrl.robots.safety.tracking import EffortWindow, TrackingLeash
from dynrl.robots.safety.workspace import WorkspaceCheck

__all__ = [
    "BodyVelocityFilter",
    "CommandFilter",
    "EffortFilter",
    "EffortWindow",
    "Fault",
    "FaultKind",
    "InputChecks",
    "Limits",
    "PositionFilter",
    "PressureFilter",
    "TrackingLeash",
    "UnsafeStart",
    "VelocityFilter",
    "WorkspaceCheck",
    "check_action",
    "make_filter",
]
