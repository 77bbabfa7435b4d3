"""Approximate Bayesian computation by sequential Monte Carlo: constants whose runs look like the patient's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

__all__ = ["AbcConfig", "AbcPosterior", "abc_smc"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AbcConfig:
    """Settings of `abc_smc`.

    Attributes:
        particles: accepted per round.
        rounds: populations; the tolerance of each is a quantile of the distances of the one before.
        quantile: see above.
        spread: of the prior, N(0, spread²) per log constant.
        batch: candidates simulated at once.
        max_batches: per round; more is an error.
        seed: of everything drawn.
    """

    particles: int = 100
    rounds: int = 5
    quantile: float = 0.5
    spread: float = 0.1
    batch: int = 256
    max_batches: int = 40
    seed: int = 0

    def __post_init__(self) -> None:
        if self.particles < 10 or self.rounds < 1 or self.batch < 1 or self.max_batches < 1:
            raise ValueError("expected at least 10 particles, 1 round, and batches of at least 1")
        if not 0 < self.quantile < 1:
            raise ValueError(f"quantile is {self.quantile}, expected a share between 0 and 1")


class AbcPosterior(NamedTuple):
    """Weighted particles.

    Attributes:
        context: log constants `[particles, c]`.
        weights: sum to 1 `[particles]`.
        tolerances: of each round.
        simulations: runs that were needed.
    """

    context: Floats
    weights: Floats
    tolerances: Floats
    simulations: int

    def mean(self) -> Floats:
        """Posterior mean `[c]`."""
        return self.weights @ self.context

    def covariance(self) -> Floats:
        """Posterior covariance `[c, c]`."""
        return np.atleast_2d(np.cov(self.context, rowvar=False, aweights=self.weights))


def abc_smc(
    simulate: Callable[[Floats, int], Any],
    observed: Any,
    constants: int,
    config: AbcConfig | None = None,
    scale: Any = None,
) -> AbcPosterior:
    """Toni et al., "Approximate Bayesian computation scheme for parameter inference and model selection in dynamical
    systems", Journal of the Royal Society Interface 6:187, 2009, with tolerances by quantiles and a Gaussian kernel of
    twice the weighted covariance (Beaumont et al., 2009).

    Args:
        simulate: `(context [B, c], seed) -> summaries [B, s]` of one random run each.
        observed: the patient's summaries `[s]`.
        constants: c.
        config: of the sampler.
        scale: of each summary in the distance `[s]`; None for the spread of the prior's runs.

    Raises:
        RuntimeError: a round could not be filled within `max_batches`; says how far it came.
    """
    config = AbcConfig() if config is None else config
    rng = np.random.default_rng(config.seed)
    observed = np.asarray(observed, np.float64)
    runs = 0

    def distances(context: Floats) -> Floats:
        nonlocal runs
        summaries = np.asarray(simulate(context, config.seed + runs), np.float64)
        runs += len(context)
        return np.sqrt((((summaries - observed) / units) ** 2).mean(-1))

    first = rng.normal(0.0, config.spread, (max(config.batch, config.particles), constants))
    units = np.ones_like(observed)
    if scale is None:
        pilot = np.asarray(simulate(first, config.seed + 10**6), np.float64)
        runs, units = len(first), pilot.std(0) + 1e-9
    else:
        units = np.broadcast_to(np.asarray(scale, np.float64), observed.shape)
    distance = distances(first)
    order = np.argsort(distance)[: config.particles]
    context, distance = first[order], distance[order]
    weights = np.full(config.particles, 1 / config.particles)
    tolerances = [distance.max()]
    for number in range(1, config.rounds):
        tolerance = float(np.quantile(distance, config.quantile))
        kernel = 2 * np.atleast_2d(np.cov(context, rowvar=False, aweights=weights)) + 1e-12 * np.eye(
            constants
        )
        kept: list[Floats] = []
        kept_distance: list[Floats] = []
        for _ in range(config.max_batches):
            parents = context[rng.choice(len(context), config.batch, p=weights)]
            moved = parents + rng.multivariate_normal(np.zeros(constants), kernel, config.batch)
            found = distances(moved)
            kept.append(moved[found <= tolerance])
            kept_distance.append(found[found <= tolerance])
            if sum(map(len, kept)) >= config.particles:
                break
        new = np.concatenate(kept)[: config.particles]
        if len(new) < config.particles:
            raise RuntimeError(
                f"round {number}: {len(new)} of {config.particles} particles within distance {tolerance:.3g} after "
                f"{config.max_batches * config.batch} runs; fewer rounds, a higher quantile or more batches would do"
            )
        weights = _weights(new, context, weights, kernel, config.spread)
        context, distance = new, np.concatenate(kept_distance)[: config.particles]
        tolerances.append(tolerance)
    return AbcPosterior(context, weights, np.array(tolerances), runs)


def _weights(new: Floats, old: Floats, weights: Floats, kernel: Floats, spread: float) -> Floats:
    """Prior over mixture of kernels, normalised."""
    inverse = np.linalg.inv(kernel)
    apart = new[:, None] - old[None]
    exponent = -0.5 * np.einsum("ijc,cd,ijd->ij", apart, inverse, apart)
    proposal = logsumexp(exponent, axis=1, b=weights)
    logs = -0.5 * (new**2).sum(1) / spread**2 - proposal
    return np.exp(logs - logsumexp(logs))
