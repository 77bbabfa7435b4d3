"""Faults that a twin can be told to have, and when: `kind@start:duration,name=value,...`."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dynrl.config import parse_yaml
from dynrl.errors import UserError

Direction = Literal["state", "command", "deployer"]


class FaultError(UserError):
    """A fault that is not one; the message says what would be."""


@dataclass(frozen=True)
class FaultSpec:
    """What a kind of fault does.

    Attributes:
        does: in words.
        parameter: name of its number; "" where it has none.
        default: of that number.
        directions: where it can be, the default first.
    """

    does: str
    parameter: str = ""
    default: float = 0.0
    directions: tuple[Direction, ...] = ("state", "command")


KINDS: Mapping[str, FaultSpec] = {
    "drop": FaultSpec("loses each message with probability p", "p", 1.0),
    "delay": FaultSpec("delivers messages ms later", "ms", 100.0),
    "jitter": FaultSpec("delivers each message up to ms later", "ms", 5.0),
    "duplicate": FaultSpec("sends each message twice"),
    "reorder": FaultSpec("swaps every two messages"),
    "nan": FaultSpec("one number of each message is not a number"),
    "inf": FaultSpec("one number of each message is infinite"),
    "freeze": FaultSpec("repeats the last message, stamp included"),
    "stale": FaultSpec("sends nothing"),
    "permute": FaultSpec("changes the order of the joints in each message"),
    "missing_joint": FaultSpec("leaves one joint out"),
    "short": FaultSpec("leaves out the last number, not its name"),
    "extra_joint": FaultSpec("adds a joint that nobody knows"),
    "jump": FaultSpec("shifts one joint by rad", "rad", 0.5),
    "wrong_unit": FaultSpec("writes degrees instead of radians", "deg", 1.0),
    "clock_back": FaultSpec("stamps s earlier", "s", 10.0),
    "clock_forward": FaultSpec("stamps s later", "s", 10.0),
    "clock_pause": FaultSpec(
        "stamps with the time at which the fault began; /clock stops", "", 0.0, ("state",)
    ),
    "disconnect": FaultSpec("closes the connection and comes back at the end", "", 0.0, ("state",)),
    "qos_mismatch": FaultSpec("asks commands for a durability that nobody offers", "", 0.0, ("command",)),
    "second_commander": FaultSpec("somebody else writes commands too", "", 0.0, ("command",)),
    "slow_policy": FaultSpec("the policy takes ms longer", "ms", 50.0, ("deployer",)),
    "overrun": FaultSpec("each tick takes ms longer", "ms", 50.0, ("deployer",)),
    "kill": FaultSpec("the process dies at once", "", 0.0, ("state", "deployer")),
}


@dataclass(frozen=True)
class ScheduledFault:
    """One fault of a schedule.

    Attributes:
        kind: one of `KINDS`.
        start: seconds after the twin's start.
        duration: seconds; infinite where not given.
        value: the number of the kind (`p`, `ms`, `rad`, `s`).
        direction: on messages of the robot (`state`), on commands (`command`), in the deployer (`deployer`).
        source: name of the only source that it concerns; "" for all.
        joint: wire name of the joint that it concerns; "" for one by chance.
    """

    kind: str
    start: float
    duration: float = math.inf
    value: float = 0.0
    direction: Direction = "state"
    source: str = ""
    joint: str = ""

    def active(self, seconds: float) -> bool:
        """Whether it acts at that time after the start."""
        return self.start <= seconds < self.start + self.duration

    def __str__(self) -> str:
        until = "" if math.isinf(self.duration) else f":{self.duration:g}"
        name = KINDS[self.kind].parameter
        value = f",{name}={self.value:g}" if name else ""
        return f"{self.kind}@{self.start:g}{until}{value},direction={self.direction}"


@dataclass(frozen=True)
class FaultSchedule:
    """All faults of a session."""

    faults: tuple[ScheduledFault, ...] = field(default_factory=tuple)

    def active(self, seconds: float, direction: Direction, source: str = "") -> list[ScheduledFault]:
        """Those that act on a source now, in the order of the schedule."""
        return [
            fault
            for fault in self.faults
            if fault.direction == direction
            and fault.active(seconds)
            and (not fault.source or not source or fault.source == source)
        ]

    def of_kind(self, kind: str) -> list[ScheduledFault]:
        """Those of one kind."""
        return [fault for fault in self.faults if fault.kind == kind]

    def deployer(self, seconds: float) -> dict[str, float]:
        """Faults of the deployer's own process that act now: kind -> value."""
        return {fault.kind: fault.value for fault in self.active(seconds, "deployer")}


