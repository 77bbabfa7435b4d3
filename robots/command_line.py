"""`dynrl deploy` and `dynrl twin`.

Exit status of `deploy`: 0 all well; 1 the run ended held or e-stopped, or a replay differs; 2 something given is wrong
(one line `ErrorClass: sentence` on standard error); 130 Ctrl-C before anything moved.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg

from dynrl.errors import ConfigError, UserError
from dynrl.policy import PolicyBundle
from dynrl.robots.clocks import Clock, MonotonicClock, VirtualClock
from dynrl.robots.compatibility import check_robot
from dynrl.robots.contract_page import contract_page
from dynrl.robots.description import Robot
from dynrl.robots.loop import real_time
from dynrl.robots.messages import MessageTypes, message_types
from dynrl.robots.settings import DeploymentConfig, StopMode
from dynrl.robots.surface import KEY_HELP
from dynrl.robots.transports.base import TransportOptions, deployer_endpoints, parse_remaps, twin_endpoints

DONE, NOT_WELL, USER_ERROR = 0, 1, 2
TWIN_START, TWIN_STOP = 60.0, 10.0


def _optional(metavar: str, text: str) -> Any:
    return arg(metavar=metavar, help=text, help_behavior_hint="")


@dataclass(frozen=True)
class Link:
    """How to reach the robot."""

    transport: Annotated[
        Literal["sim", "ros2", "ros1", "rosbridge"], arg(help="what carries the messages")
    ] = "sim"
    domain: Annotated[int | None, _optional("ID", "DDS domain (ROS_DOMAIN_ID, else 0)")] = None
    interface: Annotated[
        str | None, _optional("NAME", "network interface; without it nothing leaves this machine")
    ] = None
    ros2_backend: Annotated[Literal["auto", "cyclonedds", "rclpy"], arg(help="who speaks ROS 2")] = "auto"
    security: Annotated[Path | None, _optional("ENCLAVE", "SROS2 enclave folder")] = None
    master: Annotated[str | None, _optional("URI", "ROS 1 master (ROS_MASTER_URI)")] = None
    host: Annotated[str, arg(help="of the rosbridge server")] = "127.0.0.1"
    port: Annotated[int, arg(help="of the rosbridge server")] = 9090
    ros1_server: Annotated[bool, arg(help="the rosbridge server is of ROS 1")] = False
    compression: Annotated[
        Literal["none", "png", "cbor", "cbor-raw"], arg(help="of what a rosbridge server sends")
    ] = "none"
    node: Annotated[str, arg(help="name of our ROS node")] = "dynrl"
    namespace: Annotated[str, arg(help="put before every relative topic name")] = ""
    remap: Annotated[
        UseAppendAction[tuple[str, ...]], _optional("OLD:=NEW", "another topic name (repeatable)")
    ] = ()
    ros_distro: Annotated[str | None, _optional("NAME", "message definitions (ROS_DISTRO, else jazzy)")] = (
        None
    )
    messages: Annotated[
        UseAppendAction[tuple[Path, ...]], _optional("FOLDER", "further .msg files (repeatable)")
    ] = ()
    use_sim_time: Annotated[bool, arg(help="watch /clock, and hold when it stands still")] = False
    estop_topic: Annotated[str, arg(help="where an emergency stop comes in")] = "/emergency_stop"
    estop_type: Annotated[
        Literal["std_msgs/msg/Bool", "std_msgs/msg/Empty"], arg(help="type of that topic")
    ] = "std_msgs/msg/Bool"

    def options(self, period: float | None = None) -> TransportOptions:
        """For the transports."""
        blocking = 0.002 if period is None else min(period / 2, 0.002)
        return TransportOptions(
            node=self.node,
            namespace=self.namespace,
            remap=parse_remaps(self.remap),
            ros_distro=self.ros_distro,
            messages=tuple(self.messages),
            use_sim_time=self.use_sim_time,
            estop_topic=self.estop_topic,
            estop_type=self.estop_type,
            domain=self.domain,
            interface=self.interface,
            backend=self.ros2_backend,
            security=self.security,
            max_blocking=blocking,
            master=self.master,
            host=self.host,
            port=self.port,
            ros1_server=self.ros1_server,
            compression=self.compression,
        )

    def types(self) -> MessageTypes:
        """The message types."""
        return message_types(self.ros_distro, tuple(self.messages))

    def arguments(self) -> list[str]:
        """The same on the command line of another process."""
        words = ["--transport", self.transport]
        for name in (
            "domain",
            "interface",
            "ros2_backend",
            "security",
            "master",
            "host",
            "port",
            "namespace",
        ):
            value = getattr(self, name)
            if value not in (None, ""):
                words += [f"--{name.replace('_', '-')}", str(value)]
        for remap in self.remap:
            words += ["--remap", remap]
        for folder in self.messages:
            words += ["--messages", str(folder)]
        if self.ros_distro is not None:
            words += ["--ros-distro", self.ros_distro]
        return words


def deploy(
    bundle: Annotated[
        Positional[Path], arg(metavar="BUNDLE", help="folder or .zip that `dynrl export` wrote")
    ],
    link: Annotated[Link, arg(name="")] = Link(),
    robot: Annotated[
        str | None, _optional("NAME", "installed robot, or a robot.yaml; the bundle's own where not given")
    ] = None,
    check: Annotated[bool, arg(help="validate, print the contract, start nothing")] = False,
    shadow: Annotated[bool, arg(help="run everything, publish nothing on the command topic")] = False,
    twin: Annotated[bool, arg(help="start the robot's simulated twin too (with sim: always)")] = False,
    duration: Annotated[float | None, _optional("SECONDS", "stop so long after the activation")] = None,
    record: Annotated[
        Path | None, _optional("FOLDER", "record messages, write report and picture there")
    ] = None,
    replay: Annotated[Path | None, _optional("FOLDER", "replay a recording and compare the commands")] = None,
    recover: Annotated[
        Path | None, _optional("FOLDER", "make a recording whole whose recorder was killed")
    ] = None,
    wait: Annotated[bool, arg(help="stay inactive until somebody activates")] = False,
    ramp: Annotated[float, arg(help="seconds of blending in after an activation")] = 2.0,
    auto_resume: Annotated[bool, arg(help="go on by itself when a recoverable fault is over")] = False,
    no_require_subscriber: Annotated[bool, arg(help="activate though nobody listens")] = False,
    patience: Annotated[float, arg(help="seconds to wait until activation is allowed")] = 10.0,
    heartbeat: Annotated[
        float | None, _optional("SECONDS", "e-stop when its topic is silent for so long")
    ] = None,
    stop: Annotated[
        StopMode | None,
        _optional("MODE", "what an e-stop does (the robot's): hold, damp, zero_effort, silent"),
    ] = None,
    max_overruns: Annotated[int, arg(help="periods in a row without a tick in time that are accepted")] = 5,
    tick_on: Annotated[
        str | None,
        _optional("SOURCE", "tick when this source speaks, at most half a period before the deadline"),
    ] = None,
    no_fifo: Annotated[bool, arg(help="do not ask for real-time priority")] = False,
    mlock: Annotated[bool, arg(help="keep the memory of the process in RAM")] = False,
    core: Annotated[int | None, _optional("N", "bind the loop to this CPU core")] = None,
    realtime: Annotated[bool, arg(help="sim: at the speed of the clock, not as fast as possible")] = False,
    fault: Annotated[
        UseAppendAction[tuple[str, ...]],
        _optional(
            "KIND@START:DURATION[,P=…]", "rehearse a fault with the twin or in this process (repeatable)"
        ),
    ] = (),
    goal: Annotated[
        UseAppendAction[tuple[str, ...]],
        _optional("T:X,Y,Z", "sim: a position to reach, sent T seconds after the start (repeatable)"),
    ] = (),
    seed: Annotated[int, arg(help="of the twin")] = 0,
    allow_control_flow: Annotated[bool, arg(help="accept If, Loop and Scan in the graph")] = False,
    debug: Annotated[bool, arg(help="print tracebacks")] = False,
) -> int:
    """Run a policy bundle on a robot or on its twin.

    First --check, then --shadow, then the twin, and only then the robot. Not a certified safety function and not hard
    real time: keep the robot's own watchdog, limits and emergency stop.

    Keys: space e-stop, h hold, c continue, r reset, a activate, d deactivate, q quit. Signals: INT, TERM and HUP brake
    and end (twice: at once), USR1 e-stops, USR2 holds.
    """

    def work() -> int:
        if recover is not None:
            _recover(recover)
            if replay is None:
                return DONE
        loaded = PolicyBundle.load(bundle, allow_control_flow=allow_control_flow)
        given = robot if robot is not None else None if check else loaded.contract.robot.name
        described = None if given is None else Robot.load(given)
        if check:
            warnings = [] if described is None else check_robot(loaded.contract, described)
            print(contract_page(loaded.contract, warnings, None if described is None else described.name))
            return DONE
        assert described is not None
        if replay is not None:
            return _replay(replay, loaded, described)
        config = DeploymentConfig(
            ramp=ramp,
            shadow=shadow,
            auto_activate=not wait,
            auto_resume=auto_resume,
            require_subscriber=not no_require_subscriber,
            patience=patience,
            max_consecutive_overruns=max_overruns,
            heartbeat_timeout=heartbeat,
            use_sim_time=link.use_sim_time,
            stop=stop,
            tick_on=tick_on,
            fifo=not no_fifo,
            lock_memory=mlock,
            core=core,
            record=record,
            debug=debug,
        )
        if duration is not None and duration <= 0:
            raise ConfigError(f"--duration is {duration}, expected seconds above 0")
        return _deploy(loaded, described, link, config, duration, twin, realtime, fault, goal, seed)

    return _guarded(work, debug)


def run_twin(
    robot: Annotated[Positional[str], arg(metavar="ROBOT", help="installed robot, or a robot.yaml")],
    link: Annotated[Link, arg(name="")] = Link(transport="ros2"),
    duration: Annotated[float | None, _optional("SECONDS", "end so long after the start")] = None,
    fault: Annotated[
        UseAppendAction[tuple[str, ...]],
        _optional("KIND@START:DURATION[,P=…]", "what goes wrong, and when (repeatable)"),
    ] = (),
    shuffle_joints: Annotated[bool, arg(help="publish the joints in another order than the model's")] = False,
    sim_hardware_limits: Annotated[bool, arg(help="end with status 1 when a command breaks a limit")] = False,
    command_period: Annotated[
        float | None, _optional("SECONDS", "between two commands, for the limits")
    ] = None,
    seed: Annotated[int, arg(help="of faults and shuffling")] = 0,
    debug: Annotated[bool, arg(help="print tracebacks")] = False,
) -> int:
    """Run the simulated twin of a robot on ROS topics.

    The same topics, types and watchdog as the robot, with faults on request.
    """

    def work() -> int:
        from dynrl.robots.transports.choice import make_transport
        from dynrl.robots.twin import NodeOptions, Twin, TwinNode, schedule

        if link.transport == "sim":
            raise ConfigError(
                "--transport sim has its twin inside `dynrl deploy`; choose ros2, ros1 or rosbridge"
            )
        if sim_hardware_limits and command_period is None:
            raise ConfigError(
                "--sim-hardware-limits needs --command-period, the seconds between two commands"
            )
        described = Robot.load(robot)
        types = link.types()
        options = link.options()
        endpoints = twin_endpoints(described, options)
        node = TwinNode(
            Twin(described),
            make_transport(link.transport, endpoints, options, types),
            MonotonicClock(),
            types,
            schedule(fault),
            NodeOptions(shuffle_joints, sim_hardware_limits, command_period, seed),
            endpoints=endpoints,
            connect=lambda given: make_transport(link.transport, given, options, types),
            on_kill=lambda: os.kill(os.getpid(), signal.SIGKILL),
        )
        with (
            _ends_on_signals() as ended,
            real_time(),
        ):  # a twin that comes late looks like a robot that is broken
            node.start()
            try:
                print(f"twin of {described.name} is up ({link.transport})", flush=True)
                node.run(math.inf if duration is None else duration, ended)
            finally:
                node.stop()
        for violation in node.violations[:10]:
            print(f"limit broken: {violation}", file=sys.stderr)
        return NOT_WELL if node.violations else DONE

    return _guarded(work, debug)


def _guarded(work: Callable[[], int], debug: bool) -> int:
    try:
        return work()
    except UserError as error:
        if debug:
            traceback.print_exc()
        print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_ERROR


def _deploy(
    bundle: PolicyBundle,
    robot: Robot,
    link: Link,
    config: DeploymentConfig,
    duration: float | None,
    twin: bool,
    realtime: bool,
    faults: tuple[str, ...],
    goals: tuple[str, ...],
    seed: int,
) -> int:
    from dynrl.robots.deployment import Deployment, to_stderr
    from dynrl.robots.transports.rosbridge import SHORTEST_PERIOD
    from dynrl.robots.twin import schedule

    period = bundle.contract.control.period
    types = link.types()
    planned = schedule(faults)
    if link.transport == "rosbridge" and period < SHORTEST_PERIOD:
        shortest = f"periods of {SHORTEST_PERIOD * 1e3:g} ms and more"
        to_stderr(f"warning: rosbridge is for {shortest}, this policy has {period * 1e3:g} ms")
    if link.transport == "sim" and duration is None and not realtime:
        raise ConfigError(
            "--transport sim runs as fast as it can: say how long with --duration, or --realtime"
        )
    virtual = link.transport == "sim" and not realtime
    if goals and not virtual:
        raise ConfigError(
            "--goal is for --transport sim in virtual time; elsewhere publish goals on the robot's topic"
        )
    clock: Clock = VirtualClock() if virtual else MonotonicClock()
    with _peer(robot, link, clock, types, twin, faults, seed, period) as (transport, node):
        deployment = Deployment(
            bundle, robot, transport, config, clock=clock, types=types, faults=planned, name=link.transport
        )
        if goals:
            from dynrl.robots.rehearsal import send_goals

            assert isinstance(clock, VirtualClock)
            send_goals(node, clock, types, goals)
        if sys.stdin.isatty():
            print(KEY_HELP, file=sys.stderr)
        report = deployment.run(duration)
    print(report.text())
    if node is not None:
        print(f"limits broken at the receiver: {len(node.violations) or 'none'}")
        for violation in node.violations[:10]:
            print(f"  {violation}")
        if node.violations:
            return NOT_WELL
    return NOT_WELL if report.troubled else DONE


@contextlib.contextmanager
def _peer(
    robot: Robot,
    link: Link,
    clock: Clock,
    types: MessageTypes,
    twin: bool,
    faults: tuple[str, ...],
    seed: int,
    period: float,
) -> Iterator[tuple[Any, Any]]:
    """(our side of the transport, the twin where it lives in this process); the twin lives as long as the block."""
    from dynrl.robots.transports.choice import make_transport

    options = link.options(period)
    if link.transport != "sim":
        endpoints = deployer_endpoints(robot, options)
        with twin_process(robot, link, faults, seed) if twin else contextlib.nullcontext():
            yield make_transport(link.transport, endpoints, options, types), None
        return
    from dynrl.robots.rehearsal import connect_twin

    transport, node = connect_twin(
        robot, clock, command_period=period, faults=faults, seed=seed, types=types, options=options
    )
    ended = threading.Event()
    thread = threading.Thread(target=node.run, kwargs={"stop": ended}, daemon=True)
    if not isinstance(clock, VirtualClock):
        thread.start()
    try:
        yield transport, node
    finally:
        ended.set()
        if thread.is_alive():
            thread.join(TWIN_STOP)
        node.stop()


@contextlib.contextmanager
def twin_process(robot: Robot, link: Link, faults: tuple[str, ...], seed: int) -> Iterator[None]:
    """`dynrl twin` in another process, up and running."""
    folder = Path(robot.model).parent
    words = [sys.executable, "-m", "dynrl.cli", "twin", str(folder), *link.arguments(), "--seed", str(seed)]
    for fault in faults:
        words += ["--fault", fault]
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise ConfigError(
                f"the twin ended before it was up (status {process.wait()}); its message is above"
            )
        yield
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(TWIN_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _ends_on_signals() -> Iterator[threading.Event]:
    ended = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: ended.set()) for number in numbers}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _recover(folder: Path) -> None:
    from dynrl.robots.recovery import recover

    saved = recover(folder)
    print(
        f"{folder}: {sum(saved.messages.values())} messages on {len(saved.messages)} topics recovered, "
        f"{saved.lost_bytes} bytes at the end belong to no whole message; the damaged bag is {saved.damaged}"
    )


def _replay(folder: Path, bundle: PolicyBundle, robot: Robot) -> int:
    from dynrl.robots.replay import replay

    result = replay(folder, bundle, robot)
    if result.same:
        print(f"{folder}: {result.ticks} ticks, {result.commands} commands: all the same, bit for bit")
        return DONE
    print(
        f"{folder}: {result.different} of {result.commands} commands differ, first at tick {result.first}: "
        f"{result.detail}"
    )
    return NOT_WELL
