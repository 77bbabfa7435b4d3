"""Transport `ros2` through ROS's own client library, where a ROS 2 installation is sourced.

It brings what CycloneDDS alone cannot: security enclaves, the Zenoh middleware, real lifecycle services. Messages stay
bytes here too: `rclpy` passes serialised messages in both directions.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from dynrl.robots.messages import MessageTypes, message_types
from dynrl.robots.transports.base import (
    COMMAND,
    CONTROL,
    ESTOP_RESET,
    STATE,
    Endpoint,
    Endpoints,
    Matched,
    Received,
    TransportError,
    TransportOptions,
)
from dynrl.robots.transports.discovery import discovery
from dynrl.robots.transports.qos import Qos
from dynrl.robots.transports.security import check_plain, sros2_settings

REFRESH_NS = 50_000_000
TRANSITION_TIMEOUT = 5.0
# What a lifecycle service asks of the deployment, and the states of it that mean that it was done.
TRANSITIONS = {
    "configure": ("INACTIVE",),
    "activate": ("RAMPING", "ACTIVE"),
    "deactivate": ("INACTIVE",),
    "cleanup": ("UNCONFIGURED",),
    "shutdown": ("FINALIZED",),
}


class RclpyTransport:
    """A `LifecycleNode`; its executor has a thread of its own, whose callbacks only store.

    A lifecycle service passes its transition on to the deployment, and succeeds once the deployment has published a
    state that belongs to it. Transitions that the deployment makes by itself do not show in the lifecycle services;
    they are on `~/state` and `~/transition_event`.

    Args:
        endpoints: what to read and write.
        options: domain, security enclave, distribution.
        types: message types; those of `options` if absent.
    """

    def __init__(
        self, endpoints: Endpoints, options: TransportOptions | None = None, types: MessageTypes | None = None
    ) -> None:
        self.endpoints = endpoints
        self.options = options or TransportOptions()
        self.types = types or message_types(self.options.ros_distro, tuple(self.options.messages))
        self._arrived: deque[tuple[Endpoint, int, bytes]] = deque()
        self._publishers: dict[str, tuple[Endpoint, Any]] = {}
        self._context: Any = None
        self._node: Any = None
        self._state = ""
        self._state_changed = threading.Condition()
        self._matched = Matched(alive=False, subscribers=0)
        self._last_refresh_ns = 0
        self._notices: tuple[str, ...] = ()
        self._complaints: dict[str, None] = {}

    def open(self) -> None:
        try:
            import rclpy
            from rclpy.executors import MultiThreadedExecutor
        except ImportError as error:
            raise TransportError(
                "--ros2-backend rclpy: rclpy cannot be imported; source the setup.bash of a ROS 2 installation whose "
                "Python is this one, or use --ros2-backend cyclonedds"
            ) from error
        if self._node is not None:
            raise TransportError("this transport is open already")
        setup = discovery(self.options.domain, self.options.interface)
        self._notices = setup.notices
        variables, arguments = self._environment(setup.loopback)
        os.environ.update(variables)  # the only way to tell the middleware
        self._context = rclpy.Context()
        self._context.init(args=["--ros-args", *arguments], domain_id=setup.domain)
        try:
            self._node = self._make_node()
            for endpoint in self.endpoints.readers:
                self._subscribe(endpoint)
            for endpoint in self.endpoints.writers:
                self._advertise(endpoint)
        except BaseException:
            self.close()
            raise
        # A lifecycle service waits for the deployment; messages must not wait for the service.
        executor = MultiThreadedExecutor(num_threads=2, context=self._context)
        executor.add_node(self._node)
        threading.Thread(target=_spin, args=(executor,), daemon=True).start()

    def _environment(self, loopback: bool) -> tuple[dict[str, str], list[str]]:
        variables: dict[str, str] = {}
        arguments: list[str] = []
        if loopback:
            span = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "").upper()
            variables["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "OFF" if span == "OFF" else "LOCALHOST"
            variables["ROS_LOCALHOST_ONLY"] = "1"  # Humble knows this one only
        else:
            self._notices += (
                f"--interface {self.options.interface}: rclpy leaves the choice to the configuration of its "
                "middleware; every network of this machine may see the robot",
            )
        if self.options.security is not None:
            secure, arguments = sros2_settings(self.options.security)
            variables |= secure
        else:
            check_plain("ros2")
        return variables, arguments

    def _make_node(self) -> Any:
        from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
        from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

        carry_out = self._carry_out

        def result(transition: str) -> Any:
            done = carry_out(transition)
            return TransitionCallbackReturn.SUCCESS if done else TransitionCallbackReturn.FAILURE

        class Node(LifecycleNode):
            def on_configure(self, state: Any) -> Any:
                return result("configure")

            def on_activate(self, state: Any) -> Any:
                return result("activate")

            def on_deactivate(self, state: Any) -> Any:
                return result("deactivate")

            def on_cleanup(self, state: Any) -> Any:
                return result("cleanup")

            def on_shutdown(self, state: Any) -> Any:
                return result("shutdown")

        namespace, _, name = self.endpoints.node.rpartition("/")
        services = MutuallyExclusiveCallbackGroup()
        return Node(name, namespace=namespace or "/", context=self._context, callback_group=services)

    def _carry_out(self, transition: str) -> bool:
        control = next((e for e in self.endpoints.readers if e.channel == CONTROL), None)
        if control is None:
            return True  # the twin's side has no states
        raw = self.types.serialize(self.types.new(control.type, data=transition))
        wanted = TRANSITIONS[transition]
        with self._state_changed:
            self._state = ""
            self._arrived.append((control, time.monotonic_ns(), raw))
            return self._state_changed.wait_for(lambda: self._state.startswith(wanted), TRANSITION_TIMEOUT)

    def _subscribe(self, endpoint: Endpoint) -> None:
        from rosidl_runtime_py.utilities import get_message

        def store(raw: bytes) -> None:
            self._arrived.append((endpoint, time.monotonic_ns(), raw))

        self._node.create_subscription(
            get_message(endpoint.type),
            endpoint.topic,
            store,
            _profile(endpoint.qos),
            raw=True,
            event_callbacks=_events().SubscriptionEventCallbacks(incompatible_qos=self._complain(endpoint)),
        )

    def _advertise(self, endpoint: Endpoint) -> None:
        from rosidl_runtime_py.utilities import get_message

        publisher = self._node.create_publisher(
            get_message(endpoint.type),
            endpoint.topic,
            _profile(endpoint.qos),
            event_callbacks=_events().PublisherEventCallbacks(incompatible_qos=self._complain(endpoint)),
        )
        self._publishers[endpoint.channel] = (endpoint, publisher)

    def _complain(self, endpoint: Endpoint) -> Callable[[Any], None]:
        def store(event: Any) -> None:
            line = f"{endpoint.topic}: a peer's quality of service differs in {event.last_policy_kind}"
            self._complaints[line] = None

        return store

    def poll(self) -> list[Received]:
        self._need_open()
        received = []
        while self._arrived:
            endpoint, when, raw = self._arrived.popleft()
            message = self.types.decode(raw, endpoint.type)
            received.append(Received(endpoint.channel, when, message, bytes(raw)))
        return received

    def publish(self, channel: str, message: Any) -> None:
        self._need_open()
        endpoint = self.endpoints.writer(channel)
        if message.__msgtype__ != endpoint.type:
            raise TransportError(f"channel {channel!r} carries {endpoint.type}, not {message.__msgtype__}")
        self._publishers[channel][1].publish(self.types.serialize(message))
        if channel == STATE:
            with self._state_changed:
                self._state = message.data
                self._state_changed.notify_all()

    def matched(self) -> Matched:
        now = time.monotonic_ns()
        if self._node is not None and now - self._last_refresh_ns >= REFRESH_NS:
            self._last_refresh_ns = now
            self._matched = self._look_around()
        return self._matched

    def _look_around(self) -> Matched:
        command = self._publishers.get(COMMAND)
        reset = next((e for e in self.endpoints.readers if e.channel == ESTOP_RESET), None)
        resetters = self._others(reset) if reset else ()
        return Matched(
            alive=self._context.ok(),
            subscribers=command[1].get_subscription_count() if command else 0,
            publishers={e.channel: self._node.count_publishers(e.topic) for e in self.endpoints.readers},
            other_writers=self._others(command[0]) if command else (),
            other_resetters=resetters if len(resetters) > 1 else (),
            incompatible=tuple(self._complaints),
            notices=self._notices,
        )

    def _others(self, endpoint: Endpoint) -> tuple[str, ...]:
        found = self._node.get_publishers_info_by_topic(endpoint.topic)
        names = [f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in found]
        if self.endpoints.node in names:
            names.remove(self.endpoints.node)
        return tuple(f"node {ascii(name)[1:-1]}" for name in names)

    def close(self) -> None:
        node, self._node = self._node, None
        context, self._context = self._context, None
        self._publishers = {}
        self._matched, self._last_refresh_ns = Matched(alive=False, subscribers=0), 0
        if node is not None:
            node.destroy_node()
        if context is not None:
            context.try_shutdown()

    def _need_open(self) -> None:
        if self._node is None:
            raise TransportError("this transport is not open")


def _events() -> Any:
    name = "rclpy.event_handler"  # until Humble, rclpy.qos_event
    return importlib.import_module(name if importlib.util.find_spec(name) else "rclpy.qos_event")


def _spin(executor: Any) -> None:
    from rclpy.executors import ExternalShutdownException

    try:
        executor.spin()
    except ExternalShutdownException:
        return  # the transport was closed


def _profile(qos: Qos) -> Any:
    from rclpy.duration import Duration
    from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

    profile = QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=qos.depth,
        reliability=ReliabilityPolicy.RELIABLE
        if qos.reliability == "reliable"
        else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL
        if qos.durability == "transient_local"
        else DurabilityPolicy.VOLATILE,
    )
    if qos.lifespan is not None:
        profile.lifespan = Duration(seconds=qos.lifespan)
    return profile
