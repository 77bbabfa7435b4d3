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

import bisect
import json
import math
import os
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
    def from_arrays(cls, arrays: dict[str, Any]) -> BidPolicy:
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
        arrays: dict[str, Any] = {name: np.asarray(value) for name, value in self.arrays().items()}
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            with open(temporary, "wb") as file:
                np.savez(file, policy_header=np.frombuffer(header.encode(), np.uint8), **arrays)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
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


def uniform_at(stream: int, t: int) -> float:
    """The draw in [0, 1) for auction `t` of a stream (SplitMix64: Steele, Lea and Flood, OOPSLA 2014)."""
    z = (stream + t * 0x9E3779B97F4A7C15) & _WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _WORD
    return ((z ^ (z >> 31)) >> 11) * 2.0**-53


_WORD = 2**64 - 1


def interpolate(x: float, xs: list[float], ys: list[float]) -> float:
    """The line through points of ascending `xs`, constant beyond the ends; on numbers faster than `numpy.interp`."""
    if x >= xs[-1]:
        return ys[-1]
    upper = bisect.bisect_right(xs, x)
    if upper == 0:
        return ys[0]
    left = xs[upper - 1]
    share = (x - left) / (xs[upper] - left)
    return ys[upper - 1] + share * (ys[upper] - ys[upper - 1])


class Ortb1Policy(BidPolicy):
    """`sqrt(c theta / lam + c^2) - c` ticks."""

    kind = "ortb1"

    def __init__(self, c: float, lam: float, delta_max: int) -> None:
        super().__init__(delta_max)
        self.c, self.lam = float(c), float(lam)

    def wanted(self, t: int, b: int, theta: float, floor: int, segment: int) -> float:
        return math.sqrt(self.c * theta / self.lam + self.c**2) - self.c

    def arrays(self) -> dict[str, Any]:
        return {"c": self.c, "lam": self.lam, "delta_max": self.delta_max}


class Ortb2Policy(Ortb1Policy):
    """The root of `a^3 + 3 c^2 a = 2 c^2 theta / lam`, in ticks."""

    kind = "ortb2"

    def wanted(self, t: int, b: int, theta: float, floor: int, segment: int) -> float:
        scaled = self.c * self.lam
        root = math.cbrt((theta + math.sqrt(scaled**2 + theta**2)) / scaled)
        return self.c * (root - 1 / root)


class ShadingPolicy(BidPolicy):
    """First price: the bid a >= floor with the largest `(value * theta - a) * win[segment, a]`, none if all lose."""

    kind = "shading"

    def __init__(self, value: float, win: Any, delta_max: int) -> None:
        super().__init__(delta_max)
        self.value, self.win = float(value), np.asarray(win, np.float64)
        self._bids = np.arange(self.win.shape[1], dtype=np.float64)

    def wanted(self, t: int, b: int, theta: float, floor: int, segment: int) -> float:
        return self.shaded(self.value * theta, floor, segment)

    def shaded(self, value: float, floor: int, segment: int) -> float:
        """The best bid of an impression worth `value` ticks."""
        if value <= floor or floor > self.delta_max:
            return 0
        profit = (value - self._bids[floor:]) * self.win[segment, floor:]
        best = int(profit.argmax())
        return floor + best if profit[best] > 0 else 0

    def arrays(self) -> dict[str, Any]:
        return {"value": self.value, "win": self.win, "delta_max": self.delta_max}


class EpisodePolicy(BidPolicy):
    """A policy with memory: one episode at a time, begun anew when `t` is not smaller than at the last call.

    It learns what it paid from the money left at the next call, so it needs no `observe`.
    """

    def __init__(self, delta_max: int) -> None:
        super().__init__(delta_max)
        self._last_t = 0

    def begin(self, t: int, b: int) -> None:
        """Forget the last episode; this one has `t` auctions and `b` ticks."""
        raise NotImplementedError

    def paced(self, t: int, b: int, theta: float, floor: int, segment: int) -> float:
        """The bid in ticks, once the episode has begun."""
        raise NotImplementedError

    def wanted(self, t: int, b: int, theta: float, floor: int, segment: int) -> float:
        if t >= self._last_t:
            self.begin(t, b)
        self._last_t = t
        return self.paced(t, b, theta, floor, segment)


