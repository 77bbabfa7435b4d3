"""Robot descriptions, the control loop and ROS transports.

The names below are imported when they are first used, so that `import dynrl.robots` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynrl.robots.clocks import MonotonicClock, VirtualClock
    from dynrl.robots.deployment import Deployment
    from dynrl.robots.description import Robot, installed_robots
    from dynrl.robots.rehearsal import connect_twin
    from dynrl.robots.replay import replay
    from dynrl.robots.settings import DeploymentConfig

_HOMES = {
    "Deployment": "deployment",
    "DeploymentConfig": "settings",
    "MonotonicClock": "clocks",
    "Robot": "description",
    "VirtualClock": "clocks",
    "connect_twin": "rehearsal",
    "installed_robots": "description",
    "replay": "replay",
}

__all__ = [
    "Deployment",
    "DeploymentConfig",
    "MonotonicClock",
    "Robot",
    "VirtualClock",
    "connect_twin",
    "installed_robots",
    "replay",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
