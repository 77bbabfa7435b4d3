"""Statistics of a worst case and of scores against baselines.

The lowest of many noisy means is biased low, so worst cases are re-evaluated with fresh episodes and given intervals
that hold for all models together (Bonferroni).
"""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """Both ends of a confidence interval."""

    low: float
    high: float


def lower_cvar(values: np.ndarray, alpha: float) -> float:
    """Mean of the lowest share `alpha` of the values: the lower conditional value at risk.

    With N values sorted upward and `k = ceil(alpha N)` it is
    `(sum of the first k-1 + (alpha N - k + 1) times the k-th) / (alpha N)`; `alpha = 1` gives the mean and
    `alpha N <= 1` the minimum (Rockafellar and Uryasev 2000, for equally likely values).

    Raises:
        ValueError: no values, NaN, or alpha outside (0, 1].
    """
    ordered = np.sort(_checked(values, alpha))
    mass = alpha * len(ordered)
    if mass <= 1:
        return float(ordered[0])
    # A share such as 0.1 of 30 values is 3 up to rounding and must not become ceil(3.0000000000000004) = 4.
    whole = round(mass)
    k = whole if math.isclose(mass, whole, rel_tol=1e-12) else math.ceil(mass)
    return float((ordered[: k - 1].sum() + (mass - k + 1) * ordered[k - 1]) / mass)


def lower_quantile(values: np.ndarray, alpha: float) -> float:
    """The smallest value that at least a share `alpha` of the values does not exceed."""
    ordered = np.sort(_checked(values, alpha))
    mass = alpha * len(ordered)
    whole = round(mass)
    k = whole if math.isclose(mass, whole, rel_tol=1e-12) else math.ceil(mass)
    return float(ordered[max(k, 1) - 1])


def _checked(values: np.ndarray, alpha: float) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64).reshape(-1)
    if not len(array) or np.isnan(array).any():
        raise ValueError(f"expected values without NaN, got {len(array)} with {np.isnan(array).sum()} NaN.")
    if not 0 < alpha <= 1:
        raise ValueError(f"alpha is {alpha}, expected a number in (0, 1].")
    return array


def mean_intervals(returns: np.ndarray, delta: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of the means of N models that hold for all of them together with confidence `1 - delta`.

    Student's t-interval of each model at level `1 - delta / N` (Bonferroni).

    Args:
        returns: `[N, m]`, m episodes of each model.
        delta: total probability of an error, in (0, 1).

    Returns:
        (lower ends `[N]`, upper ends `[N]`); infinite where there is one episode, for it says nothing about spread.
    """
    table = np.atleast_2d(np.asarray(returns, dtype=np.float64))
    episodes = np.full(len(table), table.shape[1])
    spread = table.std(axis=1, ddof=1) if table.shape[1] > 1 else np.zeros(len(table))
    return intervals_of_moments(table.mean(axis=1), spread, episodes, delta)


def intervals_of_moments(
    mean: np.ndarray, spread: np.ndarray, episodes: np.ndarray, delta: float = 0.05
) -> tuple[np.ndarray, np.ndarray]:
    """`mean_intervals` from the mean, the standard deviation (of n - 1) and the number of episodes `[N]` of each model.

    Models may have been played differently often.
    """
    from scipy.stats import t as student

    if not 0 < delta < 1:
        raise ValueError(f"delta is {delta}, expected a number in (0, 1).")
    count = np.asarray(episodes, dtype=np.float64)
    several = count > 1
    level = 1 - delta / len(count) / 2
    half = np.full(len(count), math.inf)
    half[several] = (
        student.ppf(level, count[several] - 1) * np.asarray(spread)[several] / np.sqrt(count[several])
    )
    return np.asarray(mean) - half, np.asarray(mean) + half


def worst_interval(returns: np.ndarray, delta: float = 0.05) -> Interval:
    """Interval `[min of the lower ends, min of the upper ends]` of the smallest mean of N models.

    Args:
        returns: `[N, m]`.
        delta: probability of an error.
    """
    low, high = mean_intervals(returns, delta)
    return Interval(float(low.min()), float(high.min()))


def worst_bootstrap(
    returns: np.ndarray, delta: float = 0.05, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of the smallest mean, episodes being drawn afresh within each model.

    The same draw of episodes serves all models, for they were played with common random numbers.
    """
    table = np.atleast_2d(np.asarray(returns, dtype=np.float64))
    rng = np.random.default_rng(seed)
    draws = rng.integers(table.shape[1], size=(resamples, table.shape[1]))
    lowest = np.array([table[:, draw].mean(axis=1).min() for draw in draws])
    low, high = np.quantile(lowest, [delta / 2, 1 - delta / 2])
    return Interval(float(low), float(high))


def coverage(draws: int, delta: float = 0.05) -> float:
    """Share of the set that may be worse than the worst of `draws` independent uniform models: `1 - delta^(1/draws)`.

    Holds with confidence `1 - delta`: if a share p of the set were worse, all draws would miss it with probability
    `(1 - p)^draws`.
    """
    if draws < 1:
        raise ValueError(f"draws is {draws}, expected at least one model.")
    if not 0 < delta < 1:
        raise ValueError(f"delta is {delta}, expected a number in (0, 1).")
    return -math.expm1(math.log(delta) / draws)


def draws_for_coverage(share: float, delta: float = 0.05) -> int:
    """How many independent uniform models leave at most `share` of the set worse than the worst found."""
    if not 0 < share < 1 or not 0 < delta < 1:
        raise ValueError(f"share and delta must lie in (0, 1), got {share} and {delta}.")
    return math.ceil(math.log(delta) / math.log1p(-share) - 1e-9)


def coverage_sentence(draws: int, delta: float = 0.05) -> str:
    """What `draws` independent uniform models say about the rest of the set, in one sentence."""
    return (
        f"After {draws} independent uniform draws, with {100 * (1 - delta):g} % confidence at most "
        f"{100 * coverage(draws, delta):.2g} % of the set is worse than the worst of them."
    )


def wilson_interval(failures: int, trials: int, delta: float = 0.05) -> Interval:
    """Interval of a proportion (Wilson 1927): sensible at 0 and at all failures."""
    from scipy.stats import norm

    if not 0 <= failures <= trials or trials < 1:
        raise ValueError(f"expected 0 <= failures <= trials and trials >= 1, got {failures} of {trials}.")
    z = norm.ppf(1 - delta / 2)
    share = failures / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def normalised_score(score: float, baseline: float, target: float) -> float:
    """`(score - baseline) / |target - baseline|`: 0 for the baseline, 1 for the target.

    NaN with a warning where target and baseline are the same up to `1e-9 max(1, |baseline|)`; never a huge number.
    """
    distance = abs(target - baseline)
    if distance < 1e-9 * max(1.0, abs(baseline)):
        warnings.warn(
            f"baseline and target are both {baseline}: there is no scale to normalise by.", stacklevel=2
        )
        return math.nan
    return (score - baseline) / distance


class Aggregate(NamedTuple):
    """Normalised scores over environments; the mean is ruled by outliers, so all three are given."""

    mean: float
    median: float
    interquartile_mean: float


def aggregate(scores: np.ndarray) -> Aggregate:
    """Mean, median and interquartile mean of the scores that are no NaN."""
    from dynrl.statistics import interquartile_mean

    values = np.asarray(scores, dtype=np.float64).reshape(-1)
    kept = values[~np.isnan(values)]
    return Aggregate(float(kept.mean()), float(np.median(kept)), float(interquartile_mean(kept)))
