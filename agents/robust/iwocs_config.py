"""Settings of deep IWOCS."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from dynrl.agents.robust.domain_randomisation import TrainingConfig

__all__ = ["IWOCSConfig", "SearchConfig"]


@dataclass(frozen=True)
class SearchConfig:
    """A worst-case search; its steps count.

    Attributes:
        method: of `dynrl.robust.search`: auto, cmaes, corners, grid, random+local or sobol. The paper: cmaes.
        evaluations: models at most.
        episodes: per model.
        lanes: episodes played at a time.
    """

    method: str = "auto"
    evaluations: int = 100
    episodes: int = 1
    lanes: int = 32

    def __post_init__(self) -> None:
        if self.evaluations < 1 or self.episodes < 1 or self.lanes < 1:
            raise ValueError("evaluations, episodes and lanes must be at least 1")


@dataclass(frozen=True)
class IWOCSConfig:
    """Settings of `DeepIWOCS`; shares are of the whole budget (the paper: 1.6e6 + 3 x 8e5 of 4e6 steps).

    Attributes:
        training: of the default policy and of every specialist.
        default_share: steps of the default policy, which is trained with domain randomisation.
        agent_share: steps of each specialist.
        iterations: M, specialists at most.
        search: of the worst case; done once per threshold tried.
        threshold_rule: `"grid"` tries each of `thresholds` with a search and keeps the one with the best worst case
            (the paper); `"quantile"` takes the share `quantile` of the specialist's own latest errors, without a step.
        thresholds: R, tried for the newest specialist only.
        quantile: for `threshold_rule: quantile`.
        scaling: `"none"`, raw observations as in the paper, or `"replay"`, in standard deviations of the experience.
        validity: `"predictor"` (the paper) or `"gaussian"`, a one-class model without a network.
        tolerance: eps of the stopping test, in discounted return; None leaves the test out.
        repeat_distance: a worst model this near to a solved one (largest difference in the unit cube) ends the run.
        start_episodes: episode starts over which the stopping test averages.
        warm_start: a specialist begins with the networks of the nearest solved model (not in the paper).
        predictor_data: `"own"`, or `"default"`: half of the predictor's batches come from the default policy's replay,
            which never serves the values (not in the paper).
    """

    training: TrainingConfig = field(default_factory=TrainingConfig)
    default_share: float = 0.4
    agent_share: float = 0.2
    iterations: int = 3
    search: SearchConfig = field(default_factory=SearchConfig)
    threshold_rule: Literal["grid", "quantile"] = "grid"
    thresholds: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    quantile: float = 0.99
    scaling: Literal["none", "replay"] = "none"
    validity: Literal["predictor", "gaussian"] = "predictor"
    tolerance: float | None = None
    repeat_distance: float = 0.01
    start_episodes: int = 8
    warm_start: bool = False
    predictor_data: Literal["own", "default"] = "own"

    def __post_init__(self) -> None:
        if not (0 < self.default_share < 1 and 0 < self.agent_share < 1):
            raise ValueError("default_share and agent_share must lie in (0, 1)")
        if self.iterations < 1 or self.start_episodes < 1 or not self.thresholds:
            raise ValueError(
                "iterations and start_episodes must be at least 1, and thresholds must not be empty"
            )
        if not 0 < self.quantile <= 1:
            raise ValueError(f"quantile must lie in (0, 1], got {self.quantile}")
