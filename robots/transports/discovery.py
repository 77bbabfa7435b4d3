"""Where DDS may look for peers: this machine alone, unless an interface was named.

The variables of ROS are honoured, but none of them ever widens what the command line allowed.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from dynrl.robots.transports.base import TransportError

MAX_DOMAIN = 232
SAFE_DOMAIN = 101  # above it the ports lie among those that Linux hands out to anybody
PROCESSES = 33  # of one machine in one domain; all participants of a process share its ports
RANGES = ("OFF", "LOCALHOST", "SUBNET", "SYSTEM_DEFAULT")
OPEN_NETWORK = "anyone on this network can command the robot"
_NETWORK_ELEMENTS = (
    "Interfaces",
    "NetworkInterfaceAddress",
    "Peers",
    "AllowMulticast",
    "ExternalNetworkAddress",
)


@dataclass(frozen=True)
class Discovery:
    """How a DDS domain is to be set up.

    Attributes:
        domain: domain id.
        config: configuration of CycloneDDS, XML fragments separated by commas.
        loopback: nothing leaves this machine.
        notices: lines that the user must see.
    """

    domain: int
    config: str
    loopback: bool
    notices: tuple[str, ...] = ()


def discovery(
    domain: int | None = None, interface: str | None = None, environment: Mapping[str, str] | None = None
) -> Discovery:
    """The set-up for a domain id and an interface, either of which may be left to the environment.

    Raises:
        TransportError: a domain id, interface or variable that cannot be used; variables that contradict the
            interface, or a `CYCLONEDDS_URI` that would open the network without one.
    """
    variables = os.environ if environment is None else environment
    number, notices = _domain(domain, variables)
    span = _range(variables)
    peers, dropped = _static_peers(variables, allow_remote=interface is not None)
    if dropped:
        notices.append(
            f"ROS_STATIC_PEERS: {', '.join(dropped)} left out, because only this machine is allowed; "
            "name an --interface to reach other machines"
        )
    loopback = interface is None or _is_loopback(interface)
    if not loopback and span in ("LOCALHOST", "OFF"):
        raise TransportError(
            f"--interface {interface} contradicts ROS_AUTOMATIC_DISCOVERY_RANGE={span} (or ROS_LOCALHOST_ONLY=1): "
            "leave out one of the two"
        )
    if loopback:
        config = _loopback_config(span, peers)
    else:
        config = _interface_config(str(interface), peers)
        notices.append(f"--interface {interface}: {OPEN_NETWORK}")
    return Discovery(number, config + _user_config(variables, loopback), loopback, tuple(notices))


def ports(domain: int) -> range:
    """UDP ports of a DDS domain (DDSI-RTPS 2.5, section 9.6.2), for as many processes as are allowed."""
    start = 7400 + 250 * domain
    return range(start, start + 12 + 2 * PROCESSES)


def _domain(domain: int | None, variables: Mapping[str, str]) -> tuple[int, list[str]]:
    text = variables.get("ROS_DOMAIN_ID", "").strip()
    source = "--domain" if domain is not None else "ROS_DOMAIN_ID"
    try:
        number = domain if domain is not None else int(text or "0")
    except ValueError:
        raise TransportError(f"ROS_DOMAIN_ID is {text!r}, expected a number from 0 to {MAX_DOMAIN}") from None
    if not 0 <= number <= MAX_DOMAIN:
        raise TransportError(
            f"{source} is {number}, expected 0 to {MAX_DOMAIN} (UDP ports end there); 1 to {SAFE_DOMAIN} are safe"
        )
    notices = []
    if number > SAFE_DOMAIN:
        notices.append(
            f"{source} is {number}: above {SAFE_DOMAIN} its ports may be taken by other programs at any time"
        )
    return number, notices


def _range(variables: Mapping[str, str]) -> str:
    span = variables.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "").strip().upper() or "SUBNET"
    if span not in RANGES:
        raise TransportError(
            f"ROS_AUTOMATIC_DISCOVERY_RANGE is {span!r}, expected one of {', '.join(RANGES)}"
        )
    localhost_only = variables.get("ROS_LOCALHOST_ONLY", "").strip() == "1"
    return "LOCALHOST" if localhost_only and span != "OFF" else span


def _static_peers(variables: Mapping[str, str], allow_remote: bool) -> tuple[list[str], list[str]]:
    given = [peer.strip() for peer in variables.get("ROS_STATIC_PEERS", "").split(";") if peer.strip()]
    kept = [peer for peer in given if allow_remote or _is_loopback(peer)]
    return kept, [peer for peer in given if peer not in kept]


def _is_loopback(interface: str) -> bool:
    if interface in ("lo", "lo0", "localhost"):
        return True
    try:
        return ipaddress.ip_address(interface).is_loopback
    except ValueError:
        return False


def loopback_address() -> str:
    """127.0.0.1, or ::1 on a machine without IPv4.

    Raises:
        TransportError: the machine has no loopback interface that is up.
    """
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.bind((address, 0))
        except OSError:
            continue
        return address
    raise TransportError(
        "the loopback interface is down: neither 127.0.0.1 nor ::1 can be used; in a container run "
        "`ip link set lo up`, or name an --interface"
    )


def _loopback_config(span: str, peers: list[str]) -> str:
    address = loopback_address()
    transport = "<Transport>udp6</Transport>" if ":" in address else ""
    # With discovery off nobody may find us, not even on this machine: a tag that no other process has.
    tag = f"<Tag>dynrl_off_{os.getpid()}</Tag>" if span == "OFF" else ""
    return (
        f'<General>{transport}<Interfaces><NetworkInterface address="{address}" multicast="false"/></Interfaces>'
        f"<AllowMulticast>false</AllowMulticast></General><Discovery>{tag}{_index_and_peers([address, *peers])}"
        "</Discovery>"
    )


def _interface_config(interface: str, peers: list[str]) -> str:
    try:
        ipaddress.ip_address(interface)
        attribute = f"address={quoteattr(interface)}"
    except ValueError:
        known = [name for _, name in socket.if_nameindex()]
        if interface not in known:
            raise TransportError(
                f"--interface {interface!r}: there is no such interface; this machine has {', '.join(known)}"
            ) from None
        attribute = f"name={quoteattr(interface)}"
    return (
        f"<General><Interfaces><NetworkInterface {attribute}/></Interfaces></General>"
        f"<Discovery>{_index_and_peers(peers)}</Discovery>"
    )


def _index_and_peers(peers: list[str]) -> str:
    listed = "".join(f"<Peer Address={quoteattr(peer)}/>" for peer in dict.fromkeys(peers))
    return (
        "<ParticipantIndex>auto</ParticipantIndex>"
        f"<MaxAutoParticipantIndex>{PROCESSES - 1}</MaxAutoParticipantIndex>"
        + (f"<Peers>{listed}</Peers>" if listed else "")
    )


def _user_config(variables: Mapping[str, str], loopback: bool) -> str:
    uri = variables.get("CYCLONEDDS_URI", "").strip()
    if not uri:
        return ""
    if loopback:
        for part in uri.split(","):
            opened = [name for name in _NETWORK_ELEMENTS if re.search(rf"<\s*{name}\b", _text(part.strip()))]
            if opened:
                raise TransportError(
                    f"CYCLONEDDS_URI sets {', '.join(opened)}, but only this machine is allowed: name an --interface, "
                    "or take that out of CYCLONEDDS_URI"
                )
    return f",{uri}"


def _text(part: str) -> str:
    if part.startswith("<") or not part:
        return part
    path = part.removeprefix("file://")
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(1 << 20)
    except (OSError, UnicodeDecodeError) as error:
        raise TransportError(f"CYCLONEDDS_URI names {part}, which cannot be read: {error}") from error
