"""Security of transports: had in full, or the transport is not opened. There is no falling back to plain."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from pathlib import Path

from dynrl.robots.transports.base import SecurityError

ENCLAVE_FILES = {
    "dds.sec.auth.identity_ca": "identity_ca.cert.pem",
    "dds.sec.auth.identity_certificate": "cert.pem",
    "dds.sec.auth.private_key": "key.pem",
    "dds.sec.access.permissions_ca": "permissions_ca.cert.pem",
    "dds.sec.access.governance": "governance.p7s",
    "dds.sec.access.permissions": "permissions.p7s",
}
_LIBRARIES = {
    "auth": ("dds_security_auth", "authentication"),
    "crypto": ("dds_security_crypto", "crypto"),
    "access": ("dds_security_ac", "access_control"),
}


def check_plain(transport: str, environment: Mapping[str, str] | None = None) -> None:
    """Raises `SecurityError` where `ROS_SECURITY_STRATEGY=Enforce` forbids this transport to run without security."""
    variables = os.environ if environment is None else environment
    if variables.get("ROS_SECURITY_STRATEGY", "").strip().lower() == "enforce":
        raise SecurityError(
            f"ROS_SECURITY_STRATEGY=Enforce, and transport {transport} would run without security: give --security "
            "ENCLAVE with transport ros2 and a ROS installation (rclpy), or unset the variable"
        )


def enclave_properties(enclave: Path) -> dict[str, str]:
    """Participant properties of CycloneDDS for an SROS2 enclave folder.

    Raises:
        SecurityError: a file of the enclave is missing, or CycloneDDS cannot do security here.
    """
    missing = [name for name in ENCLAVE_FILES.values() if not (enclave / name).is_file()]
    if missing:
        raise SecurityError(
            f"--security {enclave}: an SROS2 enclave holds {', '.join(ENCLAVE_FILES.values())}; missing: "
            f"{', '.join(missing)}"
        )
    for library, _ in _LIBRARIES.values():
        try:
            ctypes.CDLL(f"lib{library}.so")
        except OSError:
            raise SecurityError(
                f"--security {enclave}: the library {library} is not here (the CycloneDDS wheel comes without the "
                "dds_security_* libraries), so DDS security cannot be had this way, and nothing is sent without it; "
                "use --ros2-backend rclpy with a ROS installation"
            ) from None
    properties = {key: f"file:{enclave / name}" for key, name in ENCLAVE_FILES.items()}
    for part, (library, function) in _LIBRARIES.items():
        properties[f"dds.sec.{part}.library.path"] = library
        properties[f"dds.sec.{part}.library.init"] = f"init_{function}"
        properties[f"dds.sec.{part}.library.finalize"] = f"finalize_{function}"
    return properties


def sros2_settings(enclave: Path) -> tuple[dict[str, str], list[str]]:
    """(environment variables, ROS arguments) that make a ROS installation use an enclave folder, or fail.

    Raises:
        SecurityError: not a folder below `enclaves/` of an SROS2 keystore.
    """
    resolved = enclave.resolve()
    parts = resolved.parts
    if "enclaves" not in parts or not resolved.is_dir():
        raise SecurityError(
            f"--security {enclave}: expected an enclave folder of an SROS2 keystore, KEYSTORE/enclaves/NAME"
        )
    place = len(parts) - 1 - parts[::-1].index("enclaves")
    variables = {
        "ROS_SECURITY_KEYSTORE": str(Path(*parts[:place])),
        "ROS_SECURITY_ENABLE": "true",
        "ROS_SECURITY_STRATEGY": "Enforce",
    }
    return variables, ["--enclave", "/" + "/".join(parts[place + 1 :])]
