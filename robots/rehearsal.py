"""The twin at the other end of an in-process transport."""

from __future__ import annotations

from collections.abc import Iterable

from dynrl.robots.clocks import Clock
from dynrl.robots.description import Robot
from dynrl.robots.messages import MessageTypes, message_types
from dynrl.robots.transports.base import TransportOptions, deployer_endpoints, twin_endpoints
from dynrl.robots.transports.sim import SimNetwork, SimTransport
from dynrl.robots.twin import NodeOptions, Twin, TwinNode, schedule


def connect_twin(
    robot: Robot,
    clock: Clock,
    *,
    command_period: float = 0.02,
    faults: Iterable[str] = (),
    seed: int = 0,
    types: MessageTypes | None = None,
    options: TransportOptions | None = None,
    network: SimNetwork | None = None,
) -> tuple[SimTransport, TwinNode]:
    """(the deployment's side of a transport, the twin at the other side, which has begun to live).

    With a `VirtualClock` waiting on the clock drives the twin; with a `MonotonicClock` somebody must call `twin.run` in
    a thread.

    Args:
        robot: to be simulated.
        clock: of both sides.
        command_period: seconds between two commands; `twin.violations` lists the limits that they broke.
        faults: what goes wrong and when, e.g. `"stale@3:0.5"`.
        seed: of the faults.
        types: message types.
        options: names of topics.
        network: to join; a new one when absent.

    Raises:
        FaultError: a fault that is none.
    """
    types, options = types or message_types(), options or TransportOptions()
    network = network or SimNetwork(clock, types)
    theirs = twin_endpoints(robot, options)
    judge = NodeOptions(hardware_limits=True, command_period=command_period, seed=seed)
    twin = TwinNode(
        Twin(robot), network.join(theirs), clock, types, schedule(faults), judge, theirs, network.join
    )
    twin.start()
    return network.join(deployer_endpoints(robot, options)), twin
