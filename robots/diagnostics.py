"""`/diagnostics`: one status for the loop and one per source, once a second (REP 107)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dynrl.robots.controller import FRESH, Controller
from dynrl.robots.latency import Latency
from dynrl.robots.messages import MessageTypes
from dynrl.robots.states import State

OK, WARN, ERROR, STALE = 0, 1, 2, 3
STATUS = "diagnostic_msgs/msg/DiagnosticStatus"
LEVELS = {State.HOLDING: WARN, State.ESTOP: ERROR}


def diagnostics(
    types: MessageTypes, controller: Controller, latency: Latency, figures: Mapping[str, Any], stamp_ns: int
) -> Any:
    """A `DiagnosticArray`.

    Args:
        types: message types.
        controller: whose state and sources are told.
        latency: of the run.
        figures: further values of the loop, by name.
        stamp_ns: wall time.
    """
    machine = controller.machine
    late = latency.histograms["end_to_end"]
    values = {
        "state": machine.state.value,
        **figures,
        "end to end p99 [us]": f"{late.percentile(99) / 1000:.0f}",
    }
    hardware = controller.robot.name
    message = machine.state.value if not machine.reason else f"{machine.state.value}: {machine.reason}"
    status = [_status(types, "dynrl: policy loop", LEVELS.get(machine.state, OK), message, hardware, values)]
    for name in controller.sources.required:
        fresh = controller.checks.fresh.get(name, 0)
        level = OK if fresh >= FRESH else STALE if fresh == 0 else WARN
        text = "fresh" if level == OK else "stale" if level == STALE else "settling"
        status.append(
            _status(types, f"dynrl: source {name}", level, text, hardware, {"good messages in a row": fresh})
        )
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    stamp = types.new("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
    header = types.new("std_msgs/msg/Header", stamp=stamp)
    return types.new("diagnostic_msgs/msg/DiagnosticArray", header=header, status=status)


def _status(
    types: MessageTypes, name: str, level: int, message: str, hardware: str, values: Mapping[str, Any]
) -> Any:
    pairs = [
        types.new("diagnostic_msgs/msg/KeyValue", key=key, value=str(value)) for key, value in values.items()
    ]
    return types.new(STATUS, level=level, name=name, message=message, hardware_id=hardware, values=pairs)