class RandomPolicy(EpisodePolicy):
    """Uniform on 0..`upper` ticks; episode after episode from its own stream of draws."""

    kind = "random"

    def __init__(self, upper: float, seed: int, delta_max: int) -> None:
        super().__init__(delta_max)
        self.upper, self.seed = float(upper), int(seed)
        self._generator = np.random.default_rng(self.seed)
        self.stream = 0

    def begin(self, t: int, b: int) -> None:
        self.stream = int(self._generator.integers(2**64, dtype=np.uint64))

    def paced(self, t: int, b: int, theta: float, floor: int, segment: int) -> float:
        return uniform_at(self.stream, t) * self.upper

    def arrays(self) -> dict[str, Any]:
        return {"upper": self.upper, "seed": self.seed, "delta_max": self.delta_max}


class FluidPolicy(EpisodePolicy):
    """`multiplier(b / t) * theta`, the multiplier read off a table every `renew` auctions, with calibrated spend."""

    kind = "fluid"

    def __init__(self, ratio: Any, multiplier: Any, trust: float, renew: int, delta_max: int) -> None:
        super().__init__(delta_max)
        self._ratio = np.asarray(ratio, np.float64).tolist()
        self._multiplier = np.asarray(multiplier, np.float64).tolist()
        self.trust, self.renew = float(trust), int(renew)

    def begin(self, t: int, b: int) -> None:
        self._horizon, self._budget = t, b
        self._foreseen = self._rate = self._slope = 0.0

    def slope(self, t: int, b: int) -> float:
        """Ticks per unit of click probability, now."""
        if (self._horizon - t) % self.renew == 0:
            prior = self.trust * self._budget
            foreseen = prior + self._foreseen
            learns = 0 < foreseen < math.inf
            surprise = (prior + self._budget - b) / foreseen if learns else 1.0
            rate = b / t / surprise if surprise > 0 else self._ratio[-1]
            self._rate = min(rate, self._ratio[-1])
            self._slope = interpolate(self._rate, self._ratio, self._multiplier)
        self._foreseen += self._rate
        return self._slope

    def paced(self, t: int, b: int, theta: float, floor: int, segment: int) -> float:
        return self.slope(t, b) * theta

    def arrays(self) -> dict[str, Any]:
        return {
            "ratio": np.array(self._ratio),
            "multiplier": np.array(self._multiplier),
            "trust": self.trust,
            "renew": self.renew,
            "delta_max": self.delta_max,
        }


class PacedShadingPolicy(EpisodePolicy):
    """First price under a budget: the shaded bid of an impression worth `multiplier(b / t) * theta` ticks."""

    kind = "paced_shading"

    def __init__(
        self, ratio: Any, multiplier: Any, trust: float, renew: int, win: Any, delta_max: int
    ) -> None:
        super().__init__(delta_max)
        self._fluid = FluidPolicy(ratio, multiplier, trust, renew, delta_max)
        self._shading = ShadingPolicy(0.0, win, delta_max)

    def begin(self, t: int, b: int) -> None:
        self._fluid.begin(t, b)

    def paced(self, t: int, b: int, theta: float, floor: int, segment: int) -> float:
        return self._shading.shaded(self._fluid.slope(t, b) * theta, floor, segment)

    def arrays(self) -> dict[str, Any]:
        return self._fluid.arrays() | {"win": self._shading.win}


class BslbPolicy(EpisodePolicy):
    """`theta / lam0`, times the share of the money left, over the share of the auctions left."""

    kind = "bslb"

    def __init__(self, lam0: float, delta_max: int) -> None:
        super().__init__(delta_max)
        self.lam0 = float(lam0)

    def begin(self, t: int, b: int) -> None:
        self._horizon, self._budget = t, b

    def paced(self, t: int, b: int, theta: float, floor: int, segment: int) -> float:
        if b == 0:
            return 0
        return theta / self.lam0 * (b / self._budget) / (t / self._horizon)

    def arrays(self) -> dict[str, Any]:
        return {"lam0": self.lam0, "delta_max": self.delta_max}


class MultiplicativePolicy(EpisodePolicy):
    """`value * theta / (1 + mu)`, mu raised by what was spent above `rho = B / T`."""

    kind = "multiplicative"

    def __init__(self, value: float, start: float, rate: float, largest: float, delta_max: int) -> None:
        super().__init__(delta_max)
        self.value, self.start, self.rate, self.largest = (
            float(number) for number in (value, start, rate, largest)
        )

    def begin(self, t: int, b: int) -> None:
        self._rho, self._mu, self._left = b / t, self.start, -1

    def paced(self, t: int, b: int, theta: float, floor: int, segment: int) -> float:
        if self._left >= 0:
            moved = self._mu - self.rate * (self._rho - (self._left - b))
            self._mu = min(max(moved, 0.0), self.largest)
        self._left = b
        return self.value * theta / (1 + self._mu)

    def arrays(self) -> dict[str, Any]:
        names = ("value", "start", "rate", "largest", "delta_max")
        return {name: getattr(self, name) for name in names}


