"""Ensemble Kalman filter at the macrostate: a twin is fitted to one patient's series of counts.

Knapp, Cruz, Mehrad and Laubenbacher, "Personalizing computational models to construct medical digital twins", Journal
of the Royal Society Interface 22:20250055, 2025.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from dynrl.agents.digital_twins.twin import Twin

__all__ = ["EnkfConfig", "TwinFit", "analyse", "fit_twin", "forecast", "surprisal"]

Array = Any
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EnkfConfig:
    """Settings of the filter.

    Attributes:
        members: size of the ensemble; 56 is `2 * 8 * 7 / 2` for eight unknowns.
        every: steps between observations.
        logs: per component of the macrostate, whether it is filtered as `log(x + 1e-3)`.
        units: per component, what it is divided by (for those without logarithm).
        observed: indices of the components that are observed.
        variance: of the observation error, in transformed units, one for all or one per observed component.
        spread: of the constants' prior, of their logarithm. (In logarithms all constants stay positive; a standard
            deviation of 2 around a probability of 0.05 would not.)
        level: standard deviation of the random walk of the logarithms between observations; keeps the ensemble from
            collapsing.
        macro_spread: standard deviations of the first macrostates, in the model's units.
        seed: of the filter.
    """

    members: int = 56
    every: int = 50
    logs: tuple[bool, ...] = (True, False, False)
    units: tuple[float, ...] = (1.0, 10.0, 100.0)
    observed: tuple[int, ...] = (0, 1, 2)
    variance: tuple[float, ...] = (1.0,)
    spread: float = 0.1
    level: float = 0.01
    macro_spread: tuple[float, ...] = (5.0, 5.0, 26.0)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.members < 3 or self.every < 1:
            raise ValueError(f"members={self.members}, every={self.every}: expected at least 3 and 1")
        if not len(self.logs) == len(self.units) == len(self.macro_spread):
            raise ValueError("logs, units and macro_spread must have one entry per macrostate component")
        if not self.observed or not all(0 <= index < len(self.logs) for index in self.observed):
            raise ValueError(f"observed is {self.observed}, expected indices below {len(self.logs)}")
        if len(self.variance) not in (1, len(self.observed)) or min(self.variance) <= 0:
            raise ValueError(f"variance is {self.variance}, expected positive, one or one per observed count")

    def forward(self, macro: Array) -> Floats:
        """Transformed macrostates `[..., n]`."""
        macro = np.asarray(macro, np.float64)
        return np.where(self.logs, np.log(np.maximum(macro, 0.0) + 1e-3), macro / np.asarray(self.units))

    def backward(self, x: Floats) -> Floats:
        """Whole, non-negative macrostates `[..., n]` of transformed ones."""
        with np.errstate(over="ignore"):
            counts = np.where(self.logs, np.exp(np.minimum(x, 30.0)) - 1e-3, x * np.asarray(self.units))
        return np.maximum(np.rint(counts), 0.0)


class TwinFit(NamedTuple):
    """A fitted twin.

    Attributes:
        context: members' log constants over defaults after the last observation `[M, c]`.
        state: members' states, leaves `[M, ...]`.
        mean, covariance: after each observation, of (transformed macrostate, log constants) `[K, n + c]`,
            `[K, n + c, n + c]`.
        predicted: mean macrostate before each observation is used `[K, n]`.
    """

    context: Floats
    state: Any
    mean: Floats
    covariance: Floats
    predicted: Floats

    def estimate(self, constants: int) -> Floats:
        """Mean log constants over defaults `[c]`."""
        return self.mean[-1, -constants:]


def fit_twin(
    twin: Twin,
    observations: Array,
    control: Array,
    constants: int,
    config: EnkfConfig | None = None,
    first: Array | None = None,
) -> TwinFit:
    """Filters one patient's series.

    Args:
        twin: what the members are made of.
        observations: macrostates `[K, n]` after `every`, 2 `every`, ... steps; only `config.observed` components are
            read. NaN: not observed that time.
        control: commands that the patient got `[K * every, m]`.
        constants: c, how many constants are unknown.
        config: of the filter.
        first: macrostate at the start `[n]`, spread by `macro_spread`; None to leave the twin's own start.

    Raises:
        ValueError: shapes that do not fit.
    """
    config = EnkfConfig() if config is None else config
    observations = np.asarray(observations, np.float64)
    if observations.ndim != 2 or observations.shape[1] != len(config.logs) or not len(observations):
        raise ValueError(f"observations have shape {observations.shape}, expected [K, {len(config.logs)}]")
    if len(control) != len(observations) * config.every:
        raise ValueError(
            f"control has {len(control)} steps, expected {len(observations)} * {config.every}: one command per step"
        )
    rng = np.random.default_rng(config.seed)
    key = jax.random.key(config.seed)
    context = rng.normal(0.0, config.spread, (config.members, constants))
    state = twin.start(context, jax.random.fold_in(key, 0))
    if first is not None:
        begin = rng.normal(np.asarray(first, float), config.macro_spread, (config.members, len(config.logs)))
        state = twin.edited(state, np.maximum(np.rint(begin), 0), context, jax.random.fold_in(key, 1))
    means, covariances, predicted = [], [], []
    for number, observation in enumerate(observations):
        moving, editing = jax.random.split(jax.random.fold_in(key, 2 + number))
        context = context + rng.normal(0.0, config.level, context.shape)
        piece = np.asarray(control)[number * config.every : (number + 1) * config.every]
        state = twin.advance(state, context, piece, moving)
        macro = np.asarray(twin.macro(state), np.float64)
        predicted.append(macro.mean(0))
        x = np.concatenate([config.forward(macro), context], 1)
        mean, covariance = analyse(x, observation, config)
        means.append(mean)
        covariances.append(covariance)
        drawn = rng.multivariate_normal(mean, covariance, config.members, method="svd")
        drawn = drawn[_pairing(x, drawn)]
        context = np.clip(drawn[:, len(config.logs) :], -1.0, 1.0)
        new = config.backward(drawn[:, : len(config.logs)])
        state = twin.edited(state, new, context, editing)
    return TwinFit(context, state, np.array(means), np.array(covariances), np.array(predicted))


def analyse(x: Floats, observation: Floats, config: EnkfConfig) -> tuple[Floats, Floats]:
    """Mean `[d]` and covariance `[d, d]` of members `x` `[M, d]` after an observation `[n]`.

    `K = P Hᵀ (H P Hᵀ + R)⁺`; the covariance in Joseph's form, `(I - K H) P (I - K H)ᵀ + K R Kᵀ`, which stays positive.
    """
    mean, covariance = x.mean(0), np.cov(x, rowvar=False)
    seen = [index for index in config.observed if np.isfinite(observation[index])]
    if seen:
        variances = dict(
            zip(config.observed, np.broadcast_to(config.variance, len(config.observed)), strict=True)
        )
        h = np.eye(x.shape[1])[seen]
        r = np.diag([variances[index] for index in seen])
        gain = covariance @ h.T @ np.linalg.pinv(h @ covariance @ h.T + r)
        target = config.forward(np.nan_to_num(observation))[seen]
        mean = mean + gain @ (target - h @ mean)
        rest = np.eye(len(mean)) - gain @ h
        covariance = rest @ covariance @ rest.T + gain @ r @ gain.T
    least = np.diag(covariance).min()
    if least < 1e-6:
        covariance = covariance + (1e-6 - least) * np.eye(len(mean))
    return mean, 0.5 * (covariance + covariance.T)


def forecast(twin: Twin, fitted: TwinFit, control: Array, every: int, seed: int = 0) -> Floats:
    """Macrostates of all members `[K, M, n]` after each `every` steps under commands `[K * every, m]`."""
    control, state = np.asarray(control), fitted.state
    found = []
    for number in range(len(control) // every):
        key = jax.random.fold_in(jax.random.key(seed), number)
        piece = control[number * every : (number + 1) * every]
        state = twin.advance(state, fitted.context, piece, key)
        found.append(np.asarray(twin.macro(state), np.float64))
    return np.array(found)


def surprisal(mean: Floats, covariance: Floats, truth: Floats) -> float:
    """`-log p(truth)` under a Gaussian, in nats: lower is better, overconfidence is punished."""
    missed = truth - mean
    _, logdet = np.linalg.slogdet(covariance)
    return float(
        0.5 * (missed @ np.linalg.pinv(covariance) @ missed + logdet + len(mean) * np.log(2 * np.pi))
    )


def _pairing(old: Floats, new: Floats) -> NDArray[np.int64]:
    """For each old member the new one that it becomes, so that all change as little as possible together."""
    scale = old.std(0) + 1e-9
    distance = (((old[:, None] - new[None]) / scale) ** 2).sum(-1)
    return linear_sum_assignment(distance)[1]
