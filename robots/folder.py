"""The folder of a recorded run: bag, contract, settings, environment, report, picture."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynrl.policy.yaml_text import write_contract
from dynrl.robots.journal import Journal
from dynrl.robots.latency import Latency
from dynrl.robots.recorder import Recorder
from dynrl.robots.report import Report, write_picture
from dynrl.robots.summary import Tally
from dynrl.runs.array_file import write_atomically
from dynrl.runs.versions import git_hash, versions

if TYPE_CHECKING:
    from dynrl.robots.deployment import Deployment

FORMAT = 1
INFO, CONTRACT, REPORT, PICTURE = "deployment.json", "policy.yaml", "report.json", "report.png"
UNITS = {
    "position": "rad",
    "velocity": "rad/s",
    "effort": "N m",
    "pressure": "",
    "body_velocity": "m/s, rad/s",
}


class RunFolder:
    """Records a deployment.

    Args:
        deployment: about to run.
        path: of the folder.
        offset_ns: added to monotonic times to make wall times.

    Raises:
        RecordingError: the folder cannot be used.

    Attributes:
        recorder: of the bag.
        journal: what writes into it.
    """

    def __init__(self, deployment: Deployment, path: Path, offset_ns: int) -> None:
        self.path = path
        self._deployment = deployment
        self.recorder = Recorder(path, deployment.types, offset_ns, patient=not deployment.real)
        contract = deployment.bundle.contract
        shadow = deployment.config.shadow
        endpoints = deployment.transport.endpoints
        self.journal = Journal(self.recorder, endpoints, deployment.types, contract, shadow)
        self._warned = False
        write_atomically(path / CONTRACT, write_contract(contract).encode())
        info = {
            "format": FORMAT,
            "robot": deployment.robot.name,
            "transport": deployment.name,
            "shadow": shadow,
            "node": endpoints.node,
            "ros_distro": deployment.types.distro,
            "started_ns": deployment.controller.machine.since_ns,
            "channels": list(self.journal.channels),
            "topics": {e.channel: [e.topic, e.type] for e in (*endpoints.readers, *endpoints.writers)},
            "config": _plain(dataclasses.asdict(deployment.config)),
            "environment": environment(),
        }
        write_atomically(path / INFO, (json.dumps(info, indent=2) + "\n").encode())

    def warn_once(self, log: Callable[[str], None]) -> None:
        """Says when recording has failed; the deployment goes on."""
        if self.recorder.failure and not self._warned:
            self._warned = True
            log(f"warning: {self.recorder.failure}; the deployment goes on without recording")

    def close(self, report: Report, tally: Tally, latency: Latency) -> Report:
        """Closes the bag, writes report and picture; returns the report with the figures of the recording."""
        self.recorder.close({"scheduling": self._deployment.scheduling})
        notes = (*report.notes, *([self.recorder.failure] if self.recorder.failure else []))
        report = dataclasses.replace(
            report, recording=self.path, recorded_drops=self.recorder.dropped, notes=notes
        )
        report.write(self.path / REPORT)
        if self._deployment.config.image:
            draw(self.path / PICTURE, self._deployment, report, tally, latency)
        return report


def draw(path: Path, deployment: Deployment, report: Report, tally: Tally, latency: Latency) -> Path:
    """The picture of a run."""
    unit = UNITS[deployment.robot.command.mode]
    bands = tally.bands(report.seconds)
    limits = deployment.controller.limits
    return write_picture(path, report, tally.trace, bands, limits, latency.histograms, unit)


def environment() -> dict[str, Any]:
    """What the run was made with."""
    return {
        "versions": versions(),
        "git": git_hash(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpu": _cpu(),
        "cores": sorted(os.sched_getaffinity(0)),
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
