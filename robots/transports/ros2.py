"""Transport `ros2`: ROS 2 spoken on the wire through CycloneDDS; no ROS installation is needed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from dynrl.robots.messages import MessageTypes, message_types
from dynrl.robots.transports import dds
from dynrl.robots.transports.arrivals import Arrivals
from dynrl.robots.transports.base import (
    COMMAND,
    ESTOP_RESET,
    Endpoint,
    Endpoints,
    Matched,
    Received,
    SecurityError,
    TransportError,
    TransportOptions,
)
from dynrl.robots.transports.confinement import confine
from dynrl.robots.transports.cyclone_log import CycloneLog
from dynrl.robots.transports.dds_peers import NODES_QOS, NODES_TOPIC, NODES_TYPE, Peers, announcement
from dynrl.robots.transports.discovery import PROCESSES, Discovery, discovery, ports
from dynrl.robots.transports.security import check_plain, enclave_properties

REFRESH_NS = 50_000_000


@dataclass
class _OpenDomain:
    """A domain of this process: CycloneDDS fixes its configuration at the first use."""

    config: str
    entity: Any
    log: CycloneLog
    users: int = 0


_domains: dict[int, _OpenDomain] = {}


class Ros2Transport:
    """One ROS 2 node on DDS.

    Receive times are estimated from the times of writing (see `Arrivals`) and lie between the poll before and the poll
    that took the message: waking a thread for each message to note its arrival would disturb the loop.

    Args:
        endpoints: what to read and write.
        options: domain, interface, distribution, security.
        types: message types; those of `options` if absent.
    """

    def __init__(
        self, endpoints: Endpoints, options: TransportOptions | None = None, types: MessageTypes | None = None
    ) -> None:
        self.endpoints = endpoints
        self.options = options or TransportOptions()
        self.types = types or message_types(self.options.ros_distro, tuple(self.options.messages))
        self.dropped = 0  # messages that a reliable reader did not take in time
        self._notices: tuple[str, ...] = ()
        self._participant: Any = None
        self._refusal: Any = ()  # what CycloneDDS raises; an import for each message would cost too much
        self._peers: Any = None
        self._nodes_writer: Any = None
        self._readers: list[tuple[Endpoint, Any]] = []
        self._writers: dict[str, tuple[Endpoint, Any, Any]] = {}
        self._matched = Matched(alive=False, subscribers=0)
        self._domain = -1  # none
        self._arrivals: dict[int, Arrivals] = {}  # by the handle of the writer
        self._last_poll_ns = self._last_refresh_ns = 0

    def open(self) -> None:
        dds.require_cyclonedds()
        if self._participant is not None:
            raise TransportError("this transport is open already")
        properties = self._security()
        setup = discovery(self.options.domain, self.options.interface)
        self._notices = setup.notices
        _acquire(setup)
        self._domain = setup.domain
        try:
            self._create(setup, properties)
        except BaseException:
            self.close()
            raise
        self._last_poll_ns, self._last_refresh_ns = time.monotonic_ns(), 0

    def _security(self) -> dict[str, str]:
        if self.options.security is not None:
            return enclave_properties(self.options.security)
        check_plain("ros2")
        return {}

    def _create(self, setup: Discovery, properties: dict[str, str]) -> None:
        from cyclonedds.core import DDSException
        from cyclonedds.domain import DomainParticipant
        from cyclonedds.qos import Policy, Qos

        self._refusal = DDSException
        qos = Qos(
            Policy.Userdata(b"enclave=/;"),
            Policy.EntityName(self.endpoints.node),
            *(Policy.Property(key=key, value=value, propagate=False) for key, value in properties.items()),
        )
        try:
            self._participant = DomainParticipant(setup.domain, qos=qos)
        except DDSException as error:
            if properties:
                raise SecurityError(
                    f"--security {self.options.security}: CycloneDDS does not accept this enclave ({error}); its "
                    "standard error says more, and nothing is sent without it"
                ) from error
            raise TransportError(
                f"DDS domain {setup.domain} cannot be joined ({error}): are {PROCESSES} processes of this machine in "
                f"it already, or are its UDP ports from {ports(setup.domain).start} on taken?"
            ) from error
        if setup.loopback:
            _, open_ports = confine(ports(setup.domain))
            if open_ports:
                self._notices += (
                    f"UDP port {', '.join(map(str, open_ports))} could not be confined to the loopback device: keep "
                    "other machines out with a firewall",
                )
        for endpoint in self.endpoints.readers:
            self._readers.append((endpoint, self._reader(endpoint)))
        for endpoint in self.endpoints.writers:
            sample = dds.new_sample(self.types, endpoint.type)
            self._writers[endpoint.channel] = (endpoint, self._writer(endpoint), sample)
        self._peers = Peers(self._participant, self.types)
        self._announce()

    def _reader(self, endpoint: Endpoint) -> Any:
        from cyclonedds.sub import DataReader

        qos = dds.dds_qos(endpoint.qos, self.types.type_hash(endpoint.type))
        return DataReader(
            self._participant, self._topic(dds.topic_name(endpoint.topic), endpoint.type), qos=qos
        )

    def _writer(self, endpoint: Endpoint) -> Any:
        from cyclonedds.pub import DataWriter

        blocking = int(self.options.max_blocking * 1e9)
        qos = dds.dds_qos(endpoint.qos, self.types.type_hash(endpoint.type), blocking, writer=True)
        return DataWriter(
            self._participant, self._topic(dds.topic_name(endpoint.topic), endpoint.type), qos=qos
        )

    def _topic(self, name: str, ros_type: str) -> Any:
        from cyclonedds.topic import Topic

        return Topic(self._participant, name, dds.wire_type(self.types, ros_type))

    def _announce(self) -> None:
        from cyclonedds.pub import DataWriter

        qos = dds.dds_qos(NODES_QOS, self.types.type_hash(NODES_TYPE), 0, writer=True)
        self._nodes_writer = DataWriter(self._participant, self._topic(NODES_TOPIC, NODES_TYPE), qos=qos)
        readers = [reader for _, reader in self._readers]
        writers = [writer for _, writer, _ in self._writers.values()]
        message = announcement(self.types, self.endpoints.node, self._participant, readers, writers)
        sample = dds.new_sample(self.types, NODES_TYPE)
        sample.raw = self.types.serialize(message)
        self._nodes_writer.write(sample)

    def poll(self) -> list[Received]:
        self._need_open()
        received: list[Received] = []
        for endpoint, reader in self._readers:
            samples = reader.take(endpoint.qos.depth)
            if samples:
                received += self._received(endpoint, samples)
                if not self._matched.publishers.get(endpoint.channel):
                    self._last_refresh_ns = 0  # somebody new: `matched` must know
        self._last_poll_ns = time.monotonic_ns()
        if len(received) > 1:
            received.sort(key=lambda message: message.receive_ns)
        return received

    def _received(self, endpoint: Endpoint, samples: list[Any]) -> list[Received]:
        now = time.monotonic_ns()
        by_writer: dict[int, list[Any]] = {}
        for sample in samples:
            if sample.sample_info.valid_data:
                by_writer.setdefault(sample.sample_info.publication_handle, []).append(sample)
        received = []
        for writer, written in by_writer.items():
            stamps = [sample.sample_info.source_timestamp for sample in written]
            times = self._arrivals.setdefault(writer, Arrivals()).of(stamps, self._last_poll_ns, now)
            for sample, when in zip(written, times, strict=True):
                message = self.types.decode(sample.raw, endpoint.type)
                received.append(Received(endpoint.channel, when, message, sample.raw))
        return received

    def publish(self, channel: str, message: Any) -> None:
        entry = self._writers.get(channel)
        if entry is None or message.__msgtype__ != entry[0].type:
            self._need_open()
            wanted = self.endpoints.writer(channel).type
            raise TransportError(f"channel {channel!r} carries {wanted}, not {message.__msgtype__}")
        _, writer, sample = entry
        sample.raw = self.types.serialize(message)
        self._write(channel, writer, sample)

    def _write(self, channel: str, writer: Any, sample: Any) -> None:
        try:
            writer.write(sample)
        except self._refusal as error:
            if error.code != self._refusal.DDS_RETCODE_TIMEOUT:
                raise TransportError(f"a message on channel {channel!r} cannot be sent: {error}") from error
            self.dropped += 1

    def matched(self) -> Matched:
        now = time.monotonic_ns()
        if self._participant is not None and now - self._last_refresh_ns >= REFRESH_NS:
            self._last_refresh_ns = now
            self._peers.refresh()
            _domains[self._domain].log.refresh()
            self._matched = self._look_around()
        return self._matched

    def _look_around(self) -> Matched:
        publishers: dict[str, int] = {}
        for endpoint, reader in self._readers:
            count = reader.get_subscription_matched_status().current_count
            publishers[endpoint.channel] = max(publishers.get(endpoint.channel, 0), count)
        command = self._writers.get(COMMAND)
        reset = next((e for e, _ in self._readers if e.channel == ESTOP_RESET), None)
        resetters = self._writing(reset.topic) if reset else ()
        return Matched(
            alive=True,
            subscribers=command[1].get_publication_matched_status().current_count if command else 0,
            publishers=publishers,
            other_writers=self._writing(command[0].topic) if command else (),
            other_resetters=resetters if len(resetters) > 1 else (),
            incompatible=tuple(dict.fromkeys(self._obstacles())),
            notices=self._notices + _domains[self._domain].log.notices,
        )

    def _writing(self, topic: str) -> tuple[str, ...]:
        return tuple(self._peers.name(peer) for peer in self._peers.on_topic(self._peers.writers, topic))

    def _obstacles(self) -> list[str]:
        lines = []
        for endpoint, reader in self._readers:
            found = [
                (peer, self._peers.obstacle(endpoint, peer, peer_writes=True))
                for peer in self._peers.on_topic(self._peers.writers, endpoint.topic)
                if not self._read_otherwise(endpoint, peer)
            ]
            status = reader.get_requested_incompatible_qos_status()
            lines += self._lines(endpoint, found, status.total_count, status.last_policy_id)
        for endpoint, writer, _ in self._writers.values():
            found = [
                (peer, self._peers.obstacle(endpoint, peer, peer_writes=False))
                for peer in self._peers.on_topic(self._peers.readers, endpoint.topic)
            ]
            status = writer.get_offered_incompatible_qos_status()
            lines += self._lines(endpoint, found, status.total_count, status.last_policy_id)
        return lines

    def _read_otherwise(self, endpoint: Endpoint, peer: Any) -> bool:
        """Whether another reader of ours on the same channel hears this peer."""
        return any(
            other.channel == endpoint.channel and self._peers.obstacle(other, peer, peer_writes=True) is None
            for other, _ in self._readers
            if other is not endpoint
        )

    def _lines(self, endpoint: Endpoint, found: list[Any], refused: int, policy: int) -> list[str]:
        lines = [
            f"{endpoint.topic}: {reason}; the peer is {self._peers.name(peer)}"
            for peer, reason in found
            if reason is not None
        ]
        if not lines and refused and found:
            known = dds.POLICY_NAMES.get(policy, f"number {policy}")
            if known not in ("reliability", "durability"):
                names = ", ".join(self._peers.name(peer) for peer, _ in found)
                lines.append(
                    f"{endpoint.topic}: quality of service differs in {known}; the peers are {names}"
                )
        return lines

    def close(self) -> None:
        participant, self._participant = self._participant, None
        self._readers, self._writers, self._arrivals = [], {}, {}
        self._matched = Matched(alive=False, subscribers=0)
        self._peers = self._nodes_writer = None
        if participant is not None:
            _delete(participant)
        domain, self._domain = self._domain, -1
        if domain in _domains:
            _release(domain)

    def _need_open(self) -> None:
        if self._participant is None:
            raise TransportError("this transport is not open")


def _acquire(setup: Discovery) -> None:
    from cyclonedds.core import DDSException
    from cyclonedds.domain import Domain

    known = _domains.get(setup.domain)
    if known is None:
        log = CycloneLog()
        try:
            entity = Domain(setup.domain, f"{log.config},{setup.config}")
        except DDSException as error:
            log.unlink()
            log.close()
            raise TransportError(
                f"DDS domain {setup.domain} cannot be set up ({error}); its configuration is {setup.config}"
            ) from error
        log.unlink()
        known = _domains[setup.domain] = _OpenDomain(setup.config, entity, log)
    elif known.config != setup.config:
        raise TransportError(
            f"DDS domain {setup.domain} is open in this process with another configuration, and has one per process: "
            "use another domain or another process"
        )
    known.users += 1


def _release(domain: int) -> None:
    known = _domains[domain]
    known.users -= 1
    if known.users == 0:
        del _domains[domain]
        _delete(known.entity)
        known.log.close()


def _delete(entity: Any) -> None:
    # The binding deletes an entity when Python forgets it; peers must be told now, not when garbage is collected.
    entity._delete(entity._ref)
