"""Counting during a run what the report tells at its end."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from dynrl.robots.controller import Controller, TickInput, TickOutput
from dynrl.robots.report import FaultCount, Report
from dynrl.robots.states import MOVING, State
from dynrl.robots.trace import Trace

if TYPE_CHECKING:
    from dynrl.robots.deployment import Deployment

SECOND = 1_000_000_000


class Tally:
    """Figures of a run.

    Args:
        controller: whose ticks are counted.

    Attributes:
        trace: for the picture.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        size = controller.command_size
        positional = controller.limits is not None
        self.trace = Trace(size, size if positional else 0)
        self._none = np.zeros(0)
        self._start_ns = 0
        self._ticks = 0
        self._received: Counter[str] = Counter()
        self._faults: dict[str, list[object]] = {}

    def begin(self, now_ns: int) -> None:
        """Time zero."""
        self._start_ns = now_ns

    def add(self, given: TickInput, out: TickOutput, seconds: float) -> None:
        """Counts a tick."""
        self._ticks += 1
        for message in given.received:
            self._received[message.source] += 1
        for fault in out.faults:
            name = f"{fault.kind.value}({fault.source})" if fault.source else fault.kind.value
            entry = self._faults.setdefault(name, [0, seconds, seconds, fault.detail])
            entry[0] = int(entry[0]) + 1  # type: ignore[call-overload]
            entry[2] = seconds
        measured = self._controller.sources.position if self.trace.measured.shape[1] else self._none
        self.trace.add(seconds, out.command, measured)

    def bands(self, end_s: float) -> list[tuple[float, float, State]]:
        """(from, to, state) in seconds since the start."""
        state, since, found = State.UNCONFIGURED, 0.0, []
        for transition in self._controller.machine.history:
            at = max(0.0, (transition.at_ns - self._start_ns) / SECOND)
            if at > since:
                found.append((since, at, state))
            state, since = transition.after, at
        if end_s > since:
            found.append((since, end_s, state))
        return found

    def _tracking(self, names: tuple[str, ...]) -> dict[str, tuple[float, float]]:
        """(largest, root mean square) distance of command and measurement, of the ticks in the trace."""
        if not self.trace.measured.shape[1]:
            return {}
        difference = np.abs(self.trace.command - self.trace.measured)
        difference = difference[np.isfinite(difference).all(axis=1)]
        if not len(difference):
            return {}
        rms = np.sqrt(np.mean(difference**2, axis=0))
        pairs = zip(difference.max(axis=0).tolist(), rms.tolist(), strict=True)
        return dict(zip(names, pairs, strict=True))

    def report(self, deployment: Deployment, seconds: float, commands: int, growth: int) -> Report:
        """The report of the run."""
        controller, pacer = self._controller, deployment.pacer
        times: dict[str, float] = {}
        for start, end, state in self.bands(seconds):
            times[state.value] = times.get(state.value, 0.0) + end - start
        calls = max(1, controller.policy_calls)
        names = command_names(controller)
        tracking = self._tracking(names)
        moved = any(transition.after in MOVING for transition in controller.machine.history)
        notes = () if moved else ("the deployment was never active",)
        return Report(
            bundle=controller.contract.name,
            robot=controller.robot.name,
            transport=deployment.name,
            seconds=seconds,
            ticks=self._ticks,
            overruns=pacer.overruns,
            skipped=pacer.skipped,
            scheduling=deployment.scheduling,
            latency=deployment.latency.summaries(),
            time_in_state=times,
            transitions=tuple(controller.machine.history),
            faults=tuple(FaultCount(name, *values) for name, values in self._faults.items()),  # type: ignore[arg-type]
            commands_sent=commands,
            received=dict(self._received),
            saturation=tuple(float(share) for share in controller.saturation / calls),
            joints=names,
            tracking=tracking,
            recording=None,
            recorded_drops=0,
            memory_growth=growth,
            notes=notes,
        )


def command_names(controller: Controller) -> tuple[str, ...]:
    """What each element of the command is."""
    mode = controller.robot.command.mode
    if mode == "pressure":
        return tuple(muscle.name for muscle in controller.robot.muscles)
    return ("x", "y", "yaw") if mode == "body_velocity" else tuple(controller.contract.robot.joints)
