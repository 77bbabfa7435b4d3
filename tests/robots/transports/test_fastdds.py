"""The second DDS vendor: a Fast DDS program in C++, made from IDL that the type store wrote.

`make test-dds-peer` installs what it needs (Debian and Ubuntu packages) and runs it.
"""

import hashlib
import math
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dynrl.robots.description import Robot
from dynrl.robots.messages import MessageTypes
from dynrl.robots.safety.faults import FaultKind
from dynrl.robots.safety.inputs import InputChecks
from dynrl.robots.sample import sample_bundle
from dynrl.robots.transports import Endpoint, Endpoints, Qos, TransportOptions, deployer_endpoints
from dynrl.robots.transports.cyclone_log import TYPE_INFORMATION
from dynrl.robots.transports.ros2 import Ros2Transport

pytestmark = pytest.mark.slow

SOURCES = Path(__file__).parents[1] / "peers" / "fastdds"
BUILD = Path(__file__).parents[3] / ".build" / "fastdds"
HEADER = "fastdds/dds/domain/DomainParticipant.hpp"
RELIABILITY_POLICY = 11
Eventually = Callable[..., None]


@pytest.fixture(scope="session")
def program() -> Path:
    """The compiled peer; it is made anew when its sources have changed."""
    missing = [tool for tool in ("fastddsgen", "g++") if shutil.which(tool) is None]
    headers = not missing and _compiles(f"#include <{HEADER}>\nint main() {{}}")
    if missing or not headers:
        pytest.skip(
            f"Fast DDS is not installed ({', '.join(missing) or HEADER} is missing): run make test-dds-peer, or "
            "apt-get install fastddsgen libfastrtps-dev libfastcdr-dev default-jre-headless g++"
        )
    sources = b"".join(path.read_bytes() for path in sorted(SOURCES.iterdir()) if path.is_file())
    peer = BUILD / f"peer-{hashlib.sha256(sources).hexdigest()[:16]}"
    BUILD.mkdir(parents=True, exist_ok=True)
    if not peer.exists():
        # Each process builds in a folder of its own, since pytest-xdist's workers may begin at the same time.
        with tempfile.TemporaryDirectory(dir=BUILD) as name:
            folder = Path(name)
            idl = _run([sys.executable, str(SOURCES / "generate_idl.py"), "sensor_msgs/msg/JointState"])
            (folder / "JointState.idl").write_text(idl)
            _run(["fastddsgen", "-replace", "-typeobject", "JointState.idl"], folder)
            generated = [path.name for path in folder.glob("*.cxx")]
            command = ["g++", "-std=c++17", "-O1", f"-I{folder}", "-o", "peer", *generated]
            _run([*command, str(SOURCES / "peer.cpp"), "-lfastrtps", "-lfastcdr"], folder)
            os.replace(folder / "peer", peer)
    return peer


def _compiles(text: str) -> bool:
    command = ["g++", "-std=c++17", "-fsyntax-only", "-x", "c++", "-"]
    return subprocess.run(command, input=text, text=True, capture_output=True).returncode == 0


