"""Between policy and wire: what may come in, and what may go out."""

from dynrl.robots.safety.faults import Fault, FaultKind
from dynrl.robots.safety.limits import Limits
from dynrl.robots.safety.position import PositionFilter, UnsafeStart

__all__ = ["Fault", "FaultKind", "Limits", "PositionFilter", "UnsafeStart"]
