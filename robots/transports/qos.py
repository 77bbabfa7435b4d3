"""Quality of service: the named profiles, and when a reader and a writer match (OMG DDS 1.4, section 2.2.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Reliability = Literal["reliable", "best_effort"]
Durability = Literal["volatile", "transient_local"]


@dataclass(frozen=True)
class Qos:
    """What a writer offers or a reader asks for.

    Attributes:
        reliability: whether lost messages are sent again.
        durability: whether those who come late get the last messages.
        depth: messages kept.
        lifespan: seconds after which a message is not delivered any more; None for ever.
    """

    reliability: Reliability = "reliable"
    durability: Durability = "volatile"
    depth: int = 10
    lifespan: float | None = None


PROFILES: dict[str, Qos] = {
    "sensor": Qos("best_effort", depth=5),
    "default": Qos(),
    "command": Qos(depth=1),
    "services": Qos(),
    "parameters": Qos(depth=1000),
    "parameter_events": Qos(depth=1000),
    "rosout": Qos(durability="transient_local", depth=1000, lifespan=10.0),
    "clock": Qos("best_effort", depth=1),
    "latched": Qos(durability="transient_local", depth=1),
}


def reading(profile: str) -> Qos:
    """What to ask for in order to match every writer: best effort and volatile, except where a latch is meant."""
    asked = PROFILES[profile]
    return asked if asked.durability == "transient_local" else Qos("best_effort", depth=asked.depth)


def writing(profile: str) -> Qos:
    """What to offer in order to match every reader: reliable, and volatile except where a latch is meant."""
    offered = PROFILES[profile]
    return Qos("reliable", offered.durability, offered.depth, offered.lifespan)


def mismatch(offered: Qos, asked: Qos) -> str | None:
    """The policy for which a writer and a reader do not match, in words; None if they match."""
    if asked.reliability == "reliable" and offered.reliability == "best_effort":
        return "reliability: the reader asks for reliable, the writer offers best effort"
    if asked.durability == "transient_local" and offered.durability == "volatile":
        return "durability: the reader asks for transient local, the writer offers volatile"
    return None