def _run(command: list[str], folder: Path | None = None) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class FastDds:
    """The running peer."""

    def __init__(self, program: Path, domain: int, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [str(program), str(domain), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._queue: queue.Queue[str] = queue.Queue()
        self.lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._queue.put(line.rstrip("\n"))

    def said(self, start: str) -> list[str]:
        """What it has printed that begins so."""
        while not self._queue.empty():
            self.lines.append(self._queue.get())
        return [line for line in self.lines if line.startswith(start)]

    def publish(self, velocity: str = "", **positions: float) -> None:
        """A joint state; `velocity`, for all joints, is ":0.5" or nothing."""
        assert self._process.stdin is not None
        words = [f"{name}={value!r}{velocity}" for name, value in positions.items()]
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def connected(
    program: Path, robot: Robot, types: MessageTypes, domain: int, reliability: str, eventually: Eventually
) -> Iterator[tuple[Ros2Transport, FastDds]]:
    """A deployer and the peer, matched in both directions."""
    options = TransportOptions(domain=domain)
    deployer = Ros2Transport(deployer_endpoints(robot, options), options, types)
    deployer.open()
    peer = FastDds(program, domain, reliability)
    try:
        eventually(lambda: deployer.matched().subscribers == 1, 30.0)
        eventually(lambda: deployer.matched().publishers["joint_states"] == 1)
        eventually(lambda: peer.said("readers 1") and peer.said("writers 1"))
        yield deployer, peer
    finally:
        peer.kill()
        deployer.close()


def heard(deployer: Ros2Transport, eventually: Eventually) -> Any:
    received: list[Any] = []
    eventually(lambda: received.extend(deployer.poll()) or received)
    return received[0]


@pytest.mark.parametrize("reliability", ["reliable", "best_effort"])
def test_both_vendors_understand_each_other(
    reliability: str,
    program: Path,
    robot: Robot,
    types: MessageTypes,
    domain: int,
    eventually: Eventually,
) -> None:
    names = ["arm_yaw", "arm_shoulder", "arm_elbow"]
    with connected(program, robot, types, domain, reliability, eventually) as (deployer, peer):
        assert peer.said("type") == ["type sensor_msgs::msg::dds_::JointState_"]
        for number in range(5):
            sent = [number + 0.1, -1 / 3, 1e-300]
            deployer.publish("command", types.new("sensor_msgs/JointState", name=names, position=sent))
            eventually(lambda count=number + 1: len(peer.said("command")) == count)
            words = peer.said("command")[-1].split()[1:]
            assert [word.split("=")[0] for word in words] == names
            assert [float(word.split("=")[1]) for word in words] == sent
            peer.publish(arm_yaw=sent[0], arm_shoulder=sent[1], arm_elbow=sent[2])
            message = heard(deployer, eventually).message
            assert (message.name, message.position.tolist()) == (names, sent)
            assert message.header.frame_id == "fastdds"
        assert deployer.matched().incompatible == ()


def test_permuted_joints_and_nan_arrive_as_they_are(
    program: Path, robot: Robot, types: MessageTypes, domain: int, eventually: Eventually
) -> None:
    with connected(program, robot, types, domain, "best_effort", eventually) as (deployer, peer):
        peer.publish(arm_elbow=3.0, arm_yaw=1.0, arm_shoulder=2.0)
        message = heard(deployer, eventually).message
        assert dict(zip(message.name, message.position, strict=True)) == {
            "arm_yaw": 1.0,
            "arm_shoulder": 2.0,
            "arm_elbow": 3.0,
        }
        assert message.name[0] == "arm_elbow"
        peer.publish(arm_yaw=math.nan, arm_shoulder=math.inf, arm_elbow=0.0)
        message = heard(deployer, eventually).message
        assert math.isnan(message.position[0])
        assert message.position[1] == math.inf


def test_what_the_second_vendor_sends_is_judged_like_anything_else(
    program: Path, robot: Robot, types: MessageTypes, domain: int, eventually: Eventually
) -> None:
    checks = InputChecks(robot, sample_bundle(robot).contract)
    home = {
        joint.wire: (angle - joint.offset) / (joint.sign * joint.unit_scale)
        for joint, angle in zip(robot.joints, robot.home, strict=True)
    }
    with connected(program, robot, types, domain, "best_effort", eventually) as (deployer, peer):

        def verdict(velocity: str = ":0.0", **changes: float) -> FaultKind | None:
            peer.publish(velocity, **{**dict(reversed(home.items())), **changes})
            received = heard(deployer, eventually)
            fault = checks.check(received.source, received.message, received.receive_ns)
            return fault.kind if fault else None

        first = next(iter(home))
        assert verdict() is None  # permuted, as the names say
        assert verdict(**{first: math.nan}) == FaultKind.NONFINITE_OBSERVATION
        assert verdict(velocity="") == FaultKind.MALFORMED
        assert verdict(**{first: 99.0}) in (FaultKind.JUMP, FaultKind.OUT_OF_RANGE)
        checks.reset()
        assert verdict() is None
        assert checks.stale(time.monotonic_ns()) is None
        late = checks.stale(time.monotonic_ns() + 1_000_000_000)
        assert late is not None
        assert late.kind == FaultKind.STALE


def test_a_peer_that_falls_silent_stays_matched_until_it_leaves(
    program: Path, robot: Robot, types: MessageTypes, domain: int, eventually: Eventually
) -> None:
    with connected(program, robot, types, domain, "reliable", eventually) as (deployer, peer):
        peer.publish(arm_yaw=1.0)
        heard(deployer, eventually)
        deployer.publish("command", types.new("sensor_msgs/JointState", name=["arm_yaw"], position=[0.0]))
        eventually(lambda: peer.said("command"))
        assert deployer.poll() == []  # silence, and nothing else, is what tells
        assert deployer.matched().publishers["joint_states"] == 1
        peer._process.stdin.close()  # type: ignore[union-attr]
        eventually(lambda: deployer.matched().publishers["joint_states"] == 0)
        assert deployer.matched().subscribers == 0
        assert deployer.matched().alive


def test_incompatible_reliability_is_said_by_both_vendors(
    program: Path, types: MessageTypes, domain: int, eventually: Eventually
) -> None:
    """A best-effort writer of Fast DDS against a reliable reader, and the other way round."""
    kind = "sensor_msgs/msg/JointState"
    options = TransportOptions(domain=domain)
    for reliability in ("best_effort", "reliable"):
        reads = Endpoint("s", "/joint_states", kind, Qos("reliable"))
        writes = Endpoint("c", "/joint_commands", kind, Qos("best_effort"))
        ours = Ros2Transport(Endpoints("/dynrl", (reads,), (writes,)), options, types)
        ours.open()
        peer = FastDds(program, domain, reliability)
        topic = "/joint_states" if reliability == "best_effort" else "/joint_commands"
        try:
            eventually(lambda: ours.matched().incompatible, 30.0)  # noqa: B023
            (line,) = ours.matched().incompatible
            assert line.startswith(f"{topic}: reliability: the reader asks for reliable")
            eventually(lambda: peer.said(f"incompatible {RELIABILITY_POLICY}"))  # noqa: B023
        finally:
            peer.kill()
            ours.close()


def test_a_peer_that_announces_type_information_is_explained(
    program: Path, robot: Robot, types: MessageTypes, domain: int, eventually: Eventually
) -> None:
    """CycloneDDS drops such a peer whole, and tells nobody but its log."""
    options = TransportOptions(domain=domain)
    deployer = Ros2Transport(deployer_endpoints(robot, options), options, types)
    deployer.open()
    peer = FastDds(program, domain, "reliable", "announce")
    try:
        eventually(lambda: TYPE_INFORMATION in deployer.matched().notices, 30.0)
        assert deployer.matched().publishers["joint_states"] == 0
        assert deployer.matched().subscribers == 0
    finally:
        peer.kill()
        deployer.close()
