"""The closed lists of the contract: format, units, kinds of terms."""

import difflib
from collections.abc import Sequence
from typing import Any

FORMAT = "dynrl.policy/1"

UNITS = ("rad", "rad/s", "rad/s^2", "m", "m/s", "m/s^2", "N", "N.m", "Pa", "s", "1")

JOINT = "joint"
MUSCLE = "muscle"
ACTION = "action"
OBSERVATION_KINDS: dict[str, Any] = {
    "state/joint/position": JOINT,
    "state/joint/velocity": JOINT,
    "state/joint/effort": JOINT,
    "state/body/rotation": (4,),
    "state/body/angular_velocity": (3,),
    "state/body/linear_acceleration": (3,),
    "state/body/linear_velocity": (3,),
    "state/body/projected_gravity": (3,),
    "state/body/pose": (7,),
    "state/muscle/pressure": MUSCLE,
    "state/camera/image": None,
    "command/body/velocity": (3,),
    "command/pose": (7,),
    "command/joint/position": JOINT,
    "command/scalar": (1,),
    "memory/action": ACTION,
    "clock/phase": (2,),
}
"""Kind -> shape of one sample. JOINT: one number per joint of the term; MUSCLE: two per joint, joint by joint
(agonist, antagonist); ACTION: the raw action; None: `shape` says it."""

ACTION_KINDS: dict[str, Any] = {
    "target/joint/position": JOINT,
    "target/joint/velocity": JOINT,
    "target/joint/effort": JOINT,
    "target/muscle/pressure": MUSCLE,
    "target/body/velocity": (3,),
}
SHAPES = {"command/pose": ((3,), (7,)), "command/scalar": None, "state/camera/image": None}
"""Kinds whose `shape` may be given: to one of these, or to anything (None)."""


def closest(name: str, known: Sequence[str]) -> list[str]:
    """`known`, the most similar to `name` first."""
    return sorted(known, key=lambda other: -difflib.SequenceMatcher(None, name, other).ratio())