class FeedbackPolicy(EpisodePolicy):
    """`slope * theta * exp(phi)`, phi by a PID controller once per time slot."""

    kind = "feedback"

    def __init__(
        self, slope: float, gains: Any, curve: Any, measure: str, target: float, delta_max: int
    ) -> None:
        super().__init__(delta_max)
        self.slope, self.target, self.measure = float(slope), float(target), str(measure)
        self.gains = [float(gain) for gain in gains]
        self.curve = [float(share) for share in curve]

    def begin(self, t: int, b: int) -> None:
        self._horizon, self._slot, self._phi, self._sum, self._error = t, 0, 0.0, 0.0, 0.0
        self._theta, self._left = 0.0, b
        self._open(t, b)

    def _open(self, t: int, b: int) -> None:
        self._first_t, self._first_b, self._wins, self._clicks = t, b, 0, 0.0

    def paced(self, t: int, b: int, theta: float, floor: int, segment: int) -> float:
        if b < self._left:
            self._wins += 1
            self._clicks += self._theta
        slot = (self._horizon - t) * (len(self.curve) - 1) // self._horizon
        if slot != self._slot:
            self._control(self._measured_error(t, b))
            self._slot = slot
            self._open(t, b)
        self._left, self._theta = b, theta
        return self.slope * theta * math.exp(self._phi)

    def _measured_error(self, t: int, b: int) -> float:
        spent = self._first_b - b
        if self.measure == "spend":
            start, end = self.curve[self._slot], self.curve[self._slot + 1]
            planned = self._first_b * (end - start) / max(1 - start, 1e-12)
            measured = spent / planned if planned > 0 else 1.0
        elif self.measure == "win_rate":
            measured = self._wins / (self._first_t - t) / self.target
        else:
            measured = spent / self._clicks / self.target if self._clicks > 0 else 0.0
        return max(1 - measured, -4.0)

    def _control(self, error: float) -> None:
        proportional, integral, derivative = self.gains
        total = self._sum + error
        wanted = proportional * error + integral * total + derivative * (error - self._error)
        self._phi = min(max(wanted, -2.0), 5.0)
        if self._phi == wanted:  # the sum stands still while phi is at an end
            self._sum = total
        self._error = error

    def arrays(self) -> dict[str, Any]:
        return {
            "slope": self.slope,
            "gains": np.array(self.gains),
            "curve": np.array(self.curve),
            "measure": self.measure,
            "target": self.target,
            "delta_max": self.delta_max,
        }


class ThrottlingPolicy(EpisodePolicy):
    """`slope * theta` with probability p, else nothing; p moves by a fixed rate once per time slot."""

    kind = "throttling"

    def __init__(
        self,
        slope: float,
        start: float,
        rate: float,
        least: float,
        curve: Any,
        seed: int,
        delta_max: int,
    ) -> None:
        super().__init__(delta_max)
        self.slope, self.start, self.rate, self.least = (float(x) for x in (slope, start, rate, least))
        self.curve, self.seed = [float(share) for share in curve], int(seed)
        self._generator = np.random.default_rng(self.seed)
        self.stream = 0

    def begin(self, t: int, b: int) -> None:
        self.stream = int(self._generator.integers(2**64, dtype=np.uint64))
        self._horizon, self._slot, self._p, self._first_b = t, 0, self.start, b

    def paced(self, t: int, b: int, theta: float, floor: int, segment: int) -> float:
        slot = (self._horizon - t) * (len(self.curve) - 1) // self._horizon
        if slot != self._slot:
            start, end = self.curve[self._slot], self.curve[self._slot + 1]
            planned = self._first_b * (end - start) / max(1 - start, 1e-12)
            factor = 1 - self.rate if self._first_b - b > planned else 1 + self.rate
            self._p = min(max(self._p * factor, self.least), 1.0)
            self._slot, self._first_b = slot, b
        return self.slope * theta if uniform_at(self.stream, t) < self._p else 0

    def arrays(self) -> dict[str, Any]:
        return {
            "slope": self.slope,
            "start": self.start,
            "rate": self.rate,
            "least": self.least,
            "curve": np.array(self.curve),
            "seed": self.seed,
            "delta_max": self.delta_max,
        }


