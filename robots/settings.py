"""How a deployment is run: everything that is neither the bundle's nor the robot's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

StopMode = Literal["hold", "damp", "zero_effort", "silent"]


@dataclass(frozen=True)
class DeploymentConfig:
    """Settings of a deployment.

    Attributes:
        ramp: seconds of the blend from the measured pose to what the policy wants, after each activation.
        shadow: run everything, publish nothing on the command topic.
        auto_activate: activate as soon as it is allowed; otherwise an operator does.
        auto_resume: go on by itself once a recoverable cause has been gone for half a second.
        require_subscriber: refuse to activate when nobody listens to the command topic.
        patience: seconds to wait for the activation to be allowed, before giving up.
        max_consecutive_overruns: periods in a row without a tick that ended in time that are accepted.
        heartbeat_timeout: seconds without a message on the e-stop topic that trip it; None for no heartbeat.
        use_sim_time: `/clock` must run; a simulation that pauses holds the robot.
        stop: what an emergency stop does; None takes the robot's.
        tick_on: source whose next message starts a tick early, at most half a period before its deadline (a message
            then waits for microseconds instead of up to a period); None ticks at the deadlines.
        fifo: ask for real-time priority.
        lock_memory: keep all memory of the process in RAM.
        core: bind the loop to this CPU core.
        record: folder of the recording and the report; None for no recording.
        image: write the picture of the report.
        debug: print tracebacks.
    """

    ramp: float = 2.0
    shadow: bool = False
    auto_activate: bool = True
    auto_resume: bool = False
    require_subscriber: bool = True
    patience: float = 10.0
    max_consecutive_overruns: int = 5
    heartbeat_timeout: float | None = None
    use_sim_time: bool = False
    stop: StopMode | None = None
    tick_on: str | None = None
    fifo: bool = True
    lock_memory: bool = False
    core: int | None = None
    record: Path | None = None
    image: bool = True
    debug: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.ramp < float("inf"):
            raise ValueError(f"ramp is {self.ramp}, expected seconds, at least 0")
        if self.patience <= 0:
            raise ValueError(f"patience is {self.patience}, expected seconds above 0")
        if self.max_consecutive_overruns < 0:
            raise ValueError(
                f"max_consecutive_overruns is {self.max_consecutive_overruns}, expected at least 0"
            )
        if self.heartbeat_timeout is not None and self.heartbeat_timeout <= 0:
            raise ValueError(f"heartbeat_timeout is {self.heartbeat_timeout}, expected seconds above 0")
