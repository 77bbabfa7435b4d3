"""A DDS participant in a process of its own, made of bare CycloneDDS and types written by hand.

Usage: python cyclone_peer.py DOMAIN MODE. Modes: `echo` sends every command back as joint states; `silent` only takes
part. It knows nothing of dynrl, so that what both understand is what is on the wire.
"""

import sys
import time
from dataclasses import dataclass

from cyclonedds.core import Qos
from cyclonedds.domain import Domain, DomainParticipant
from cyclonedds.idl import IdlStruct
from cyclonedds.idl.types import float64, int32, sequence, uint32
from cyclonedds.pub import DataWriter
from cyclonedds.qos import Policy
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic

CONFIG = (
    '<General><Interfaces><NetworkInterface name="lo" multicast="false"/></Interfaces>'
    "<AllowMulticast>false</AllowMulticast></General><Discovery><ParticipantIndex>auto</ParticipantIndex>"
    '<MaxAutoParticipantIndex>32</MaxAutoParticipantIndex><Peers><Peer Address="127.0.0.1"/></Peers></Discovery>'
)


@dataclass
class Time_(IdlStruct, typename="builtin_interfaces::msg::dds_::Time_"):
    sec: int32
    nanosec: uint32


@dataclass
class Header_(IdlStruct, typename="std_msgs::msg::dds_::Header_"):
    stamp: Time_
    frame_id: str


@dataclass
class JointState_(IdlStruct, typename="sensor_msgs::msg::dds_::JointState_"):
    header: Header_
    name: sequence[str]
    position: sequence[float64]
    velocity: sequence[float64]
    effort: sequence[float64]


def main() -> None:
    number, mode = int(sys.argv[1]), sys.argv[2]
    domain = Domain(number, CONFIG)
    participant = DomainParticipant(number)
    qos = Qos(Policy.Reliability.Reliable(0), Policy.History.KeepLast(1))
    reader = DataReader(participant, Topic(participant, "rt/joint_commands", JointState_), qos=qos)
    writer = DataWriter(participant, Topic(participant, "rt/joint_states", JointState_), qos=qos)
    print("ready", flush=True)
    while domain is not None:
        for sample in reader.take(10):
            if mode == "echo" and isinstance(sample, JointState_):
                writer.write(sample)
        time.sleep(0 if mode == "echo" else 0.01)


if __name__ == "__main__":
    main()
