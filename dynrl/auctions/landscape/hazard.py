"""A neural landscape: one hazard per price, trained on the censored likelihood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from numpy.typing import NDArray

from dynrl.auctions.campaign import DELTA_MAX
from dynrl.auctions.landscape.counting import SurvivalCounts
from dynrl.auctions.landscape.inputs import dense_rows, sparse_rows
from dynrl.auctions.landscape.landscape import Landscape, Tie
from dynrl.auctions.landscape.observations import PriceObservations
from dynrl.auctions.log import Features
from dynrl.runs.progress import Progress

__all__ = ["HazardConfig", "HazardLandscape", "HazardNetwork", "fit_hazard"]

_BLOCK = 8192
"""Rows evaluated at once: their hazards, not those of the whole log, must fit in memory."""


@dataclass(frozen=True)
class HazardConfig:
    """How a neural landscape is built and trained.

    Attributes:
        width: units per hidden layer.
        depth: hidden layers.
        embedding: numbers per feature (sparse x only); a row is the mean of its features' embeddings.
        buckets: rows of the embedding table; feature numbers are taken modulo this.
        learning_rate: of AdamW.
        weight_decay: of AdamW, on everything but the base hazards.
        batch_size: rows per step.
        epochs: largest number of passes.
        patience: passes without improvement on the held-out rows after which training stops.
        held_out: share of the rows that choose the epoch and are not trained on.
        seed: of the weights, the choice of held-out rows and the order of rows.
    """

    width: int = 64
    depth: int = 2
    embedding: int = 16
    buckets: int = 2**16
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    batch_size: int = 512
    epochs: int = 30
    patience: int = 4
    held_out: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("width", "depth", "embedding", "buckets", "batch_size", "epochs", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out is {self.held_out}, expected a share of the rows between 0 and 1")


class HazardNetwork(eqx.Module):
    """x -> logit of P(price = z | price ≥ z) for every price z.

    `output` starts at zero, so that an untrained network is the landscape that `base` came from.
    """

    hidden: eqx.nn.MLP
    output: Float[Array, "width prices"]
    base: Float[Array, " prices"]
    embedding: Float[Array, "buckets size"] | None

    def __call__(self, row: Array) -> Float[Array, " prices"]:
        """Logits of one row: standardised dense numbers `[d]`, or feature numbers `[width]` filled up with -1."""
        if self.embedding is not None:
            present = row >= 0
            vectors = self.embedding[row % len(self.embedding)] * present[:, None]
            row = vectors.sum(0) / jnp.maximum(present.sum(), 1)
        return self.base + self.hidden(row) @ self.output


@dataclass(frozen=True, eq=False)
class HazardLandscape(Landscape):
    """P(price > z | x) = Π_{k ≤ z} (1 - hazard_k(x)); what survives `delta_max` is the tail.

    `x` is dense `[..., d]` or sparse `Features`, as in the fit.

    Attributes:
        network: the hazards.
        shift, scale: `[d]`, which standardise dense x; empty for sparse x.
        dimension: of sparse x; None for dense x.
        history: mean censored log-likelihood of the held-out rows before training and after each pass.
    """

    network: HazardNetwork
    shift: NDArray[np.float64]
    scale: NDArray[np.float64]
    dimension: int | None
    history: tuple[float, ...] = ()

    @property
    def delta_max(self) -> int:
        return len(self.network.base) - 1

    def rows(self, x: Any) -> NDArray[Any]:
        """`x` as the network takes it."""
        if (self.dimension is None) == isinstance(x, Features) or x is None:
            expected = "dense rows [..., d]" if self.dimension is None else "sparse Features"
            raise ValueError(f"x is {type(x).__name__}, expected {expected} as when the landscape was fitted")
        if self.dimension is not None:
            padded = sparse_rows(x, self.dimension)
            return np.where(padded == self.dimension, -1, padded)
        dense = dense_rows(x, len(self.shift))
        return ((dense - self.shift) / self.scale).astype(np.float32)

    def pmf(self, x: Any = None) -> NDArray[np.float64]:
        rows = self.rows(x)
        flat = rows.reshape(-1, rows.shape[-1])
        blocks = [
            _logits(self.network, flat[start : start + _BLOCK]) for start in range(0, len(flat), _BLOCK)
        ]
        logits = np.concatenate([np.asarray(block, np.float64) for block in blocks])
        # P(z) = h_z Π_{k<z} (1 - h_k), in logarithms so that hazards near 0 and 1 keep their digits.
        stay = -np.logaddexp(0.0, logits)
        before = np.cumsum(stay, axis=-1) - stay
        pmf = np.exp(before - np.logaddexp(0.0, -logits))
        return pmf.reshape(*rows.shape[:-1], self.delta_max + 1)


def fit_hazard(
    observations: PriceObservations,
    x: Any,
    config: HazardConfig = HazardConfig(),
    *,
    delta_max: int = DELTA_MAX,
    tie: Tie = "win",
    progress_bar: bool = False,
) -> HazardLandscape:
    """Trains hazards by mini-batch ascent of the censored log-likelihood; keeps the pass best on held-out rows.

    A row won at price z contributes ln h_z + Σ_{k<z} ln(1 - h_k); one known to be above c contributes
    Σ_{k≤c} ln(1 - h_k) (discrete-time survival, Singer & Willett 1993). The start is the product-limit landscape of
    the training rows with half a pseudo-observation per price, so the result is never worse than it on the held-out
    rows.

    Args:
        x: dense `[N, d]` (standardised inside) or `Features` of N rows.

    Raises:
        ValueError: rows that do not fit, or too few to hold any out.
    """
    count = len(observations)
    untrained = _untrained(observations, x, config, delta_max, tie)
    rows = untrained.rows(x)
    if rows.ndim != 2 or len(rows) != count:
        raise ValueError(f"x has shape {rows.shape}, expected {count} rows as in the observations")
    event = observations.won & (observations.price <= delta_max)
    level = np.where(
        observations.won, np.minimum(observations.price, delta_max), observations.known_above(tie)
    )
    level = np.minimum(level, delta_max).astype(np.int32)
    training, held_out = _split(count, config)
    batch = min(config.batch_size, len(training))
    network, optimiser = untrained.network, _optimiser(config)
    state = optimiser.init(eqx.filter(network, eqx.is_inexact_array))
    best, history = network, [_mean_log_likelihood(network, rows, level, event, held_out)]
    rng = np.random.default_rng([config.seed, 1])
    with Progress(config.epochs, "passes", shown=progress_bar) as progress:
        for _ in range(config.epochs):
            order = rng.permutation(training)[: len(training) // batch * batch].reshape(-1, batch)
            network, state = _train(config, network, state, rows[order], level[order], event[order])
            history.append(_mean_log_likelihood(network, rows, level, event, held_out))
            progress.advance(1, f"held-out log-likelihood {history[-1]:.4f}")
            if history[-1] >= max(history):
                best = network
            elif len(history) - 1 - int(np.argmax(history)) >= config.patience:
                break
    return HazardLandscape(best, untrained.shift, untrained.scale, untrained.dimension, tuple(history))


def _untrained(
    observations: PriceObservations, x: Any, config: HazardConfig, delta_max: int, tie: Tie
) -> HazardLandscape:
    training, _ = _split(len(observations), config)
    counts = SurvivalCounts.from_observations(observations.take(training), delta_max, tie)
    prices = delta_max + 1
    # Half an observation in each cell and in the tail keeps every hazard inside (0, 1).
    events = counts.events + 0.5
    survivors = counts.at_risk - counts.events + 0.5 * np.arange(prices, 0, -1)
    sparse = isinstance(x, Features)
    dense = None if sparse else dense_rows(x)
    if dense is not None and (dense.ndim != 2 or dense.shape[1] == 0 or len(dense) != len(observations)):
        raise ValueError(f"x has shape {dense.shape}, expected [{len(observations)}, d] with d of at least 1")
    size = config.embedding if dense is None else dense.shape[1]
    hidden_key, embedding_key = jax.random.split(jax.random.key(config.seed))
    network = HazardNetwork(
        hidden=eqx.nn.MLP(
            size,
            config.width,
            config.width,
            config.depth - 1,
            final_activation=jax.nn.relu,
            key=hidden_key,
        ),
        output=jnp.zeros((config.width, prices)),
        base=jnp.asarray(np.log(events / survivors), jnp.float32),
        embedding=jax.random.normal(embedding_key, (config.buckets, size)) if sparse else None,
    )
    if dense is None:
        return HazardLandscape(network, np.zeros(0), np.ones(0), x.dimension)
    scale = dense[training].std(0)
    return HazardLandscape(network, dense[training].mean(0), np.where(scale > 0, scale, 1.0), None)


def _split(count: int, config: HazardConfig) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(training rows, held-out rows)."""
    held_out = round(count * config.held_out)
    if not 1 <= held_out < count:
        raise ValueError(f"{count} rows are too few to hold out a share of {config.held_out}")
    order = np.random.default_rng([config.seed, 0]).permutation(count)
    return order[held_out:], order[:held_out]


