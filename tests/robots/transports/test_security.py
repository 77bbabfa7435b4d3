"""Security is had in full or the transport stays shut."""

import ctypes
from pathlib import Path

import pytest

from dynrl.robots.clocks import VirtualClock
from dynrl.robots.description import Robot
from dynrl.robots.messages import MessageTypes
from dynrl.robots.transports import (
    SecurityError,
    SimTransport,
    TransportError,
    TransportOptions,
    deployer_endpoints,
    twin_endpoints,
)
from dynrl.robots.transports.choice import choose_backend, make_transport
from dynrl.robots.transports.security import ENCLAVE_FILES, enclave_properties, sros2_settings

CYCLONE = "cyclonedds"


@pytest.fixture
def enclave(tmp_path: Path) -> Path:
    for name in ENCLAVE_FILES.values():
        (tmp_path / name).write_text("x")
    return tmp_path


def test_enclave_without_libraries_is_refused_with_the_reason(
    enclave: Path, robot: Robot, types: MessageTypes, domain: int
) -> None:
    options = TransportOptions(domain=domain, security=enclave, backend=CYCLONE)
    transport = make_transport("ros2", deployer_endpoints(robot, options), options, types)
    with pytest.raises(
        SecurityError, match=r"wheel comes without the dds_security_\* libraries.*nothing is sent without"
    ):
        transport.open()
    assert not transport.matched().alive


def test_enclave_that_cyclone_does_not_accept_never_becomes_a_plain_connection(
    enclave: Path, robot: Robot, types: MessageTypes, domain: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The libraries seem to load, and CycloneDDS itself finds that they, or the files, are none."""
    options = TransportOptions(domain=domain, security=enclave, backend=CYCLONE)
    transport = make_transport("ros2", deployer_endpoints(robot, options), options, types)
    monkeypatch.setattr("dynrl.robots.transports.security.ctypes.CDLL", lambda name: None)
    with pytest.raises(SecurityError, match="CycloneDDS does not accept this enclave"):
        transport.open()
    assert not transport.matched().alive


def test_incomplete_enclave_names_what_is_missing(enclave: Path) -> None:
    (enclave / "key.pem").unlink()
    (enclave / "governance.p7s").unlink()
    with pytest.raises(SecurityError, match=r"missing: key\.pem, governance\.p7s"):
        enclave_properties(enclave)


def test_properties_where_the_libraries_load(enclave: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(ctypes, "CDLL", loaded.append)
    properties = enclave_properties(enclave)
    assert properties["dds.sec.auth.private_key"] == f"file:{enclave}/key.pem"
    assert properties["dds.sec.access.library.path"] == "dds_security_ac"
    assert properties["dds.sec.auth.library.init"] == "init_authentication"
    assert properties["dds.sec.access.library.finalize"] == "finalize_access_control"
    assert len(properties) == 15
    assert loaded == [f"libdds_security_{part}.so" for part in ("auth", "crypto", "ac")]


def test_enclave_of_a_keystore_for_ros(tmp_path: Path) -> None:
    enclave = tmp_path / "keys" / "enclaves" / "robots" / "arm"
    enclave.mkdir(parents=True)
    variables, arguments = sros2_settings(enclave)
    assert variables["ROS_SECURITY_KEYSTORE"] == str((tmp_path / "keys").resolve())
    assert (variables["ROS_SECURITY_ENABLE"], variables["ROS_SECURITY_STRATEGY"]) == ("true", "Enforce")
    assert arguments == ["--enclave", "/robots/arm"]
    for wrong in (tmp_path, tmp_path / "enclaves" / "absent"):
        with pytest.raises(SecurityError, match="expected an enclave folder of an SROS2 keystore"):
            sros2_settings(wrong)


@pytest.mark.parametrize("kind", ["ros2", "ros1", "rosbridge"])
def test_enforced_security_forbids_plain_transports(
    kind: str, robot: Robot, types: MessageTypes, domain: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROS_SECURITY_STRATEGY", "Enforce")
    options = TransportOptions(domain=domain, backend=CYCLONE)
    transport = make_transport(kind, deployer_endpoints(robot, options), options, types)
    with pytest.raises(
        SecurityError, match=f"ROS_SECURITY_STRATEGY=Enforce, and transport {kind} would run without"
    ):
        transport.open()
    sides = SimTransport.pair(
        deployer_endpoints(robot, options), twin_endpoints(robot, options), VirtualClock()
    )
    for side in sides:
        side.open()  # nothing leaves the process
        side.close()


@pytest.mark.parametrize("kind", ["ros1", "rosbridge"])
def test_transports_without_security_refuse_an_enclave(
    kind: str, enclave: Path, robot: Robot, types: MessageTypes
) -> None:
    options = TransportOptions(security=enclave)
    with pytest.raises(SecurityError, match=f"transport {kind} has no security"):
        make_transport(kind, deployer_endpoints(robot, options), options, types).open()


@pytest.mark.parametrize(
    ("asked", "variables", "expected"),
    [
        ("auto", {}, "cyclonedds"),
        ("cyclonedds", {"AMENT_PREFIX_PATH": "/opt/ros/jazzy"}, "cyclonedds"),
        ("cyclonedds", {"RMW_IMPLEMENTATION": "rmw_zenoh_cpp"}, "cyclonedds"),
        ("auto", {"RMW_IMPLEMENTATION": "rmw_fastrtps_cpp"}, "cyclonedds"),
    ],
)
def test_backend(asked: str, variables: dict[str, str], expected: str) -> None:
    assert choose_backend(TransportOptions(backend=asked), variables) == expected  # type: ignore[arg-type]


def test_backend_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TransportError, match="--ros2-backend rclpy needs rclpy, which cannot be imported"):
        choose_backend(TransportOptions(backend="rclpy"), {})
    with pytest.raises(TransportError, match="Zenoh one, which needs rclpy"):
        choose_backend(TransportOptions(), {"RMW_IMPLEMENTATION": "rmw_zenoh_cpp"})
    assert choose_backend(TransportOptions(), {"AMENT_PREFIX_PATH": "/opt/ros/jazzy"}) == "cyclonedds"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert choose_backend(TransportOptions(), {"AMENT_PREFIX_PATH": "/opt/ros/jazzy"}) == "rclpy"
    assert choose_backend(TransportOptions(), {"RMW_IMPLEMENTATION": "rmw_zenoh_cpp"}) == "rclpy"


def test_unknown_transport(robot: Robot) -> None:
    options = TransportOptions()
    with pytest.raises(TransportError, match="'zmq' is unknown; expected sim, ros2, ros1, rosbridge"):
        make_transport("zmq", deployer_endpoints(robot, options), options)
