"""What can be wrong, by name."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class FaultKind(enum.Enum):
    """Why a deployment leaves ACTIVE; the value is what the log and the report print."""

    STALE = "STALE"
    FROZEN = "FROZEN"
    NONFINITE_OBSERVATION = "NONFINITE_OBSERVATION"
    MALFORMED = "MALFORMED"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    JUMP = "JUMP"
    CLOCK_JUMP = "CLOCK_JUMP"
    DUPLICATE = "DUPLICATE"
    DISCONNECTED = "DISCONNECTED"
    NONFINITE_ACTION = "NONFINITE_ACTION"
    TRACKING = "TRACKING"
    WORKSPACE = "WORKSPACE"
    OVERRUN = "OVERRUN"
    EXCEPTION = "EXCEPTION"
    ESTOP = "ESTOP"
    SECOND_COMMANDER = "SECOND_COMMANDER"

    # Members are singletons, so identity serves as hash; Enum's own costs a string hash in every tick.
    __hash__ = object.__hash__


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        kind: what.
        source: the source whose message or silence it is; "" where it is none.
        detail: for a person: what was found and what was expected.
        dropped: the message must not be used.
        holds: the deployment must leave ACTIVE for HOLDING now.
    """

    kind: FaultKind
    source: str
    detail: str
    dropped: bool = False
    holds: bool = True

    def __str__(self) -> str:
        where = f"({self.source})" if self.source else ""
        return f"{self.kind.value}{where}: {self.detail}"