def _optimiser(config: HazardConfig) -> optax.GradientTransformation:
    def decayed(network: HazardNetwork) -> Any:
        mask = jax.tree.map(lambda _: True, network)
        return eqx.tree_at(lambda network: network.base, mask, False)

    return optax.adamw(config.learning_rate, weight_decay=config.weight_decay, mask=decayed)


@eqx.filter_jit
def _logits(network: HazardNetwork, rows: Any) -> Any:
    return jax.vmap(network)(jnp.asarray(rows))


def _log_likelihood(network: HazardNetwork, rows: Any, level: Any, event: Any) -> Any:
    """`[B]`, of each row."""
    logits = jax.vmap(network)(rows)
    price = jnp.arange(logits.shape[-1])
    stayed = (price < level[:, None]) | ((price == level[:, None]) & ~event[:, None])
    ended = (price == level[:, None]) & event[:, None]
    terms = jnp.where(stayed, jax.nn.log_sigmoid(-logits), 0.0)
    return (terms + jnp.where(ended, jax.nn.log_sigmoid(logits), 0.0)).sum(-1)


@eqx.filter_jit
def _block_log_likelihood(network: HazardNetwork, rows: Any, level: Any, event: Any) -> Any:
    return _log_likelihood(network, rows, level, event).sum()


def _mean_log_likelihood(
    network: HazardNetwork, rows: Any, level: Any, event: Any, chosen: NDArray[np.int64]
) -> float:
    blocks = (chosen[start : start + _BLOCK] for start in range(0, len(chosen), _BLOCK))
    total = sum(float(_block_log_likelihood(network, rows[b], level[b], event[b])) for b in blocks)
    return total / len(chosen)


@eqx.filter_jit
def _train(config: HazardConfig, network: Any, state: Any, rows: Any, level: Any, event: Any) -> Any:
    """One pass over batches `[n, B, ...]`."""
    optimiser = _optimiser(config)
    trained, fixed = eqx.partition(network, eqx.is_inexact_array)

    def loss(trained: Any, batch: Any) -> Any:
        return -_log_likelihood(eqx.combine(trained, fixed), *batch).mean()

    def step(carry: Any, batch: Any) -> Any:
        trained, state = carry
        updates, state = optimiser.update(jax.grad(loss)(trained, batch), state, trained)
        return (optax.apply_updates(trained, updates), state), None

    batches = (jnp.asarray(rows), jnp.asarray(level), jnp.asarray(event))
    (trained, state), _ = jax.lax.scan(step, (trained, state), batches)
    return eqx.combine(trained, fixed), state
