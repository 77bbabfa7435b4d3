"""Bidding policies in NumPy alone, one auction at a time: what answers bid requests in production.

This file imports nothing but NumPy and the standard library, and a copy of it goes into every export
(`BidPolicy.export`), so that a bid server needs neither dynrl nor JAX:

    from bid_policy import load
    policy = load("policy.npz")
    ticks = policy.bid(t, b, theta)

A policy with memory says so. It belongs to one episode at a time, and starts anew when `t` is not smaller than at the
last call.
"""

from __future__ import annotations

import json
import shutil
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

FORMAT = 1
KINDS: dict[str, type[BidPolicy]] = {}


class BidPolicy:
    """A bid for each auction.

    Attributes:
        kind: name of the class in files.
        delta_max: largest bid, in ticks.

    Subclasses keep NumPy arrays and numbers only: `arrays()` names them, `from_arrays` takes them back, and
    `wanted(t, b, theta, floor, segment)` is the bid before the cut to the money left.
    """

    kind: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.kind:
            KINDS[cls.kind] = cls

    def __init__(self, delta_max: int) -> None:
        self.delta_max = int(delta_max)

    def wanted(self, t: int, b: int, theta: float, floor: int, segment: int) -> float:
        """The bid in ticks, not yet cut."""
        raise NotImplementedError

    def arrays(self) -> dict[str, Any]:
        """Everything that `from_arrays` needs, by name."""
        raise NotImplementedError

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> BidPolicy:
        """The policy of which `arrays()` gave `arrays`."""
        return cls(**{name: array[()] if array.ndim == 0 else array for name, array in arrays.items()})

    def bid(self, t: int, b: int, theta: float, floor: int = 0, segment: int = 0) -> int:
        """Ticks to bid.

        Args:
            t: auctions left in the episode, this one included.
            b: ticks left.
            theta: predicted click probability, in [0, 1].
            floor: reserve price in ticks.
            segment: segment number.

        Raises:
            ValueError: `t` below 1, `b` negative, or `theta` not a probability.
        """
        if not 0.0 <= theta <= 1.0:
            raise ValueError(f"theta is {theta}, expected a probability in [0, 1]")
        if t < 1 or b < 0:
            raise ValueError(f"t is {t} and b is {b}; expected at least 1 auction left and no debt")
        wanted = self.wanted(t, b, theta, floor, segment)
        limit = min(b, self.delta_max)
        return limit if wanted >= limit else max(int(wanted), 0)

    def observe(self, won: bool, cost: int, click: bool = False) -> None:
        """Tell the policy how the auction ended; most do not need it."""

    def save(self, path: str | PathLike[str]) -> Path:
        """Write one `.npz` file (arrays only, no pickle) that `load` reads; returns its path."""
        target = Path(path).with_suffix(".npz")
        header = json.dumps({"format": FORMAT, "kind": self.kind})
        arrays = {name: np.asarray(value) for name, value in self.arrays().items()}
        with open(target, "wb") as file:
            np.savez(file, policy_header=np.frombuffer(header.encode(), np.uint8), **arrays)
        return target

    def export(self, folder: str | PathLike[str]) -> Path:
        """Write `policy.npz` and `bid_policy.py`, all that a bid server needs beside NumPy, into `folder`."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        self.save(target / "policy.npz")
        shutil.copyfile(__file__, target / "bid_policy.py")
        return target


def load(path: str | PathLike[str]) -> BidPolicy:
    """The policy that `BidPolicy.save` wrote.

    Raises:
        ValueError: not such a file, damaged, or of another format version.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays.pop("policy_header").tobytes())
        kind, version = header["kind"], header["format"]
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{path} is not a bid policy, or is damaged: {error}") from error
    if version != FORMAT or kind not in KINDS:
        raise ValueError(
            f"{path} holds a policy of kind {kind!r}, format {version}; this version reads format {FORMAT} and "
            f"{', '.join(sorted(KINDS))}"
        )
    try:
        return KINDS[kind].from_arrays(arrays)
    except (TypeError, KeyError, IndexError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


class ConstantPolicy(BidPolicy):
    """Always `ticks`."""

    kind = "constant"

    def __init__(self, ticks: float, delta_max: int) -> None:
        super().__init__(delta_max)
        self.ticks = float(ticks)

    def wanted(self, t: int, b: int, theta: float, floor: int, segment: int) -> float:
        return self.ticks

    def arrays(self) -> dict[str, Any]:
        return {"ticks": self.ticks, "delta_max": self.delta_max}


class LinearPolicy(BidPolicy):
    """`slope * theta` ticks."""

    kind = "linear"

    def __init__(self, slope: float, delta_max: int) -> None:
        super().__init__(delta_max)
        self.slope = float(slope)

    def wanted(self, t: int, b: int, theta: float, floor: int, segment: int) -> float:
        return self.slope * theta

    def arrays(self) -> dict[str, Any]:
        return {"slope": self.slope, "delta_max": self.delta_max}