class TargetCpaPolicy(EpisodePolicy):
    """`theta` times the smaller of two multipliers: what the money left allows, and what the target CPA allows."""

    kind = "target_cpa"

    def __init__(
        self,
        ratio: Any,
        multiplier: Any,
        slack: Any,
        cpa_multiplier: Any,
        cpa: float,
        clicks_seen: bool,
        delta_max: int,
    ) -> None:
        super().__init__(delta_max)
        self._ratio, self._multiplier = np.asarray(ratio).tolist(), np.asarray(multiplier).tolist()
        self._slack, self._cpa_multiplier = np.asarray(slack).tolist(), np.asarray(cpa_multiplier).tolist()
        self.cpa, self.clicks_seen = float(cpa), bool(clicks_seen)

    def begin(self, t: int, b: int) -> None:
        self._budget, self._left, self._theta, self._conversions = b, b, 0.0, 0.0

    def observe(self, won: bool, cost: int, click: bool = False) -> None:
        if self.clicks_seen and click:
            self._conversions += 1

    def paced(self, t: int, b: int, theta: float, floor: int, segment: int) -> float:
        if not self.clicks_seen and b < self._left:
            self._conversions += self._theta
        self._left, self._theta = b, theta
        slack = self.cpa * self._conversions - (self._budget - b)
        by_budget = interpolate(b / t, self._ratio, self._multiplier)
        by_cpa = interpolate(slack / t, self._slack, self._cpa_multiplier)
        return theta * min(by_budget, by_cpa)

    def arrays(self) -> dict[str, Any]:
        return {
            "ratio": np.array(self._ratio),
            "multiplier": np.array(self._multiplier),
            "slack": np.array(self._slack),
            "cpa_multiplier": np.array(self._cpa_multiplier),
            "cpa": self.cpa,
            "clicks_seen": self.clicks_seen,
            "delta_max": self.delta_max,
        }


