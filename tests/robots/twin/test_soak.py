"""Ten minutes at 200 Hz on a bad line, in virtual time: nothing raises, nothing grows, no limit is broken."""

from __future__ import annotations

import resource

import pytest

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'dynrl[ros]'")

from dynrl.robots.clocks import VirtualClock
from dynrl.robots.deployment import Deployment
from dynrl.robots.description import Robot
from dynrl.robots.messages import message_types
from dynrl.robots.sample import sample_bundle
from dynrl.robots.settings import DeploymentConfig
from dynrl.robots.states import State
from dynrl.robots.transports.base import TransportOptions, deployer_endpoints, twin_endpoints
from dynrl.robots.transports.sim import SimNetwork
from dynrl.robots.twin import NodeOptions, Twin, TwinNode, schedule

PERIOD, MINUTES = 0.005, 10


@pytest.mark.slow
def test_ten_minutes_on_a_bad_line() -> None:
    """1 % of all messages lost, up to 5 ms of jitter, both ways. Wall-clock overruns are `dynrl bench deploy`'s."""
    robot, clock, types = Robot.load("arm"), VirtualClock(), message_types()
    network = SimNetwork(clock, types)
    directions = ("state", "command")
    faults = [f"{kind},direction={way}" for kind in ("drop@2,p=0.01", "jitter@2,ms=5") for way in directions]
    options = NodeOptions(hardware_limits=True, command_period=PERIOD, log_length=1000, seed=5)
    endpoints = twin_endpoints(robot, TransportOptions())
    node = TwinNode(Twin(robot), network.join(endpoints), clock, types, schedule(faults), options)
    node.start()
    ours = network.join(deployer_endpoints(robot, TransportOptions()))
    config = DeploymentConfig(ramp=0.5, image=False, fifo=False)
    bundle = sample_bundle(robot, PERIOD)
    deployment = Deployment(bundle, robot, ours, config, clock=clock, types=types, log=lambda line: None)
    peaks = []
    with deployment.running():
        ticks_per_minute = round(60 / PERIOD)
        for _ in range(MINUTES):
            for _ in range(ticks_per_minute):
                deployment.step()
            assert deployment.controller.machine.state is State.ACTIVE, deployment.controller.machine.reason
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)  # kB, on Linux
    slope = (peaks[-1] - peaks[1]) / (MINUTES - 2)
    assert slope < 1.0, f"{slope:.2f} MiB per minute: {peaks}"
    assert node.violations == [] and not node.statistics.rejected
