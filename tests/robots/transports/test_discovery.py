"""Where DDS may look: loopback unless told otherwise, and no variable widens that."""

import os
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from dynrl.robots.transports import TransportError
from dynrl.robots.transports import discovery as module
from dynrl.robots.transports.discovery import discovery, loopback_address


def tree(config: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<Domain>{config}</Domain>")


def test_nothing_leaves_the_machine_by_default() -> None:
    setup = discovery(environment={})
    config = tree(setup.config)
    assert setup.loopback
    assert setup.notices == ()
    assert [e.attrib for e in config.iter("NetworkInterface")] == [
        {"address": "127.0.0.1", "multicast": "false"}
    ]
    assert config.findtext("General/AllowMulticast") == "false"
    assert [e.attrib["Address"] for e in config.iter("Peer")] == ["127.0.0.1"]
    assert config.findtext("Discovery/MaxAutoParticipantIndex") == "32"


@pytest.mark.parametrize(
    ("option", "variable", "expected"),
    [(None, "", 0), (None, "7", 7), (3, "7", 3), (0, "7", 0), (None, " 5 ", 5)],
)
def test_domain_comes_from_the_option_then_from_ros(option: int | None, variable: str, expected: int) -> None:
    assert discovery(option, environment={"ROS_DOMAIN_ID": variable}).domain == expected


@pytest.mark.parametrize(
    ("option", "variable", "expected"),
    [
        (233, "", "--domain is 233, expected 0 to 232"),
        (-1, "", "--domain is -1"),
        (None, "233", "ROS_DOMAIN_ID is 233"),
        (None, "abc", "ROS_DOMAIN_ID is 'abc', expected a number"),
    ],
)
def test_impossible_domains(option: int | None, variable: str, expected: str) -> None:
    with pytest.raises(TransportError, match=re.escape(expected)):
        discovery(option, environment={"ROS_DOMAIN_ID": variable})


def test_unsafe_domain_is_said() -> None:
    assert discovery(101, environment={}).notices == ()
    (notice,) = discovery(102, environment={}).notices
    assert "above 101 its ports may be taken" in notice


@pytest.mark.parametrize("interface", ["lo", "127.0.0.1", "localhost", "::1"])
def test_naming_the_loopback_opens_nothing(interface: str) -> None:
    assert discovery(0, interface, {}) == discovery(0, None, {})


def test_an_interface_is_an_explicit_and_loud_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth1")])
    for interface, attributes in (("eth1", {"name": "eth1"}), ("192.168.80.2", {"address": "192.168.80.2"})):
        setup = discovery(0, interface, {"ROS_STATIC_PEERS": "10.0.0.7;robot"})
        assert not setup.loopback
        assert setup.notices == (f"--interface {interface}: anyone on this network can command the robot",)
        config = tree(setup.config)
        assert [e.attrib for e in config.iter("NetworkInterface")] == [attributes]
        assert [e.attrib["Address"] for e in config.iter("Peer")] == ["10.0.0.7", "robot"]
    with pytest.raises(TransportError, match="'eth9': there is no such interface; this machine has lo, eth1"):
        discovery(0, "eth9", {})


@pytest.mark.parametrize(
    "variables", [{"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, {"ROS_LOCALHOST_ONLY": "1"}]
)
def test_variables_that_narrow_contradict_an_interface(variables: dict[str, str]) -> None:
    with pytest.raises(TransportError, match="contradicts ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST"):
        discovery(0, "192.168.80.2", variables)
    assert discovery(0, None, variables).loopback


@pytest.mark.parametrize(
    "variables",
    [
        {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"},
        {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SYSTEM_DEFAULT"},
        {"ROS_LOCALHOST_ONLY": "0"},
    ],
)
def test_no_variable_widens_the_loopback(variables: dict[str, str]) -> None:
    assert discovery(0, None, variables) == discovery(0, None, {})


def test_static_peers_elsewhere_are_left_out_and_said() -> None:
    setup = discovery(0, None, {"ROS_STATIC_PEERS": "127.0.0.1;10.0.0.7; localhost"})
    assert [e.attrib["Address"] for e in tree(setup.config).iter("Peer")] == ["127.0.0.1", "localhost"]
    (notice,) = setup.notices
    assert "10.0.0.7 left out" in notice


def test_discovery_off_is_a_tag_of_this_process() -> None:
    config = tree(discovery(0, None, {"ROS_AUTOMATIC_DISCOVERY_RANGE": "off"}).config)
    assert config.findtext("Discovery/Tag") == f"dynrl_off_{os.getpid()}"
    with pytest.raises(
        TransportError, match="'NEAR', expected one of OFF, LOCALHOST, SUBNET, SYSTEM_DEFAULT"
    ):
        discovery(0, None, {"ROS_AUTOMATIC_DISCOVERY_RANGE": "near"})


def test_cyclone_uri_is_appended_unless_it_opens_the_network(tmp_path: Path) -> None:
    harmless = "<Tracing><Verbosity>warning</Verbosity></Tracing>"
    assert discovery(0, None, {"CYCLONEDDS_URI": harmless}).config.endswith("," + harmless)
    opening = '<General><Interfaces><NetworkInterface autodetermine="true"/></Interfaces></General>'
    file = tmp_path / "cyclone.xml"
    file.write_text(f"<CycloneDDS><Domain>{opening}</Domain></CycloneDDS>")
    for uri in (opening, f"file://{file}", f"{harmless},{file}"):
        with pytest.raises(
            TransportError, match="CYCLONEDDS_URI sets Interfaces, but only this machine is allowed"
        ):
            discovery(0, None, {"CYCLONEDDS_URI": uri})
    assert discovery(0, "192.168.80.2", {"CYCLONEDDS_URI": opening}).config.endswith(opening)
    with pytest.raises(TransportError, match="cannot be read"):
        discovery(0, None, {"CYCLONEDDS_URI": f"file://{tmp_path}/absent.xml"})


def test_machine_without_ipv4_uses_ipv6_and_without_loopback_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoIpv4(module.socket.socket):
        def bind(self, address: object) -> None:
            if self.family == module.socket.AF_INET:
                raise OSError("no such address")

    monkeypatch.setattr(module.socket, "socket", NoIpv4)
    assert loopback_address() == "::1"
    config = tree(discovery(0, None, {}).config)
    assert config.findtext("General/Transport") == "udp6"
    assert [e.attrib["Address"] for e in config.iter("Peer")] == ["::1"]

    class Down(module.socket.socket):
        def bind(self, address: object) -> None:
            raise OSError("no such address")

    monkeypatch.setattr(module.socket, "socket", Down)
    with pytest.raises(TransportError, match=r"the loopback interface is down.*ip link set lo up"):
        discovery(0, None, {})
