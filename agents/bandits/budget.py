"""Budget allocation over named channels, in the user's own money: DynLin-UCB for practitioners."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal, Self

import numpy as np

from dynrl.agents.bandits.budget_limits import BudgetLimits, power_of_two
from dynrl.agents.bandits.channels import amounts_by_name, channel_names, columns_by_name
from dynrl.agents.bandits.dynlin_bounds import DynLinUCBConfig
from dynrl.agents.bandits.dynlin_ucb import DynLinUCB
from dynrl.agents.bandits.log_bounds import bounds_from_gain
from dynrl.agents.bandits.validation import check_positive
from dynrl.bandits import BudgetSet, GainEstimate, identify_gain
from dynrl.bandits.checks import finite_number, non_negative
from dynrl.errors import FileFormatError

KIND = "budget allocator"
SURPRISE = 6.0  # noise levels above `reward_bound` at which a reward contradicts it


@dataclass(frozen=True)
class Allocation:
    """What to spend, what that is worth, and for how long to keep it.

    Attributes:
        amounts: money per period for each channel, by name.
        value: estimated long-run average reward per period of keeping it, in reward units.
        interval: bounds on that value, which hold at all times together with probability 1 − δ.
        periods: keep it for this many periods (of a running hold: those left, this one included).
        reason: `"exploring"`: chosen for what it may teach; `"exploiting"`: also the best by the data so far.
        units: of the amounts. reward_units: of value and interval.
    """

    amounts: dict[str, float]
    value: float
    interval: tuple[float, float]
    periods: int
    reason: Literal["exploring", "exploiting"]
    units: str = ""
    reward_units: str = ""

    def __str__(self) -> str:
        spends = ", ".join(f"{name} {amount:,.2f}" for name, amount in self.amounts.items())
        low, high = self.interval
        return (
            f"{f'{spends} {self.units}'.rstrip()}: keep for {self.periods} period{'s'[: self.periods > 1]} "
            f"({self.reason}); long-run reward {self.value:,.4g} in [{low:,.4g}, {high:,.4g}] {self.reward_units}"
        ).rstrip()


class BudgetAllocator:
    """Splits a budget over channels period by period, and learns from one reward per period.

    Spending works on after it was made, so every allocation is kept for some periods and only the reward of the last
    one is learnt from (see `DynLinUCB`). Setting a channel to 0 stops its spending, not its carry-over.

        allocator = BudgetAllocator(["search", "video"], 1_000, reward_bound=500, noise=10, tau=2)
        while True:
            allocation = allocator.next()
            ...                                   # spend allocation.amounts for one period
            allocator.observe(reward)

    Inside, money and reward are divided by powers of two, so that spends lie in [0, 1], long-run rewards in [−1, 1],
    and the way back is exact.

    The confidence interval assumes: the most that one channel can get, spent on any single channel, changes the reward
    of its own period by at most `reward_bound`, and that of all later ones together by as much; and before the start
    no more was spent than now. `settings` says otherwise.

    Args:
        channels: names.
        total: money that all channels share per period.
        lower: least money per channel, ≥ 0: by name, or one number for all.
        upper: most money per channel, likewise; None for no limit but the total.
        equality: whether all of the total must be spent.
        reward_bound: the largest long-run average reward (or loss) per period, less `baseline`, that any allocation
            can bring.
        noise: standard deviation of the reward of one period under constant spending.
        tau: half-life of the effect of spending, in periods.
        rho_bar: instead of `tau`, the share of an effect that is left after a period, at most; in [0, 1).
        delta: probability that the intervals may fail.
        baseline: long-run reward per period without any spending.
        warmup: periods to keep the first allocation for before learning from it.
        largest_total: the largest total that `change_limits` may ever set; None: the limits never let through more
            than they do now.
        units, reward_units: of money and reward, for messages.
        settings: fields of `DynLinUCBConfig` in scaled units, such as `{"theta_bar": 0.5}`.
        seed: of the agent.

    Attributes:
        limits: what may be spent now, in money.
        identified: what `from_log` identified, in money and reward units; None without a log and after `load`.
        agent: the `DynLinUCB` behind it, in scaled units.
        spend_scale, reward_scale: what one scaled unit is in money and reward.

    Raises:
        TypeError, ValueError: names that do not match the channels (named), limits that no allocation meets, numbers
            that are not finite or negative.
    """

    identified: GainEstimate | None = None

    def __init__(
        self,
        channels: Sequence[str],
        total: float,
        lower: Any = 0.0,
        upper: Any = None,
        equality: bool = False,
        *,
        reward_bound: float,
        noise: float,
        tau: float | None = None,
        rho_bar: float | None = None,
        delta: float = 0.05,
        baseline: float = 0.0,
        warmup: int = 0,
        largest_total: float | None = None,
        units: str = "",
        reward_units: str = "",
        settings: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> None:
        self.limits = BudgetLimits.read(channel_names(channels), total, lower, upper, equality)
        check_positive("reward_bound", reward_bound)
        self.reward_bound, self.noise = float(reward_bound), non_negative("noise", noise)
        self.baseline = finite_number("baseline", baseline)
        self.units, self.reward_units, self.seed = units, reward_units, seed
        self.largest = (
            self.limits.largest() if largest_total is None else non_negative("largest_total", largest_total)
        )
        self.spend_scale, self.reward_scale = power_of_two(self.largest), power_of_two(self.reward_bound)
        actions = self.limits.action_set(self.spend_scale)
        u_bar = actions.max_norm() if largest_total is None else self.largest / self.spend_scale
        effect = self.reward_bound / (self.limits.largest() or 1.0) * self.spend_scale / self.reward_scale
        stability = DynLinUCBConfig(rho_bar, tau, delta=delta).stability
        self._settings = {
            **assumed_bounds(effect * math.sqrt(len(self.channels)), u_bar, stability),
            "radius": "tight",
            "sigma": self.noise / self.reward_scale,
            "delta": delta,
            "warmup": warmup,
            **(settings or {}),
        }
        self.agent = DynLinUCB(actions, seed=seed, **self._settings)
        self._require_room(self.limits)

    @classmethod
    def from_log(
        cls,
        table: Any,
        channels: Sequence[str],
        reward: str,
        total: float,
        lower: Any = 0.0,
        upper: Any = None,
        equality: bool = False,
        *,
        order: int | None = None,
        rho_bar: float | None = None,
        delta: float = 0.05,
        baseline: float = 0.0,
        warmup: int = 0,
        largest_total: float | None = None,
        units: str = "",
        reward_units: str = "",
        settings: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> Self:
        """An allocator that knows from a log how long effects last and how large they are, and has learnt from it.

        The log identifies the gain, the carry-over (ρ̄ = min(0.999, ρ̂ + 2 se + 0.02)), the noise and the reward
        bound; periods in which spending stood still for long enough become samples.

        Args:
            table: columns by name, one row per period in time order; other columns are left aside.
            channels: columns that hold money per period.
            reward: the column that holds the reward per period.
            order: of the regression, see `identify_gain`.
            rho_bar: where it is known; None: estimated.

        The other arguments are those of `BudgetAllocator`.

        Raises:
            ValueError: missing columns, entries that are not finite, too few rows, an unstable fit.
            UnexcitedInputError: channels whose spending was not varied, named.
        """
        names = channel_names(channels)
        if reward in names:
            raise ValueError(f"reward {reward!r} is one of the channels")
        log = columns_by_name(table, [*names, reward])
        spends, rewards = log[:, :-1], log[:, -1] - finite_number("baseline", baseline)
        limits = BudgetLimits.read(names, total, lower, upper, equality)
        gain = identify_gain(spends, rewards, order, channels=names)
        told = bounds_from_gain(gain, rho_bar)
        reward_bound = max(float(abs(rewards).max()), largest_value(gain, limits.action_set(1.0))) or 1.0
        spend_scale = power_of_two(limits.largest() if largest_total is None else largest_total)
        reward_scale = power_of_two(reward_bound)
        scaled = limits.action_set(spend_scale).max_norm()
        u_bar = max(scaled, (largest_total or 0.0) / spend_scale, largest_norm(spends) / spend_scale)
        b_bar = told["b_bar"] * spend_scale / reward_scale
        allocator = cls(
            names,
            total,
            lower,
            upper,
            equality,
            reward_bound=reward_bound,
            noise=told["sigma"],
            rho_bar=told["rho_bar"],
            delta=delta,
            baseline=baseline,
            warmup=warmup,
            largest_total=largest_total,
            units=units,
            reward_units=reward_units,
            settings={
                "theta_bar": told["theta_bar"] * spend_scale / reward_scale,
                "b_bar": b_bar,
                "u_bar": u_bar,
                "x_bar": b_bar * u_bar / (1.0 - told["rho_bar"]),
                **(settings or {}),
            },
            seed=seed,
        )
        allocator.agent.warm_start_from_log(spends / spend_scale, rewards / reward_scale)
        allocator.identified = gain
        return allocator

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels."""
        return self.limits.channels

    @property
    def period(self) -> int:
        """Periods observed so far (those of a log not counted)."""
        return self.agent.t

    @property
    def periods_left(self) -> int:
        """Periods until the running allocation has been kept for long enough (0: a new one is due)."""
        return self.agent.rounds_left

    def next(self) -> Allocation:
        """What to spend in the coming period; the same again until `observe` is called."""
        action = self.agent.act()
        return self._allocation(action, self.agent.rounds_left)

    def observe(self, reward: float) -> None:
        """The reward of the period whose allocation `next` gave.

        Raises:
            RuntimeError: `next` was not called for this period.
            ValueError: not a finite number (nothing changes then).

        Warns:
            UserWarning: the last reward of a hold is far outside `reward_bound`.
        """
        if not bool(self.agent.state.awaiting):
            raise RuntimeError("observe() without next(): call next() once before each reward")
        excess = float(reward) - self.baseline
        self.agent.update(excess / self.reward_scale)
        if self.periods_left == 0 and abs(excess) > self.reward_bound + SURPRISE * self.noise:
            warnings.warn(
                f"after its hold an allocation brings {excess:,.6g} above the baseline, with reward_bound = "
                f"{self.reward_bound:,.6g} and noise = {self.noise:,.6g}: raise them, the intervals are too narrow",
                stacklevel=2,
            )

    def recommend(self) -> Allocation:
        """The best allocation by the data so far, without exploring; the run does not move."""
        return self._allocation(self.agent.recommended()[1], self.agent.next_hold)

    def evaluate(self, amounts: Any) -> Allocation:
        """Value and interval of an allocation of your own, by channel name (nothing is checked against the limits)."""
        given = amounts_by_name("amounts", amounts, self.channels)
        return self._allocation(given / self.spend_scale, self.agent.next_hold)

    def certificate(self) -> float:
        """How much better, at most, any other allocation may be than the recommended one, in reward units.

        At most 0: the recommended one is certified best, with probability 1 − δ.
        """
        return self.agent.certificate() * self.reward_scale

    def change_limits(
        self,
        *,
        total: float | None = None,
        lower: Any = None,
        upper: Any = None,
        equality: bool | None = None,
    ) -> None:
        """Changes what may be spent from the next allocation on; what is not given stays. Learning goes on.

        Raises:
            RuntimeError: the running allocation must be kept for some more periods; says how many.
            ValueError: limits that no allocation meets, or larger than those the allocator was made for.
        """
        if self.periods_left:
            raise RuntimeError(
                f"the running allocation must be kept for {self.periods_left} more period(s): the limits can change "
                f"after period {self.period + self.periods_left} (this is period {self.period + 1})"
            )
        limits = self.limits.changed(total=total, lower=lower, upper=upper, equality=equality)
        self._require_room(limits)
        self.agent.change_action_set(limits.action_set(self.spend_scale))
        self.limits = limits

    def _require_room(self, limits: BudgetLimits) -> None:
        norm, u_bar = limits.action_set(self.spend_scale).max_norm(), self.agent.algorithm.constants.u_bar
        if norm > u_bar * (1.0 + 1e-9):
            raise ValueError(
                f"the limits let through more money (total {limits.total:,.6g}) than the allocator is made for: give "
                "it a larger largest_total from the start"
            )

    def _allocation(self, action: np.ndarray, periods: int) -> Allocation:
        """`action` `[d]`, scaled, in the user's units."""
        agent, scale = self.agent, self.reward_scale
        best, value = float(agent.recommended()[1] @ agent.h_hat), float(action @ agent.h_hat)
        greedy = agent.learned_epochs > 0 and value >= best - 1e-12 * max(1.0, abs(best))
        low, high = agent.confidence_interval(action)
        return Allocation(
            amounts=dict(zip(self.channels, (action * self.spend_scale).tolist(), strict=True)),
            value=value * scale + self.baseline,
            interval=(low * scale + self.baseline, high * scale + self.baseline),
            periods=periods,
            reason="exploiting" if greedy else "exploring",
            units=self.units,
            reward_units=self.reward_units,
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Writes everything, the running hold included, as one safetensors file (`.safetensors` is appended)."""
        from dynrl.agent import agent_path
        from dynrl.runs.array_file import write_arrays

        meta = {
            "kind": KIND,
            "limits": self.limits.as_json(),
            "settings": self._settings,
            "terms": {
                "reward_bound": self.reward_bound,
                "noise": self.noise,
                "baseline": self.baseline,
                "largest_total": self.largest,
                "rho_bar": self.agent.config.stability,
                "units": self.units,
                "reward_units": self.reward_units,
                "seed": self.seed,
            },
        }
        write_arrays(agent_path(path), self.agent.state_dict(), meta)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """The allocator that `save` wrote, at the same period.

        Raises:
            FileFormatError: missing or damaged file, or one that holds something else.
        """
        from dynrl.agent import agent_path
        from dynrl.runs.array_file import read_arrays

        source = agent_path(path)
        arrays, meta = read_arrays(source)
        if meta.get("kind") != KIND:
            raise FileFormatError(f"{source} holds no {KIND}")
        limits = meta["limits"]
        for bound in ("lower", "upper"):
            if limits[bound] is not None:
                limits[bound] = dict(zip(limits["channels"], limits[bound], strict=True))
        allocator = cls(**limits, **meta["terms"], settings=meta["settings"])
        allocator.agent.load_state_dict(arrays)
        return allocator


def assumed_bounds(effect: float, u_bar: float, rho_bar: float) -> dict[str, float]:
    """Bounds in scaled units when the effects of a spend are at most `effect` at once and later on, all together.

    The state is measured in units of reward (Ω = 1), and before the start no more was spent than now (X̄).
    """
    return {
        "rho_bar": rho_bar,
        "phi_bar": 1.0,
        "omega_bar": 1.0,
        "theta_bar": effect,
        "b_bar": effect * (1.0 - rho_bar),
        "u_bar": u_bar,
        "x_bar": effect * u_bar,
    }


def largest_value(gain: GainEstimate, actions: BudgetSet) -> float:
    """Upper estimate of |h·u| over the set: at the best and the worst action, two standard errors away."""
    extremes = np.stack([actions.linear_argmax(gain.h), actions.linear_argmax(-gain.h)])
    low, high = gain.confidence_interval(extremes)
    return float(np.maximum(abs(low), abs(high)).max())


def largest_norm(rows: np.ndarray) -> float:
    """Largest Euclidean norm of the rows `[T, d]`."""
    return float(np.linalg.norm(rows, axis=1).max())