def parse_fault(text: str) -> ScheduledFault:
    """`stale@3:0.5` or `drop@1:2,p=0.3,direction=command,source=imu`: from 3 s after the start for 0.5 s.

    Raises:
        FaultError: an unknown kind or parameter, or a number that is none.
    """
    head, *settings = text.split(",")
    kind, at, times = head.partition("@")
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, 1, 0.5)
        advice = f"did you mean {near[0]!r}? " if near else ""
        raise FaultError(f"fault {text!a}: there is no kind {kind!a}; {advice}known: {', '.join(KINDS)}")
    if not at:
        raise FaultError(f"fault {text!a}: expected KIND@START:DURATION, e.g. {kind}@3:0.5")
    start, colon, duration = times.partition(":")
    values: dict[str, Any] = {"start": _number(text, "start", start)}
    if colon:
        values["duration"] = _number(text, "duration", duration)
    spec = KINDS[kind]
    values |= {"value": spec.default, "direction": spec.directions[0]}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise FaultError(f"fault {text!a}: expected name=value, got {setting!a}")
        values |= _setting(text, spec, name.strip(), value.strip())
    return _checked(text, ScheduledFault(kind, **values))


def load_faults(path: str | Path) -> tuple[ScheduledFault, ...]:
    """The faults of a YAML file: a list of lines such as `stale@3:0.5`.

    Raises:
        FaultError: not such a file.
        ConfigError: not YAML.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FaultError(f"{path}: the fault schedule cannot be read: {error}") from error
    values = parse_yaml(text, str(path))
    if not isinstance(values, list) or not all(isinstance(line, str) for line in values):
        raise FaultError(f"{path}: expected a list of faults such as `- stale@3:0.5`")
    return tuple(parse_fault(line) for line in values)


def schedule(faults: Iterable[str | ScheduledFault]) -> FaultSchedule:
    """A schedule from faults, parsed or not.

    Raises:
        FaultError: one cannot be parsed.
    """
    return FaultSchedule(tuple(parse_fault(each) if isinstance(each, str) else each for each in faults))


def _setting(text: str, spec: FaultSpec, name: str, value: str) -> dict[str, Any]:
    if name == "direction":
        if value not in spec.directions:
            raise FaultError(
                f"fault {text!a}: direction is {value!a}, expected {' or '.join(spec.directions)}"
            )
        return {"direction": value}
    if name in ("source", "joint"):
        return {name: value}
    if name and name == spec.parameter:
        return {"value": _number(text, name, value)}
    known = ", ".join(filter(None, (spec.parameter, "direction", "source", "joint")))
    raise FaultError(f"fault {text!a}: there is no setting {name!a}; known: {known}")


def _number(text: str, name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise FaultError(f"fault {text!a}: {name} is {value!a}, expected a number, at least 0")
    return number


def _checked(text: str, fault: ScheduledFault) -> ScheduledFault:
    if fault.kind == "drop" and fault.value > 1:
        raise FaultError(f"fault {text!a}: p is {fault.value:g}, expected a probability")
    if fault.duration == 0:
        raise FaultError(f"fault {text!a}: it lasts 0 s; leave the duration out for a fault without an end")
    return fault
