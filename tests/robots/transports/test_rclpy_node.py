"""The rclpy backend against a stand-in for rclpy: an in-memory bus with the calls that the backend makes.

It shows what the backend does with rclpy, and not what rclpy does: with a ROS 2 installation the contract tests run on
the real one.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dynrl.robots.description import Robot
from dynrl.robots.messages import MessageTypes
from dynrl.robots.transports import (
    SecurityError,
    TransportError,
    TransportOptions,
    deployer_endpoints,
    twin_endpoints,
)
from dynrl.robots.transports.rclpy_node import RclpyTransport


class Bus:
    """All nodes of the stand-in."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.contexts: list[Any] = []

    def subscriptions(self, topic: str) -> list[Any]:
        return [s for node in self.nodes for s in node.subscriptions if s.topic == topic]


def stand_in(bus: Bus) -> dict[str, ModuleType]:
    """The modules of rclpy that the backend imports."""

    class Context:
        def init(self, args: list[str], domain_id: int) -> None:
            self.args, self.domain_id, self.shut = args, domain_id, threading.Event()
            bus.contexts.append(self)

        def ok(self) -> bool:
            return not self.shut.is_set()

        def try_shutdown(self) -> None:
            self.shut.set()

    class Executor:
        def __init__(self, num_threads: int, context: Context) -> None:
            self._context = context

        def add_node(self, node: Any) -> None:
            node.executor = self

        def spin(self) -> None:
            self._context.shut.wait()
            raise ExternalShutdown

    class ExternalShutdown(Exception):
        pass

    class Publisher:
        def __init__(self, topic: str) -> None:
            self.topic = topic

        def publish(self, raw: bytes) -> None:
            assert isinstance(raw, bytes)
            for subscription in bus.subscriptions(self.topic):
                subscription.callback(raw)

        def get_subscription_count(self) -> int:
            return len(bus.subscriptions(self.topic))

    class LifecycleNode:
        def __init__(self, name: str, namespace: str, context: Context, callback_group: Any) -> None:
            self.name, self.namespace, self.context = name, namespace, context
            self.subscriptions: list[Any] = []
            self.publishers: list[Publisher] = []
            # as rclpy does: methods are looked up once, here
            self.callbacks = {
                name: getattr(self, f"on_{name}") for name in ("configure", "activate", "shutdown")
            }
            bus.nodes.append(self)

        def create_subscription(
            self, type_: str, topic: str, callback: Any, profile: Any, *, raw: bool, event_callbacks: Any
        ) -> None:
            assert raw
            self.subscriptions.append(
                SimpleNamespace(topic=topic, callback=callback, profile=profile, events=event_callbacks)
            )

        def create_publisher(
            self, type_: str, topic: str, profile: Any, *, event_callbacks: Any
        ) -> Publisher:
            self.publishers.append(Publisher(topic))
            return self.publishers[-1]

        def get_publishers_info_by_topic(self, topic: str) -> list[Any]:
            return [
                SimpleNamespace(node_name=node.name, node_namespace=node.namespace)
                for node in bus.nodes
                for publisher in node.publishers
                if publisher.topic == topic
            ]

        def count_publishers(self, topic: str) -> int:
            return len(self.get_publishers_info_by_topic(topic))

        def destroy_node(self) -> None:
            bus.nodes.remove(self)

    def events(**callbacks: Any) -> Any:
        return SimpleNamespace(**callbacks)

    names: dict[str, dict[str, Any]] = {
        "rclpy": {"Context": Context},
        "rclpy.executors": {
            "MultiThreadedExecutor": Executor,
            "ExternalShutdownException": ExternalShutdown,
        },
        "rclpy.callback_groups": {"MutuallyExclusiveCallbackGroup": object},
        "rclpy.lifecycle": {
            "LifecycleNode": LifecycleNode,
            "TransitionCallbackReturn": SimpleNamespace(SUCCESS="success", FAILURE="failure"),
        },
        "rclpy.event_handler": {"SubscriptionEventCallbacks": events, "PublisherEventCallbacks": events},
        "rclpy.qos": {
            "QoSProfile": SimpleNamespace,
            "HistoryPolicy": SimpleNamespace(KEEP_LAST=1),
            "ReliabilityPolicy": SimpleNamespace(RELIABLE="reliable", BEST_EFFORT="best_effort"),
            "DurabilityPolicy": SimpleNamespace(TRANSIENT_LOCAL="transient_local", VOLATILE="volatile"),
        },
        "rclpy.duration": {"Duration": SimpleNamespace},
        "rosidl_runtime_py": {},
        "rosidl_runtime_py.utilities": {"get_message": lambda name: name},
    }
    modules = {}
    for name, content in names.items():
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        module.__path__ = []
        vars(module).update(content)
        modules[name] = module
    return modules


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Bus:
    bus = Bus()
    for name, module in stand_in(bus).items():
        monkeypatch.setitem(sys.modules, name, module)
    for variable in ("ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY", "ROS_SECURITY_STRATEGY"):
        monkeypatch.setenv(variable, "")
    return bus


