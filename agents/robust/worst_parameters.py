"""Candidate worst parameters that go down by gradient, and the sampler that plays them.

Source: Tanabe, Sato, Fukuchi, Sakuma, Akimoto, "Max-Min Off-Policy Actor-Critic Method Focusing on Worst-Case
Robustness to Model Misspecification" (2022), Algorithm 1, and the authors' published code for what it leaves open.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dynrl.agents.robust.collection_config import CollectionConfig, check_counts, check_positive
from dynrl.agents.robust.game_env import from_half_ranges, in_half_ranges
from dynrl.learning.td3 import clipped_noise

__all__ = ["CandidateSampler", "Candidates", "CandidatesConfig"]


@dataclass(frozen=True)
class CandidatesConfig(CollectionConfig):
    """Settings of the candidates; the rest is in `CollectionConfig`, the paper's random phase being 100 000 steps.

    The parameters ω are counted in half-ranges: every interval becomes [-1, 1].

    Attributes:
        candidates: worst cases followed at once.
        candidate_rate: Adam's learning rate on them.
        noise_begin, noise_end: standard deviation of the noise on a played candidate at the beginning and at the end
            of its annealing.
        target_noise, noise_clip: of the noise on the parameters in the critics' targets.
        least_distance: L1 distance at or below which one of two candidates begins anew.
        least_probability: of being played, below which a candidate begins anew.
    """

    most_random_steps: ClassVar[int] = 100_000

    candidates: int = 5  # N
    candidate_rate: float = 3e-4
    noise_begin: float = 1.0  # sigma of omega
    noise_end: float = 0.1
    target_noise: float = 0.2
    noise_clip: float = 0.5
    least_distance: float = 0.1  # d_thre
    least_probability: float = 0.05  # p_thre

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "candidates")
        check_positive(self, "candidate_rate")
        if self.candidates * self.least_probability >= 1:
            raise ValueError(
                f"least_probability must be below 1 / candidates = {1 / self.candidates:.3g}, else every candidate "
                f"would begin anew in every episode; got {self.least_probability}"
            )


class Candidates(NamedTuple):
    """The worst cases that the policy trains against.

    Attributes:
        raw: `[K, d]`, free; `2 sigmoid(raw) - 1` is ω.
        moments: Adam's state of each candidate, leading axis K, so that one's step does not move the others.
        probability: `[K]` of being played, p.
    """

    raw: Any
    moments: Any
    probability: Any

    @property
    def omega(self) -> Any:
        """`[K, d]` in (-1, 1)."""
        return 2 * jax.nn.sigmoid(self.raw) - 1


def fresh_raw(key: Any, shape: tuple[int, ...]) -> Any:
    """Candidates uniform in the box, before the sigmoid."""
    uniform = jax.random.uniform(key, shape, minval=1e-4, maxval=1 - 1e-4)
    return jnp.log(uniform) - jnp.log1p(-uniform)


def initial_candidates(config: CandidatesConfig, dim: int, key: Any) -> Candidates:
    """Uniform candidates, each as likely to be played."""
    raw = fresh_raw(key, (config.candidates, dim))
    moments = jax.vmap(optax.adam(config.candidate_rate).init)(raw)
    return Candidates(raw, moments, jnp.full(config.candidates, 1 / config.candidates))


def parameter_noise(config: CandidatesConfig, progress: float, soft: bool) -> float:
    """Standard deviation of the noise on played candidates; annealed over the training, or its first half (soft)."""
    done = min(max((2 if soft else 1) * progress, 0.0), 1.0)
    return config.noise_begin + done * (config.noise_end - config.noise_begin)


def play_more(probability: Any, worst: Any, rate: Any) -> Any:
    """`p <- (1 - c) p + c e_k` for the worst candidate k."""
    return (1 - rate) * probability + rate * jax.nn.one_hot(worst, probability.shape[0])


def renew_candidates(config: CandidatesConfig, candidates: Candidates, key: Any) -> Candidates:
    """Candidates that follow another one, or that are hardly ever the worst, begin anew.

    The later one of two that are close is drawn uniformly, as is every one whose probability is too low; its
    probability becomes the mean of the others', and all are normalised.
    """
    omega, p = candidates.omega, candidates.probability
    distance = jnp.abs(omega[:, None] - omega[None]).sum(-1)
    earlier = jnp.tril(jnp.ones_like(distance, bool), -1)
    renewed = ((distance <= config.least_distance) & earlier).any(axis=1) | (p < config.least_probability)
    raw = jnp.where(renewed[:, None], fresh_raw(key, candidates.raw.shape), candidates.raw)
    first = jax.vmap(optax.adam(config.candidate_rate).init)(raw)
    moments = jax.tree.map(partial(_where_row, renewed), first, candidates.moments)
    others = (p.sum() - p) / max(len(p) - 1, 1)
    p = jnp.where(renewed, others, p)
    return Candidates(raw, moments, p / p.sum())


def _where_row(rows: Any, new: Any, old: Any) -> Any:
    return jnp.where(rows.reshape(-1, *([1] * (new.ndim - 1))), new, old)


def descend(
    config: CandidatesConfig, candidates: Candidates, worst: Any, gradient: Any, rate: Any
) -> Candidates:
    """One Adam step of the worst candidate along `gradient [d]` of its value by `raw`; the others stay.

    Args:
        worst: `[]`, its index.
        rate: c of the probabilities' update.
    """
    moments = jax.tree.map(lambda leaf: leaf[worst], candidates.moments)
    step, moments = optax.adam(config.candidate_rate).update(gradient, moments)
    return Candidates(
        candidates.raw.at[worst].add(step),
        jax.tree.map(lambda leaf, new: leaf.at[worst].set(new), candidates.moments, moments),
        play_more(candidates.probability, worst, rate),
    )


def near_parameters(config: CandidatesConfig, omega: Any, key: Any) -> Any:
    """ω of the critics' targets: with clipped noise, inside the box."""
    return jnp.clip(omega + clipped_noise(key, omega.shape, config.target_noise, config.noise_clip), -1, 1)


