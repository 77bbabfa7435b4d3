"""Whether a bundle and a robot belong together, and what about the pair a person should know."""

from __future__ import annotations

from dynrl.errors import ConfigError
from dynrl.policy.contract import Contract
from dynrl.policy.errors import BundleRobot
from dynrl.policy.kinds import closest
from dynrl.robots.description import Robot
from dynrl.robots.safety import Limits
from dynrl.robots.sources import check_sources

MODES = {
    "target/joint/position": "position",
    "target/joint/velocity": "velocity",
    "target/joint/effort": "effort",
    "target/muscle/pressure": "pressure",
    "target/body/velocity": "body_velocity",
}
GAIN_TOLERANCE = 0.1


def check_robot(contract: Contract, robot: Robot) -> list[str]:
    """Warnings about the pair, one line each.

    Raises:
        BundleRobot: the robot cannot give or do what the policy asks for.
    """
    for joint in contract.robot.joints:
        if joint not in robot.names:
            near = closest(joint, robot.names)[:1]
            hint = f"; the closest is {near[0]!r}" if near else ""
            raise BundleRobot(
                f"robot.joints: {joint!a} is not a joint of robot {robot.name!r}{hint}; it has {', '.join(robot.names)}"
            )
    for place, term in enumerate(contract.action):
        mode = MODES[term.kind]
        if mode != robot.command.mode:
            raise BundleRobot(
                f"action[{place}].kind: {term.kind} commands {mode}, robot {robot.name!r} takes {robot.command.mode}"
            )
    rate = 1.0 / contract.control.period
    if not robot.rates.min <= rate * (1 + 1e-9) or not rate * (1 - 1e-9) <= robot.rates.max:
        raise BundleRobot(
            f"control.period: {contract.control.period} s is {rate:g} Hz, robot {robot.name!r} takes "
            f"{robot.rates.min:g} to {robot.rates.max:g} Hz"
        )
    try:
        check_sources(contract, robot)
        warnings = Limits.narrowed(robot, contract)[1]
    except ConfigError as error:
        raise BundleRobot(str(error)) from error
    return warnings + _warnings(contract, robot)


def _warnings(contract: Contract, robot: Robot) -> list[str]:
    found = []
    if contract.robot.name != robot.name:
        found.append(f"the policy was trained for robot {contract.robot.name!r}, this one is {robot.name!r}")
    found += [
        f"{term.name}: robot {robot.name!r} can only estimate {term.kind}"
        for term in contract.observation
        if term.kind in robot.estimated
    ]
    found += _gains(contract, robot)
    if contract.provenance.dirty:
        found.append("the policy was trained from a git tree with uncommitted changes")
    if contract.provenance.return_mean is None:
        found.append("the bundle does not say how well the policy did in evaluation (provenance.return_mean)")
    return found


def _gains(contract: Contract, robot: Robot) -> list[str]:
    if contract.gains is None:
        return []
    found = []
    for name in ("kp", "kd"):
        trained = getattr(contract.gains, name)
        if trained is None:
            continue
        for joint, value in zip(contract.robot.joints, trained, strict=True):
            own = getattr(robot.joints[robot.names.index(joint)], name)
            if own is not None and abs(value - own) > GAIN_TOLERANCE * abs(own):
                found.append(f"{joint}: trained with {name} {value:g}, the driver has {own:g}")
    return found
