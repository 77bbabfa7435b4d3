"""Who else is in a DDS domain, from its built-in topics and from ROS's own list of nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dynrl.robots.messages import Malformed, MessageTypes
from dynrl.robots.transports import dds
from dynrl.robots.transports.base import Endpoint
from dynrl.robots.transports.qos import Qos, mismatch

NODES_TOPIC = "ros_discovery_info"
NODES_TYPE = "rmw_dds_common/msg/ParticipantEntitiesInfo"
NODES_QOS = Qos("reliable", "transient_local", depth=1)
_BATCH = 1000
_DEPTH = 100


@dataclass(frozen=True)
class Peer:
    """A reader or writer of another participant.

    Attributes:
        topic: DDS topic.
        type: DDS type.
        qos: what it offers or asks for.
        participant: key of its participant.
        key: its own key, 16 bytes.
    """

    topic: str
    type: str
    qos: Qos
    participant: Any
    key: bytes


class Peers:
    """The readers, writers and nodes of all other participants; `refresh` brings it up to date.

    Args:
        participant: ours.
        types: message types.
    """

    def __init__(self, participant: Any, types: MessageTypes) -> None:
        from cyclonedds.builtin import (
            BuiltinDataReader,
            BuiltinTopicDcpsParticipant,
            BuiltinTopicDcpsPublication,
            BuiltinTopicDcpsSubscription,
        )
        from cyclonedds.sub import DataReader
        from cyclonedds.topic import Topic

        self._own = participant.guid
        self._types = types
        self._readers = {
            "writers": BuiltinDataReader(participant, BuiltinTopicDcpsPublication),
            "readers": BuiltinDataReader(participant, BuiltinTopicDcpsSubscription),
            "participants": BuiltinDataReader(participant, BuiltinTopicDcpsParticipant),
        }
        topic: Any = Topic(participant, NODES_TOPIC, dds.wire_type(types, NODES_TYPE))
        # Each participant's list replaces its last one, but all participants share one keyless instance.
        qos = dds.dds_qos(Qos("reliable", "transient_local", depth=_DEPTH), types.type_hash(NODES_TYPE))
        self._nodes_reader = DataReader(participant, topic, qos=qos)
        self.writers: dict[Any, Peer] = {}
        self.readers: dict[Any, Peer] = {}
        self._participants: dict[Any, str] = {}
        self._nodes: dict[bytes, dict[bytes, str]] = {}

    def refresh(self) -> bool:
        """Take in what has changed; True if anything has."""
        changed = self._refresh_endpoints("writers", self.writers)
        changed |= self._refresh_endpoints("readers", self.readers)
        changed |= self._refresh_participants()
        return self._refresh_nodes() or changed

    def on_topic(self, peers: dict[Any, Peer], topic: str) -> Iterator[Peer]:
        """Those of `self.writers` or `self.readers` that are on a ROS topic."""
        wanted = dds.topic_name(topic)
        return (peer for peer in peers.values() if peer.topic == wanted)

    def name(self, peer: Peer) -> str:
        """The ROS node that a peer belongs to, else its process; escaped, since it came over the wire."""
        for entities in self._nodes.values():
            if peer.key in entities:
                return entities[peer.key]
        return self._participants.get(peer.participant, f"participant {peer.participant}")

    def obstacle(self, offered: Endpoint, peer: Peer, peer_writes: bool) -> str | None:
        """Why an endpoint of ours and a peer on its topic do not match, in words; None if they do."""
        if peer.type != dds.type_name(offered.type):
            found, expected = ascii(dds.ros_type(peer.type))[1:-1], offered.type
            return f"found {peer.topic} of type {found}, expected {expected}"
        return mismatch(peer.qos, offered.qos) if peer_writes else mismatch(offered.qos, peer.qos)

    def _refresh_endpoints(self, kind: str, known: dict[Any, Peer]) -> bool:
        samples = self._readers[kind].take(_BATCH)
        for sample in samples:
            if not sample.sample_info.valid_data:
                known.pop(sample.key, None)
            elif sample.participant_key != self._own:
                known[sample.key] = Peer(
                    sample.topic_name,
                    sample.type_name,
                    dds.qos_of(sample.qos),
                    sample.participant_key,
                    sample.key.bytes,
                )
        return bool(samples)

    def _refresh_participants(self) -> bool:
        samples = self._readers["participants"].take(_BATCH)
        for sample in samples:
            if not sample.sample_info.valid_data:
                self._participants.pop(sample.key, None)
                self._nodes.pop(sample.key.bytes, None)
            else:
                self._participants[sample.key] = _process(sample)
        return bool(samples)

    def _refresh_nodes(self) -> bool:
        samples = [s for s in self._nodes_reader.take(_DEPTH) if s.sample_info.valid_data]
        for sample in samples:
            message = self._types.decode(sample.raw, NODES_TYPE)
            if isinstance(message, Malformed):
                continue  # names are a courtesy: without them a peer is called by its process
            entities = {}
            for node in message.node_entities_info_seq:
                name = ascii(f"{node.node_namespace.rstrip('/')}/{node.node_name}")[1:-1]
                for gid in (*node.reader_gid_seq, *node.writer_gid_seq):
                    entities[bytes(gid.data[:16])] = f"node {name}"
            self._nodes[bytes(message.gid.data[:16])] = entities
        return bool(samples)


def announcement(
    types: MessageTypes, node: str, participant: Any, readers: list[Any], writers: list[Any]
) -> Any:
    """The message that makes `ros2 node list` know us."""
    namespace, _, name = node.rpartition("/")
    info = types.new(
        "rmw_dds_common/msg/NodeEntitiesInfo",
        node_namespace=namespace or "/",
        node_name=name,
        reader_gid_seq=[_gid(types, reader) for reader in readers],
        writer_gid_seq=[_gid(types, writer) for writer in writers],
    )
    return types.new(NODES_TYPE, gid=_gid(types, participant), node_entities_info_seq=[info])


def _gid(types: MessageTypes, entity: Any) -> Any:
    import numpy as np

    gid = types.new("rmw_dds_common/msg/Gid")
    gid.data[:16] = np.frombuffer(entity.guid.bytes, np.uint8)  # Humble's has 24 bytes, the rest zero
    return gid


def _process(sample: Any) -> str:
    from cyclonedds.qos import Policy

    properties = {policy.key: policy.value for policy in sample.qos if isinstance(policy, Policy.Property)}
    program, pid, host = (properties.get(f"__{key}") for key in ("ProcessName", "Pid", "Hostname"))
    if pid is None:
        return f"participant {sample.key}"
    return ascii(f"{program}, process {pid} on {host}")[1:-1]
