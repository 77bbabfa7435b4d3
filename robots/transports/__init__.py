"""How messages travel between the control loop and a robot: one protocol, several carriers."""

from dynrl.robots.transports.base import (
    Endpoint,
    Endpoints,
    Matched,
    Received,
    SecurityError,
    Transport,
    TransportError,
    TransportOptions,
    deployer_endpoints,
    operator_endpoints,
    parse_remaps,
    twin_endpoints,
)
from dynrl.robots.transports.qos import PROFILES, Qos
from dynrl.robots.transports.sim import SimNetwork, SimTransport

__all__ = [
    "PROFILES",
    "Endpoint",
    "Endpoints",
    "Matched",
    "Qos",
    "Received",
    "SecurityError",
    "SimNetwork",
    "SimTransport",
    "Transport",
    "TransportError",
    "TransportOptions",
    "deployer_endpoints",
    "operator_endpoints",
    "parse_remaps",
    "twin_endpoints",
]