class DrlbPolicy(EpisodePolicy):
    """`multiplier * theta`; once per time slot a Q-network chooses by how much `1 / multiplier` changes.

    Attributes:
        layers: weights `[out, in]` and biases `[out]` of the network, in turn, ReLU between layers.
        changes: `[A]` relative changes of lambda.
        value_per_slot: predicted clicks of an ordinary time slot, the unit of the last feature.
    """

    kind = "drlb"

    def __init__(
        self,
        layers: list[Any],
        changes: Any,
        multiplier: float,
        value_per_slot: float,
        slots: int,
        delta_max: int,
    ) -> None:
        super().__init__(delta_max)
        self.layers = [np.asarray(layer, np.float64) for layer in layers]
        self.changes = np.asarray(changes, np.float64)
        self.multiplier, self.value_per_slot, self.slots = (
            float(multiplier),
            float(value_per_slot),
            int(slots),
        )

    def begin(self, t: int, b: int) -> None:
        self._horizon, self._budget, self._slot = t, b, -1
        self._slope, self._left, self._theta = self.multiplier, b, 0.0
        self._first_t, self._first_b, self._wins, self._clicks = t, b, 0, 0.0

    def paced(self, t: int, b: int, theta: float, floor: int, segment: int) -> float:
        if b < self._left:
            self._wins += 1
            self._clicks += self._theta
        slot = (self._horizon - t) * self.slots // self._horizon
        if slot != self._slot:
            change = self.changes[int(self.q_values(t, b, slot).argmax())]
            slope = self._slope / (1 + change)
            self._slope = min(max(slope, self.multiplier / 100), self.multiplier * 100)
            self._slot, self._first_t, self._first_b, self._wins, self._clicks = slot, t, b, 0, 0.0
        self._left, self._theta = b, theta
        return self._slope * theta

    def q_values(self, t: int, b: int, slot: int) -> np.ndarray:
        """`[A]`, the worth of each change as a slot begins."""
        spent, auctions = self._first_b - b, self._first_t - t
        x = np.array(
            [
                t / self._horizon,
                b / max(self._budget, 1),
                (self.slots - slot) / self.slots,
                spent / max(self._first_b, 1),
                spent / max(self._wins, 1) / self.delta_max,
                self._wins / max(auctions, 1),
                self._clicks / self.value_per_slot,
            ]
        )
        for weight, bias in zip(self.layers[:-2:2], self.layers[1:-2:2], strict=True):
            x = np.maximum(weight @ x + bias, 0)
        return self.layers[-2] @ x + self.layers[-1]

    def arrays(self) -> dict[str, Any]:
        numbers = {
            name: getattr(self, name)
            for name in ("changes", "multiplier", "value_per_slot", "slots", "delta_max")
        }
        return numbers | {f"layer_{index}": layer for index, layer in enumerate(self.layers)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> DrlbPolicy:
        layers = [arrays[f"layer_{index}"] for index in range(sum("layer_" in name for name in arrays))]
        return cls(
            layers,
            arrays["changes"],
            float(arrays["multiplier"]),
            float(arrays["value_per_slot"]),
            int(arrays["slots"]),
            int(arrays["delta_max"]),
        )


def to_plan(t: int, b: int, horizon: int, budget: int) -> tuple[int, int]:
    """(t, b) itself where `t <= horizon` and `b <= budget`, else a point of that range with the same ratio b / t."""
    if t > horizon:
        t, b = horizon, b * horizon // t
    if b > budget:
        t, b = max(t * budget // b, 1), budget
    return t, b


class ScaledPolicy(EpisodePolicy):
    """A plan that is known for `1 <= t <= horizon` and `0 <= b <= budget`, used at any (t, b).

    `scale` says how: `"map_action"` bids what is best at the known point of the same ratio b / t; `"segment"` cuts a
    long episode into episodes of `horizon` auctions, each with an equal share of the money left; `"map_value"` adds up
    the worth of single ticks at the points of the same ratio (Cai et al., WSDM 2017, section 3.3). Inside the known
    range the first and the last bid by the plan itself. `tie_ticks` more are bid (1 where ties lose).
    """

    def __init__(self, horizon: int, budget: int, delta_max: int, scale: str, tie_ticks: int) -> None:
        super().__init__(delta_max)
        self.horizon, self.budget, self.tie_ticks = int(horizon), int(budget), int(tie_ticks)
        self.scale = str(scale)
        if self.scale not in ("map_action", "segment", "map_value"):
            raise TypeError(f"scale is {scale!r}, expected 'map_action', 'segment' or 'map_value'")
        self._segments = self._reserve = 0

    def best_price(self, t: int, b: int, theta: float) -> int:
        """Largest price worth paying at a known point (t up to `horizon` + 1)."""
        raise NotImplementedError

    def marginals(self, t: int, cells: np.ndarray) -> np.ndarray:
        """Worth of one tick more with `t` auctions to come and `cells` `[P]` ticks left."""
        raise NotImplementedError

    def wanted(self, t: int, b: int, theta: float, floor: int, segment: int) -> float:
        if self.scale == "map_action":
            return self._mapped_action(t, b, theta) + self.tie_ticks
        if self.scale == "map_value":
            return self._mapped_value(t, b, theta) + self.tie_ticks
        return super().wanted(t, b, theta, floor, segment)

    def begin(self, t: int, b: int) -> None:
        self._segments = 0

    def paced(self, t: int, b: int, theta: float, floor: int, segment: int) -> float:
        segments = -(-t // self.horizon)
        if segments != self._segments:
            self._segments, self._reserve = segments, b - b // segments
        left = max(b - self._reserve, 0)
        return self._mapped_action(t - (segments - 1) * self.horizon, left, theta) + self.tie_ticks

    def _mapped_action(self, t: int, b: int, theta: float) -> int:
        return self.best_price(*to_plan(t, b, self.horizon, self.budget), theta)

    def _mapped_value(self, t: int, b: int, theta: float) -> int:
        t -= 1
        if t <= self.horizon and b <= self.budget:
            return self.best_price(t + 1, b, theta)
        up, down = (self.horizon, t) if self.horizon * b <= self.budget * t else (self.budget, b)
        cells = np.arange(b - 1, b - 1 - min(b, self.delta_max), -1) * up // down
        worth = self.marginals(min(t * up // down, self.horizon), np.minimum(cells, self.budget - 1))
        return int(np.searchsorted(np.cumsum(worth), theta, side="right"))


class TablePolicy(ScaledPolicy):
    """Bids from the worth U `[horizon + 1, cells]` of every purse: the largest δ with theta + U(t-1, b-δ) >= U(t-1, b).

    `cells` may exceed `budget` + 1.
    """

    kind = "table"

    def __init__(
        self, worth: np.ndarray, budget: int, delta_max: int, scale: str = "map_action", tie_ticks: int = 0
    ) -> None:
        self.worth = np.ascontiguousarray(worth)
        super().__init__(len(self.worth) - 1, budget, delta_max, scale, tie_ticks)
        self._cells = self.worth.shape[1]
        self._flat = self.worth.reshape(
            -1
        ).data  # one number of a memoryview is quicker to read than of an array
        self._reach = 1 << (self.delta_max.bit_length() - 1)

    def best_price(self, t: int, b: int, theta: float) -> int:
        flat, last = self._flat, (t - 1) * self._cells + b
        here, limit = flat[last], min(b, self.delta_max)
        best, reach = 0, self._reach
        while reach:
            price = best + reach
            if price <= limit and theta + flat[last - price] - here >= 0:
                best = price
            reach >>= 1
        return best

    def marginals(self, t: int, cells: np.ndarray) -> np.ndarray:
        row = self.worth[t]
        return row[cells + 1] - row[cells]

    def arrays(self) -> dict[str, Any]:
        return {
            "worth": self.worth[:, : self.budget + 1],
            "budget": self.budget,
            "delta_max": self.delta_max,
            "scale": self.scale,
            "tie_ticks": self.tie_ticks,
        }


class DifferencePolicy(ScaledPolicy):
    """`TablePolicy` in little memory: the worth of each tick in float32, each row only up to its saturation.

    Row t holds D(t, 0), ..., in `marginal[start[t]:start[t + 1]]`, and D is 0 beyond. Bids differ from `TablePolicy`
    where rounding decides.
    """

    kind = "differences"

    def __init__(
        self,
        marginal: np.ndarray,
        start: np.ndarray,
        budget: int,
        delta_max: int,
        scale: str = "map_action",
        tie_ticks: int = 0,
    ) -> None:
        super().__init__(len(start) - 2, budget, delta_max, scale, tie_ticks)
        self.marginal, self.start = np.asarray(marginal), np.asarray(start)
        self._start = self.start.tolist()

    @classmethod
    def from_table(cls, policy: TablePolicy) -> DifferencePolicy:
        """The compact form of a policy."""
        rows = policy.worth[:, : policy.budget + 1]
        ends = [int(np.searchsorted(row, row[-1])) for row in rows]
        parts = [np.diff(row[: end + 1]).astype(np.float32) for row, end in zip(rows, ends, strict=True)]
        start = np.concatenate([[0], np.cumsum(ends)])
        return cls(
            np.concatenate(parts), start, policy.budget, policy.delta_max, policy.scale, policy.tie_ticks
        )

    def best_price(self, t: int, b: int, theta: float) -> int:
        start, end = self._start[t - 1], self._start[t]
        known = min(b, end - start)
        lowest = max(b - self.delta_max, 0)
        if known <= lowest:
            return b - lowest  # every tick that can be spent is beyond saturation, and free
        spent = self.marginal[start + lowest : start + known][::-1].cumsum(dtype=np.float64)
        return b - known + int(spent.searchsorted(theta, "right"))

    def marginals(self, t: int, cells: np.ndarray) -> np.ndarray:
        start, end = self._start[t], self._start[t + 1]
        known = cells < end - start
        return np.where(known, self.marginal[np.where(known, start + cells, 0)], 0.0)

    def arrays(self) -> dict[str, Any]:
        return {
            "marginal": self.marginal,
            "start": self.start,
            "budget": self.budget,
            "delta_max": self.delta_max,
            "scale": self.scale,
            "tie_ticks": self.tie_ticks,
        }


class FirstPricePolicy(BidPolicy):
    """The bid a <= b that maximises `win[a] (theta + U(t-1, b-a) - U(t-1, b))`, the smallest of several.

    `worth` is U `[horizon, cells]` and `win` `[segments, delta_max + 1]` the chance to win with each bid. Outside the
    table the bid is that of the point with the same ratio b / t.
    """

    kind = "first_price"

    def __init__(self, worth: np.ndarray, win: np.ndarray, budget: int) -> None:
        super().__init__(np.shape(win)[1] - 1)
        self.worth, self.win, self.budget = np.asarray(worth), np.asarray(win), int(budget)
        self._width = self.delta_max + 1

    def wanted(self, t: int, b: int, theta: float, floor: int, segment: int) -> float:
        t, b = to_plan(t, b, len(self.worth), self.budget)
        row = self.worth[t - 1]
        lowest = max(b - self.delta_max, 0)
        left = row[lowest : b + 1][::-1]
        return int((self.win[segment, : b + 1 - lowest] * (theta + left - left[0])).argmax())

    def arrays(self) -> dict[str, Any]:
        return {"worth": self.worth[:, : self.budget + 1], "win": self.win, "budget": self.budget}


class BlindTablePolicy(TablePolicy):
    """`TablePolicy` for a request of click probability `theta_avg`, whatever the request."""

    kind = "blind_table"

    def __init__(
        self,
        worth: np.ndarray,
        budget: int,
        delta_max: int,
        theta_avg: float,
        scale: str = "map_action",
        tie_ticks: int = 0,
    ) -> None:
        super().__init__(worth, budget, delta_max, scale, tie_ticks)
        self.theta_avg = float(theta_avg)

    def wanted(self, t: int, b: int, theta: float, floor: int, segment: int) -> float:
        return super().wanted(t, b, self.theta_avg, floor, segment)

    def arrays(self) -> dict[str, Any]:
        return super().arrays() | {"theta_avg": self.theta_avg}


def cubic(y0: Any, y1: Any, y2: Any, y3: Any, x: Any) -> Any:
    """At `x`, the polynomial of degree 3 with values `y0` to `y3` at 0 to 3 (Newton's forward differences)."""
    first, second, third = y1 - y0, y2 - 2 * y1 + y0, y3 - 3 * y2 + 3 * y1 - y0
    return y0 + x * (first + (x - 1) * (second / 2 + (x - 2) * third / 6))


class NetworkPolicy(ScaledPolicy):
    """Bids from the worth of single ticks D as a network gives it, exact in the first rows and ticks.

    A bid looks at sums of up to `delta_max` outputs of the network. They are differences of the worth of money U, which
    is known at every `spacing`-th tick and interpolated in between. Where the error of the interpolation could
    change the bid, about once in a thousand bids, the network itself is asked, so that bids are the network's.
    `scale="map_value"` adds up other sums, and asks the network for every bid beyond the plan (0.2 ms).

    Attributes:
        layers: weights `[out, in]` and biases `[out]` of the network, in turn, tanh between layers.
        unit: worth of a network output of 1.
        first_rows: `[rows, budget]`, D of the first rows.
        first_ticks: `[horizon + 1, ticks]`, D of the first ticks of every row.
        saturation: `[horizon + 1]`, ticks from which on D is 0.
        knots: `[horizon + 1 - rows, knots]`, U of the later rows at ticks, ticks + spacing, ...
        end: `[horizon + 1]`, the same as `saturation` or less: where the network itself becomes 0.
        tolerance: `[horizon + 1]`, largest error of a difference of U in each row.
        spacing: ticks from knot to knot.
    """

    kind = "network"

    def __init__(
        self,
        layers: list[np.ndarray],
        unit: float,
        first_rows: np.ndarray,
        first_ticks: np.ndarray,
        saturation: np.ndarray,
        knots: np.ndarray,
        end: np.ndarray,
        tolerance: np.ndarray,
        spacing: int,
        budget: int,
        delta_max: int,
        scale: str = "map_action",
        tie_ticks: int = 0,
    ) -> None:
        super().__init__(len(saturation) - 1, budget, delta_max, scale, tie_ticks)
        self.layers, self.unit = layers, float(unit)
        self.first_rows, self.first_ticks, self.saturation = first_rows, first_ticks, saturation
        self.knots, self.end, self.tolerance, self.spacing = knots, end, tolerance, int(spacing)
        self._rows, self._ticks = len(first_rows), first_ticks.shape[1]
        self._end, self._tolerance = end.tolist(), tolerance.tolist()
        self._exact_rows = _running_sums(first_rows, saturation[: self._rows])
        self._exact_ticks = _running_sums(first_ticks, saturation)
        self._knots, self._per_row = np.ascontiguousarray(knots).reshape(-1).data, knots.shape[1]

    def best_price(self, t: int, b: int, theta: float) -> int:
        row, lowest = t - 1, max(b - self.delta_max, 0)
        top = min(b, self._end[row])
        if top <= lowest:
            return b - lowest  # every tick that can be spent is beyond saturation, and free
        cell = self._cell(row, theta, lowest, top)
        return self.best_price_of_network(t, b, theta) if cell < 0 else b - cell

    def best_price_of_network(self, t: int, b: int, theta: float) -> int:
        """`best_price`, adding up what the network says of each tick."""
        cells = np.arange(b - 1, b - 1 - min(b, self.delta_max), -1)
        return int(self.marginals(t - 1, cells).cumsum().searchsorted(theta, "right"))

    def _cell(self, row: int, theta: float, lowest: int, top: int) -> int:
        """The first cell in `lowest..top` of which U is at least U(row, top) - theta; -1 if too close to say."""
        tolerance, ticks = self._tolerance[row], self._ticks
        if row < self._rows:
            sums, start = self._exact_rows, row * (self.budget + 1)
            return _first(sums, start, sums[start + top] - theta, tolerance, lowest, top)
        sums, start = self._exact_ticks, row * (ticks + 1)
        if top <= ticks:
            return _first(sums, start, sums[start + top] - theta, tolerance, lowest, top)
        here = self._worth(row, top)
        target = here - theta
        if sums[start + ticks] < target:
            return self._cell_between_knots(row, here, theta, lowest, top)
        if lowest < ticks:
            return _first(sums, start, target, tolerance, lowest, ticks)
        return lowest if sums[start + ticks] - target > tolerance else -1

    def _worth(self, row: int, cell: int) -> float:
        """U(row, cell) beyond the first rows and ticks."""
        interval, rest = divmod(cell - self._ticks, self.spacing)
        shift = 1 if interval else 0
        at = (row - self._rows) * self._per_row + interval - shift
        y0, y1, y2, y3 = self._knots[at : at + 4]
        return cubic(y0, y1, y2, y3, shift + rest / self.spacing)

    def _cell_between_knots(self, row: int, here: float, theta: float, lowest: int, top: int) -> int:
        """`_cell` where it is beyond the first ticks; `here` is U(row, top)."""
        knots, spacing, target = self._knots, self.spacing, here - theta
        first = (row - self._rows) * self._per_row
        last = first + (top - self._ticks) // spacing
        at = bisect.bisect_left(knots, target, first + 1, last + 1) - 1
        begin = self._ticks + (at - first) * spacing
        below = knots[at] if begin >= lowest else -math.inf
        cell, end = max(begin + 1, lowest), begin + spacing
        above = knots[at + 1] if end <= top else here
        end = min(end, top)
        if at > first:
            at, begin = at - 1, begin - spacing
        y0, y1, y2, y3 = knots[at : at + 4]
        # the coefficients of `cubic`
        rise, bend, twist = y1 - y0, (y2 - 2 * y1 + y0) / 2, (y3 - 3 * y2 + 3 * y1 - y0) / 6
        while cell < end:
            middle = (cell + end) // 2
            x = (middle - begin) / spacing
            worth = y0 + x * (rise + (x - 1) * (bend + (x - 2) * twist))
            if worth < target:
                cell, below = middle + 1, worth
            else:
                end, above = middle, worth
        tolerance = self._tolerance[row]
        return cell if above - target > tolerance and target - below > tolerance else -1

    def marginals(self, t: int, cells: np.ndarray) -> np.ndarray:
        if t < len(self.first_rows):
            worth = self.first_rows[t, cells]
        else:
            rough = cells < self.first_ticks.shape[1]
            worth = self.unit * np.maximum(self._outputs(t, cells), 0.0)
            worth[rough] = self.first_ticks[t, cells[rough]]
        return np.where(cells < self.saturation[t], worth, 0.0)

    def _outputs(self, t: int, cells: np.ndarray) -> np.ndarray:
        time, money = np.full(len(cells), t / self.horizon), cells / self.budget
        x = np.stack([time, -money, -np.log(np.maximum(money, 1e-9) / time)], axis=-1)
        for weight, bias in zip(self.layers[:-2:2], self.layers[1:-2:2], strict=True):
            x = np.tanh(x @ weight.T + bias)
        return (x @ self.layers[-2].T + self.layers[-1])[:, 0]

    def arrays(self) -> dict[str, Any]:
        exact = {
            name: getattr(self, name)
            for name in ("first_rows", "first_ticks", "saturation", "knots", "end", "tolerance")
        }
        numbers = {
            name: getattr(self, name)
            for name in ("unit", "spacing", "budget", "delta_max", "scale", "tie_ticks")
        }
        return exact | numbers | {f"layer_{index}": layer for index, layer in enumerate(self.layers)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> NetworkPolicy:
        layers = [arrays[f"layer_{index}"] for index in range(sum("layer_" in name for name in arrays))]
        return cls(
            layers,
            float(arrays["unit"]),
            arrays["first_rows"],
            arrays["first_ticks"],
            arrays["saturation"],
            arrays["knots"],
            arrays["end"],
            arrays["tolerance"],
            int(arrays["spacing"]),
            int(arrays["budget"]),
            int(arrays["delta_max"]),
            str(arrays["scale"]),
            int(arrays["tie_ticks"]),
        )


def _running_sums(marginal: np.ndarray, saturation: np.ndarray) -> memoryview:
    """`[rows, cells]` as running sums `[rows * (cells + 1)]`, each row from 0 and only up to its saturation."""
    rows, cells = marginal.shape
    known = np.where(np.arange(cells) < saturation[:, None], marginal, 0.0)
    return np.concatenate([np.zeros((rows, 1)), known.cumsum(1)], axis=1).reshape(-1).data


def _first(sums: memoryview, start: int, target: float, tolerance: float, lowest: int, top: int) -> int:
    """The first cell in `lowest..top` of which the sum is at least `target`, as it is at `top`; -1 if that is too close
    to say."""
    at = bisect.bisect_left(sums, target, start + lowest, start + top)
    if sums[at] - target <= tolerance or (at > start + lowest and target - sums[at - 1] <= tolerance):
        return -1
    return at - start