@pytest.fixture
def deployer(bus: Bus, robot: Robot, types: MessageTypes) -> Iterator[RclpyTransport]:
    options = TransportOptions(domain=7, namespace="lab")
    transport = RclpyTransport(deployer_endpoints(robot, options), options, types)
    transport.open()
    yield transport
    transport.close()


def test_bytes_pass_in_both_directions(
    deployer: RclpyTransport, bus: Bus, robot: Robot, types: MessageTypes
) -> None:
    options = TransportOptions(domain=7, namespace="lab")
    twin = RclpyTransport(twin_endpoints(robot, options), options, types)
    twin.open()
    sent = types.new("sensor_msgs/JointState", name=["a"], position=[0.5])
    deployer.publish("command", sent)
    twin.publish("joint_states", sent)
    (command,), (state,) = twin.poll(), deployer.poll()
    assert (command.source, state.source) == ("command", "joint_states")
    assert types.serialize(command.message) == types.serialize(sent) == state.raw
    matched = deployer.matched()
    assert (matched.alive, matched.subscribers, matched.publishers["joint_states"]) == (True, 1, 1)
    assert matched.other_writers == ()
    assert [context.domain_id for context in bus.contexts] == [7, 7]
    twin.close()
    assert [node.name for node in bus.nodes] == ["dynrl"]


def test_nothing_is_wider_than_the_loopback(
    deployer: RclpyTransport, bus: Bus, robot: Robot, types: MessageTypes, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    assert os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert os.environ["ROS_LOCALHOST_ONLY"] == "1"
    assert deployer.matched().notices == ()
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "")
    monkeypatch.setenv("ROS_LOCALHOST_ONLY", "")
    options = TransportOptions(interface="192.168.80.2")
    wide = RclpyTransport(deployer_endpoints(robot, options), options, types)
    wide.open()
    assert any("every network of this machine may see the robot" in line for line in wide.matched().notices)
    wide.close()


def test_a_lifecycle_service_succeeds_when_the_deployment_has_followed(
    deployer: RclpyTransport, bus: Bus, types: MessageTypes, eventually: Callable[..., None]
) -> None:
    (node,) = bus.nodes
    results: list[str] = []
    service = threading.Thread(target=lambda: results.append(node.callbacks["activate"](None)))
    service.start()
    heard: list[Any] = []
    eventually(lambda: heard.extend(deployer.poll()) or heard)
    assert (heard[0].source, heard[0].message.data) == ("control", "activate")
    deployer.publish("state", types.new("std_msgs/String", data="INACTIVE"))
    assert service.is_alive()
    deployer.publish("state", types.new("std_msgs/String", data="RAMPING"))
    service.join(10.0)
    assert results == ["success"]


def test_a_lifecycle_service_fails_when_the_deployment_refuses(
    deployer: RclpyTransport, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynrl.robots.transports.rclpy_node.TRANSITION_TIMEOUT", 0.05)
    assert bus.nodes[0].callbacks["configure"](None) == "failure"


def test_incompatible_peers_and_second_commanders_are_said(
    deployer: RclpyTransport, bus: Bus, robot: Robot, types: MessageTypes
) -> None:
    subscription = next(s for s in bus.nodes[0].subscriptions if s.topic == "/lab/joint_states")
    subscription.events.incompatible_qos(SimpleNamespace(last_policy_kind="RELIABILITY"))
    options = TransportOptions(namespace="lab", node="rival")
    rival = RclpyTransport(deployer_endpoints(robot, options), options, types)
    rival.open()
    matched = deployer.matched()
    assert matched.incompatible == ("/lab/joint_states: a peer's quality of service differs in RELIABILITY",)
    assert matched.other_writers == ("node /lab/rival",)
    rival.close()


def test_security_is_handed_to_ros_or_refused(
    bus: Bus, robot: Robot, types: MessageTypes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    enclave = tmp_path / "enclaves" / "arm"
    enclave.mkdir(parents=True)
    for variable in ("ROS_SECURITY_KEYSTORE", "ROS_SECURITY_ENABLE"):
        monkeypatch.setenv(variable, "")
    options = TransportOptions(security=enclave)
    secure = RclpyTransport(deployer_endpoints(robot, options), options, types)
    secure.open()
    assert bus.contexts[0].args == ["--ros-args", "--enclave", "/arm"]
    assert os.environ["ROS_SECURITY_STRATEGY"] == "Enforce"
    secure.close()
    plain = RclpyTransport(deployer_endpoints(robot, TransportOptions()), TransportOptions(), types)
    with pytest.raises(SecurityError, match="would run without security"):
        plain.open()


def test_without_rclpy_there_is_a_sentence(
    robot: Robot, types: MessageTypes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rclpy", None)
    transport = RclpyTransport(deployer_endpoints(robot, TransportOptions()), None, types)
    with pytest.raises(TransportError, match=r"rclpy cannot be imported; source the setup\.bash"):
        transport.open()
