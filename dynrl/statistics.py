"""Statistics over runs and tasks (Agarwal et al., "Deep RL at the Edge of the Statistical Precipice", 2021).

Scores are arrays `[runs, tasks]`; a single task may be given as `[runs]`.
"""

from collections.abc import Callable

import numpy as np


def interquartile_mean(scores: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Mean of the middle half: the lowest and the highest quarter (rounded down) are left out.

    Args:
        scores: any shape.
        axis: the axis to reduce; None for all values together.

    Raises:
        ValueError: no values, or NaN among them.
    """
    values = _checked(scores)
    if axis is None:
        values, axis = values.reshape(-1), 0
    ordered = np.moveaxis(np.sort(values, axis=axis), axis, -1)
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1)


def stratified_bootstrap(
    scores: np.ndarray,
    statistic: Callable[..., np.ndarray] = interquartile_mean,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of `statistic`, runs being drawn afresh within each task.

    Args:
        scores: `[runs, tasks]` or `[runs]`.
        statistic: takes `[resamples, values]` and `axis=-1`, gives `[resamples]`; such as `np.mean`.
        confidence: mass of the interval, in (0, 1).
        resamples: bootstrap draws.
        seed: of the draws.

    Returns:
        (lower end, upper end).
    """
    values = _runs_by_tasks(scores)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(values), size=(resamples, *values.shape))
    sampled = np.take_along_axis(values[None], draws, axis=1).reshape(resamples, -1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(statistic(sampled, axis=-1), [tail, 1 - tail])
    return float(low), float(high)


def bootstrap_band(
    curves: np.ndarray,
    statistic: Callable[..., np.ndarray] = interquartile_mean,
    confidence: float = 0.95,
    resamples: int = 500,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Pointwise percentile bootstrap band over runs.

    Args:
        curves: `[runs, points]`; one draw of runs serves all points.
        statistic, confidence, resamples, seed: as in `stratified_bootstrap`.

    Returns:
        (lower `[points]`, upper `[points]`).
    """
    values = _checked(curves)
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(values), size=(resamples, len(values)))
    centres = np.stack([statistic(values[draw], axis=0) for draw in draws])
    tail = (1 - confidence) / 2
    low, high = np.quantile(centres, [tail, 1 - tail], axis=0)
    return low, high


def performance_profile(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share of runs scoring above each threshold, tasks weighted equally.

    Args:
        scores: `[runs, tasks]` or `[runs]`.
        thresholds: `[K]`.

    Returns:
        `[K]` in [0, 1], non-increasing for increasing thresholds.
    """
    values = _runs_by_tasks(scores)
    return (values[None] > np.asarray(thresholds)[:, None, None]).mean(axis=(1, 2))


def probability_of_improvement(scores: np.ndarray, others: np.ndarray) -> float:
    """Probability that a run of `scores` beats a run of `others` on a random task; a tie counts one half.

    The Mann-Whitney statistic divided by the number of pairs, averaged over tasks.

    Args:
        scores: `[runs, tasks]` or `[runs]`.
        others: `[other runs, tasks]` or `[other runs]`.
    """
    first, second = _runs_by_tasks(scores), _runs_by_tasks(others)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"the tasks differ: {first.shape[1]} against {second.shape[1]}")
    difference = first[:, None] - second[None]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def optimality_gap(scores: np.ndarray, target: float = 1.0) -> float:
    """How far scores fall short of `target` on average, those above it counting as met."""
    return target - float(np.minimum(_checked(scores), target).mean())


def _checked(scores: np.ndarray) -> np.ndarray:
    values = np.asarray(scores, dtype=np.float64)
    if values.size == 0:
        raise ValueError("there are no scores")
    if np.isnan(values).any():
        raise ValueError(f"{int(np.isnan(values).sum())} of {values.size} scores are NaN")
    return values


def _runs_by_tasks(scores: np.ndarray) -> np.ndarray:
    values = _checked(scores)
    if values.ndim == 1:
        return values[:, None]
    if values.ndim != 2:
        raise ValueError(f"scores must be [runs, tasks] or [runs], got {values.ndim} dimensions")
    return values
