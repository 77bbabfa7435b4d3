"""One uncertain parameter: what it addresses, between which bounds, and how a number becomes its value."""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
import re
from typing import Any

MODEL_KINDS = ("body", "geom", "joint", "actuator", "tendon", "option")
KINDS = (*MODEL_KINDS, "attr", "force", "delay")
_EXAMPLES = (
    "body:torso.mass, geom:floor.friction[0], joint:*.damping, actuator:*.gain, option.gravity[2], attr:length, "
    "force:foot[0,2], delay.action"
)
_INDEX = re.compile(r"^(?P<text>.*?)(\[(?P<index>\s*\d+\s*(,\s*\d+\s*)*)\])?$")


@dataclasses.dataclass(frozen=True)
class Target:
    """A target's text, taken apart.

    Attributes:
        kind: one of `KINDS`.
        pattern: name or glob of the objects (`"torso"`, `"*"`, `"#4"` for the object with index 4); the attribute's
            name for `attr`; empty for `option` and `delay`.
        attribute: `"mass"`, `"friction"`, ...; empty for `attr` and `force`.
        index: the components of a vector that the parameter sets; empty for all of them or for a scalar.
    """

    kind: str
    pattern: str
    attribute: str
    index: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Target:
        """Take a target's text apart.

        Raises:
            ValueError: it is no target; shows what targets look like.
        """
        match = _INDEX.match(text) if isinstance(text, str) else None
        if match is None or not match["text"]:
            raise ValueError(f"parameter target {text!r} is empty or no text; targets look like {_EXAMPLES}.")
        index = tuple(int(part) for part in match["index"].split(",")) if match["index"] else ()
        body = match["text"]
        if body.startswith("option."):
            return cls("option", "", body.removeprefix("option."), index)
        if body.startswith("delay."):
            if body != "delay.action" or index:
                raise ValueError(f"parameter target {text!r} is unknown; the only delay is 'delay.action'.")
            return cls("delay", "", "action", ())
        kind, colon, rest = body.partition(":")
        if not colon or kind not in KINDS or not rest:
            close = difflib.get_close_matches(kind.split(".")[0], KINDS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close and close[0] != kind else ""
            raise ValueError(f"parameter target {text!r} is unknown; targets look like {_EXAMPLES}.{hint}")
        if kind == "attr":
            if index:
                raise ValueError(f"parameter target {text!r}: a plain attribute takes no index.")
            return cls(kind, rest, "", ())
        if kind == "force":
            if not index or max(index) > 2:
                raise ValueError(
                    f"parameter target {text!r} needs axes 0, 1 or 2 (x, y, z), as in 'force:foot[0,2]'."
                )
            return cls(kind, rest, "", index)
        pattern, dot, attribute = rest.rpartition(".")
        if not dot or not pattern or not attribute:
            raise ValueError(f"parameter target {text!r} names no attribute; targets look like {_EXAMPLES}.")
        return cls(kind, pattern, attribute, index)


@dataclasses.dataclass(frozen=True)
class Param:
    """An uncertain parameter of an environment.

    Targets: `body:NAME.{mass,inertia,ipos,pos}`, `geom:NAME.{friction,solref,solimp,margin,gap,size}`,
    `joint:NAME.{damping,stiffness,armature,frictionloss,range,springref,solref,solimp}`,
    `actuator:NAME.{gain,bias,gear,ctrlrange,forcerange,dynamics}`,
    `tendon:NAME.{stiffness,damping,frictionloss,range,lengthspring}`,
    `option.{gravity,timestep,wind,density,viscosity,impratio}`, each with `[i]` or `[i,j]` for components;
    `attr:NAME` (a plain attribute, or a leaf of a functional environment's `params`), `force:BODY[axes]` (newtons, one
    parameter per axis), `delay.action` (control steps). `*` and `?` in a name match several objects of a model, which
    then share the value (a force acts on one body); `#4` is the object with index 4, for those without a name.

    Attributes:
        target: what it sets.
        low: lower bound, in natural units (with `mode="scale"`: of the factor).
        high: upper bound, included.
        mode: `"absolute"`: the value itself; `"scale"`: a factor on the nominal value.
        scope: for the friction of a geom. `"contact"` (None means this): the value is the friction of its contacts, so
            that the geoms it can touch get it too (MuJoCo takes the larger friction of the two). `"floor"`: the named
            geom alone, as the literature does; it has no effect below the other geom's friction.
        scale: `"linear"` or `"log"`: how the unit interval maps to [low, high].
        dtype: `float`, or `int` for whole numbers.
        nominal: the reference value; None reads it from the model, or is 1 for factors and 0 for forces and delays.

    Raises:
        ValueError: bounds that are not finite or the wrong way round, or an unknown target, mode, scope, scale or
            dtype; names the parameter.
    """

    target: str
    low: float
    high: float
    mode: str = "absolute"
    scope: str | None = None
    scale: str = "linear"
    dtype: type = float
    nominal: float | None = None

    def __post_init__(self) -> None:
        target = Target.parse(self.target)
        self._check_number("low", self.low)
        self._check_number("high", self.high)
        if self.low > self.high:
            raise ValueError(f"parameter {self.target!r}: low {self.low} is above high {self.high}.")
        _choice(self.target, "mode", self.mode, ("absolute", "scale"))
        _choice(self.target, "scale", self.scale, ("linear", "log"))
        friction = target.kind == "geom" and target.attribute == "friction"
        if self.scope is not None:
            _choice(self.target, "scope", self.scope, ("contact", "floor"))
            if not friction:
                raise ValueError(
                    f"parameter {self.target!r}: scope is for the friction of geoms; leave it out."
                )
        elif friction:
            object.__setattr__(self, "scope", "contact")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"parameter {self.target!r}: a log scale needs low > 0, got {self.low}.")
        if self.dtype not in (int, float):
            raise ValueError(f"parameter {self.target!r}: dtype is {self.dtype!r}, expected int or float.")
        if self.mode == "scale" and target.kind in ("force", "delay"):
            raise ValueError(
                f"parameter {self.target!r}: there is no nominal value to scale; use mode='absolute'."
            )
        whole = self.dtype is int or target.kind == "delay"
        if whole and (self.low != int(self.low) or self.high != int(self.high)):
            raise ValueError(
                f"parameter {self.target!r}: whole bounds expected, got [{self.low}, {self.high}]."
            )
        if target.kind == "delay":
            if self.low < 0:
                raise ValueError(f"parameter {self.target!r}: a delay is not negative, got low {self.low}.")
            object.__setattr__(self, "dtype", int)
        if self.nominal is not None:
            self._check_number("nominal", self.nominal)
        object.__setattr__(self, "low", float(self.low))
        object.__setattr__(self, "high", float(self.high))

    def _check_number(self, name: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
            raise ValueError(f"parameter {self.target!r}: {name} is {value!r}, expected a finite number.")

    @property
    def parsed(self) -> Target:
        """The target, taken apart."""
        return Target.parse(self.target)

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return self.parsed.kind

    @property
    def known_nominal(self) -> float | None:
        """The nominal value as far as it is known without a model."""
        if self.nominal is not None:
            return float(self.nominal)
        if self.mode == "scale":
            return 1.0
        return 0.0 if self.kind in ("force", "delay") else None

    def split(self) -> tuple[Param, ...]:
        """One parameter per dimension: a force has one for every axis, everything else is one."""
        target = self.parsed
        if target.kind != "force" or len(target.index) == 1:
            return (self,)
        return tuple(
            dataclasses.replace(self, target=f"force:{target.pattern}[{axis}]") for axis in target.index
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON value that `from_dict` reads."""
        return {**dataclasses.asdict(self), "dtype": self.dtype.__name__}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Param:
        """The parameter that `to_dict` wrote.

        Raises:
            ValueError: a key is unknown or missing, or a value is wrong.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"a parameter has no {unknown[0]!r}; expected {sorted(known)}.")
        missing = sorted({"target", "low", "high"} - set(values))
        if missing:
            raise ValueError(f"a parameter lacks {missing[0]!r}: {values}.")
        dtypes = {"int": int, "float": float}
        dtype = values.get("dtype", "float")
        if dtype not in dtypes:
            raise ValueError(
                f"parameter {values['target']!r}: dtype is {dtype!r}, expected 'int' or 'float'."
            )
        return cls(**{**values, "dtype": dtypes[dtype]})


def _choice(target: str, name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"parameter {target!r}: {name} is {value!r}, expected one of {list(allowed)}.")
