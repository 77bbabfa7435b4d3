"""ROS 1: a real master and a real rospy node at the other end, and what happens when the master is not there."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dynrl.robots.description import Robot
from dynrl.robots.messages import MessageError, MessageTypes
from dynrl.robots.transports import TransportError, TransportOptions, deployer_endpoints
from dynrl.robots.transports.ros1 import (
    PACKAGES,
    Ros1Transport,
    probe_master,
    ros1_definition,
    system_python,
)

PEER = Path(__file__).parents[1] / "peers" / "rospy_peer.py"
Eventually = Callable[..., None]


@pytest.fixture
def python() -> str:
    """The interpreter that has rospy."""
    try:
        return system_python()
    except TransportError:
        pytest.skip(f"rospy is not installed: apt-get install {PACKAGES}")


@pytest.fixture
def deployer(ros_master: Any, robot: Robot, types: MessageTypes) -> Iterator[Ros1Transport]:
    options = TransportOptions(master=ros_master.uri)
    transport = Ros1Transport(deployer_endpoints(robot, options), options, types)
    transport.open()
    yield transport
    transport.close()


@pytest.fixture
def rospy_peer(ros_master: Any, python: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [python, str(PEER), "echo"],
        env=ros_master.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if line != "ready\n":
        process.wait()
        assert process.stderr is not None
        errors = process.stderr.read()
        if "sensor_msgs" in errors:
            pytest.skip("sensor_msgs for rospy is not installed: apt-get install python3-sensor-msgs")
        pytest.fail(errors)
    yield process
    process.kill()
    process.wait()


def warm_up(deployer: Ros1Transport, types: MessageTypes, eventually: Eventually) -> None:
    """Until the peer answers, and all its answers are in: both ends know of a connection before it carries anything."""

    def answered(name: str, ask: bool) -> bool:
        if ask:
            deployer.publish("command", types.new("sensor_msgs/JointState", name=[name]))
        return any(received.message.name[0] == name for received in deployer.poll())

    eventually(lambda: answered("first", ask=True))
    deployer.publish("command", types.new("sensor_msgs/JointState", name=["last"]))
    eventually(lambda: answered("last", ask=False))


def exchange(deployer: Ros1Transport, types: MessageTypes, eventually: Eventually, count: int) -> list[Any]:
    """Answers of the peer to `count` commands, each sent when the last answer is there."""
    answers: list[Any] = []
    for number in range(count):
        message = types.new(
            "sensor_msgs/JointState", name=["a", "関節"], position=[number, 0.1], effort=[-1e300]
        )
        message.header.stamp.sec, message.header.stamp.nanosec = 2**31 - 1, 999_999_999
        message.header.frame_id = "base"
        deployer.publish("command", message)
        eventually(lambda expected=number + 1: answers.extend(deployer.poll()) or len(answers) == expected)
        answer = answers[-1].message
        assert answer.name[:2] == message.name
        assert answer.position.tolist() == [number, 0.1]
        assert answer.effort.tolist() == [-1e300]
        assert (answer.header.stamp, answer.header.frame_id) == (message.header.stamp, "base")
    return answers


@pytest.mark.slow
def test_rospy_answers_with_its_own_message_classes(
    deployer: Ros1Transport, rospy_peer: Any, types: MessageTypes, eventually: Eventually
) -> None:
    eventually(lambda: deployer.matched().subscribers == 1)
    eventually(lambda: deployer.matched().publishers["joint_states"] == 1)
    warm_up(deployer, types, eventually)
    answers = exchange(deployer, types, eventually, 5)
    seen = [int(number) for number in answers[-1].message.name[2].removeprefix("seen:").split(",")]
    assert seen == [seen[0], seen[0] + 1, seen[0] + 2]  # headers are numbered as rospy numbers them
    eventually(lambda: deployer.matched().publishers["joint_states"] == 1)
    rospy_peer.kill()
    eventually(lambda: deployer.matched().publishers["joint_states"] == 0)
    assert deployer.matched().alive


@pytest.mark.slow
def test_connections_outlive_the_master(
    deployer: Ros1Transport, rospy_peer: Any, ros_master: Any, types: MessageTypes, eventually: Eventually
) -> None:
    eventually(
        lambda: deployer.matched().subscribers == 1 and deployer.matched().publishers["joint_states"] == 1
    )
    warm_up(deployer, types, eventually)
    exchange(deployer, types, eventually, 2)
    assert deployer.matched().notices == ()
    ros_master.kill()
    eventually(lambda: deployer.matched().notices)
    assert "the ROS 1 master does not answer any more" in deployer.matched().notices[0]
    assert deployer.matched().alive
    exchange(deployer, types, eventually, 3)


@pytest.mark.slow
def test_a_bridge_process_that_is_killed_is_a_lost_connection(
    deployer: Ros1Transport, types: MessageTypes, eventually: Eventually
) -> None:
    assert deployer._process is not None
    os.kill(deployer._process.pid, signal.SIGKILL)
    eventually(lambda: not deployer.matched().alive)
    assert "the process that speaks ros1 ended" in deployer.matched().notices[0]
    deployer.publish("command", types.new("sensor_msgs/JointState"))
    assert deployer.poll() == []
    deployer.close()
    deployer.open()
    assert deployer.matched().alive


@pytest.mark.slow
def test_the_bridge_ends_with_its_owner(deployer: Ros1Transport, eventually: Eventually) -> None:
    process = deployer._process
    assert process is not None
    deployer._connection.close()  # type: ignore[union-attr]
    eventually(lambda: process.poll() is not None)


@pytest.mark.slow
def test_nothing_of_ros1_hears_the_network(deployer: Ros1Transport) -> None:
    """Every TCP socket of the bridge that listens is bound to 127.0.0.1."""
    assert deployer._process is not None
    descriptors = Path(f"/proc/{deployer._process.pid}/fd").iterdir()
    inodes = {str(path.readlink()).removeprefix("socket:[").removesuffix("]") for path in descriptors}
    listening = "0A"
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    addresses = {row[1].split(":")[0] for row in rows if row[9] in inodes and row[3] == listening}
    assert addresses == {"0100007F"}


def test_md5_sums_are_those_of_the_distribution(python: str, types: MessageTypes) -> None:
    names = [name.replace("/msg/", "/") for name in types.store.types if not name.startswith("rmw_dds")]
    found = json.loads(
        subprocess.run(
            [python, str(PEER), "md5"], input="\n".join(names), capture_output=True, text=True, check=True
        ).stdout
    )
    if "sensor_msgs/JointState" not in found:
        pytest.skip("message classes are not installed: apt-get install python3-sensor-msgs")
    ours = {}
    for name in found:
        try:
            ours[name] = ros1_definition(types, name.replace("/", "/msg/"))[1]
        except MessageError:
            continue  # the type differs between ROS 1 and ROS 2
    assert len(ours) > 60
    assert {name: found[name] for name in ours} == ours


def test_md5_sum_of_joint_states(types: MessageTypes) -> None:
    definition, md5sum = ros1_definition(types, "sensor_msgs/msg/JointState")
    assert md5sum == "3066dcd76a6cfaef579bd0f34173e9fd"
    assert "MSG: std_msgs/Header" in definition
    assert "uint32 seq" in definition
    with pytest.raises(
        MessageError, match="sensor_msgs/msg/Range has other fields in ROS 1 than in ROS 2 jazzy"
    ):
        ros1_definition(types, "sensor_msgs/msg/Range")


def test_absent_master_is_an_error_in_time(free_port: int) -> None:
    start = time.monotonic()
    with pytest.raises(TransportError, match=rf"no ROS 1 master answers at http://127\.0\.0\.1:{free_port}"):
        probe_master(f"http://127.0.0.1:{free_port}", 2.0)
    assert time.monotonic() - start < 10.0


def test_master_that_accepts_and_says_nothing_is_an_error_in_time() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken: list[socket.socket] = []
        threading.Thread(target=lambda: taken.append(listener.accept()[0]), daemon=True).start()
        with pytest.raises(TransportError, match=r"within 0\.2 s \(timed out\)"):
            probe_master(f"http://127.0.0.1:{listener.getsockname()[1]}", 0.2)
        for connection in taken:
            connection.close()


@pytest.mark.parametrize("master", ["127.0.0.1:11311", "https://x:1", "http://"])
def test_impossible_master(master: str) -> None:
    with pytest.raises(TransportError, match=r"expected e\.g\. http://127\.0\.0\.1:11311"):
        probe_master(master, 1.0)


def test_master_elsewhere_needs_an_interface(python: str, robot: Robot, types: MessageTypes) -> None:
    options = TransportOptions(master="http://10.0.0.7:11311", timeout=0.1)
    with pytest.raises(
        TransportError, match="is on another machine, but only this one is allowed: give --interface"
    ):
        Ros1Transport(deployer_endpoints(robot, options), options, types).open()
    options = TransportOptions(master="http://10.0.0.7:11311", timeout=0.1, interface="eth1")
    with pytest.raises(TransportError, match="ROS 1 announces an address, not an interface"):
        Ros1Transport(deployer_endpoints(robot, options), options, types).open()


def test_machine_without_rospy_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(TransportError, match="apt-get install python3-rospy python3-rosmaster"):
        system_python()