_renewed = jax.jit(renew_candidates, static_argnums=0)


class CandidateSampler:
    """Gives every episode its parameters: uniform at first, then a candidate with noise.

    Attributes:
        candidates: as learnt so far; whoever learns replaces it.
        steps: environment steps so far, kept up to date by whoever trains.
        length: of the last finished episode, likewise.
    """

    def __init__(self, config: CandidatesConfig, soft: bool, uset: Any, budget: int, key: Any) -> None:
        self.config, self.soft, self.uset, self.budget = config, soft, uset, budget
        self.random_steps = config.first_steps(budget)
        first, self._key = jax.random.split(key)
        self.candidates = initial_candidates(config, uset.dim, first)
        self.steps, self.length, self._calls = 0, 0, 0

    def __call__(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Parameters `[count, d]` of the episodes about to begin, in natural units."""
        if self.steps < self.random_steps:
            return self.uset.sample(rng, count, method="uniform")
        self.candidates = _renewed(self.config, self.candidates, self.next_key())
        p = np.asarray(self.candidates.probability, np.float64)
        played = np.asarray(self.candidates.omega)[rng.choice(len(p), size=count, p=p / p.sum())]
        deviation = parameter_noise(self.config, self.steps / self.budget, self.soft)
        return from_half_ranges(self.uset, np.clip(played + rng.normal(0, deviation, played.shape), -1, 1))

    @property
    def rate(self) -> float:
        """c: 1 / (length of the last episode), shared by the lanes, whose updates fall into the same time."""
        return 1 / (self.config.num_envs * max(self.length, 1))

    def omega(self, env: Any) -> np.ndarray:
        """The parameters of every lane, `[N, d]` in [-1, 1]."""
        return in_half_ranges(self.uset, env.psi)

    def next_key(self) -> jax.Array:
        """A key that was not given before."""
        self._calls += 1
        return jax.random.fold_in(self._key, self._calls)

    def learned(self) -> dict[str, Any]:
        """The candidates in natural units and their probabilities, as JSON values."""
        psi = from_half_ranges(self.uset, self.candidates.omega)
        return {"candidates": psi.tolist(), "probability": np.asarray(self.candidates.probability).tolist()}
