"""Logistic regression by FTRL-proximal: one pass over the rows, most weights exactly zero."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynrl.auctions.clicks.model import ClickModel
from dynrl.auctions.clicks.padding import check_features, pad_rows, row_width
from dynrl.auctions.clicks.sampling import check_clicks, check_sampling, expected_rows, passes
from dynrl.auctions.log import Features
from dynrl.runs.progress import Progress

__all__ = ["FTRL", "FTRLState"]

_BLOCK = 16_384
"""Rows per compiled call: few enough for their feature numbers to stay in the cache."""


@dataclass(frozen=True, eq=False)
class FTRLState:
    """Accumulators per feature, on the device.

    Attributes:
        z_and_n: float64 `[dimension + 1, 2]`: z, the sum of gradients minus the proximal terms, and n, the sum of
            squared gradients. The last row belongs to the padding and stays zero.
    """

    z_and_n: Any

    @property
    def dimension(self) -> int:
        """Number of features."""
        return len(self.z_and_n) - 1


@dataclass(frozen=True)
class FTRL:
    """FTRL-proximal with per-coordinate learning rates, row by row in float64 (McMahan et al. 2013, Algorithm 1).

    For a row with probability p, click y and gradient g = p - y, each feature present is updated as
    σ = (√(n + g²) - √n) / α, z += g - σ w, n += g², and
    w = 0 if |z| ≤ λ₁ else -(z - sign(z) λ₁) / ((β + √n) / α + λ₂).

    Attributes:
        alpha: α, learning rate; 0.05 to 0.1 is usual.
        beta: β, which slows the first steps.
        l1: λ₁, which keeps weights at exactly zero.
        l2: λ₂.
        epochs: passes over the rows.
        buffer: rows are shuffled within consecutive buffers of this many; 1 keeps the order of the log.
        negative_rate: share of unclicked rows trained on, drawn anew in each pass; predictions are corrected for it.
        seed: of shuffling and drawing.
    """

    alpha: float = 0.05
    beta: float = 1.0
    l1: float = 1.0
    l2: float = 1.0
    epochs: int = 1
    buffer: int = 1_000_000
    negative_rate: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.alpha > 0:
            raise ValueError(f"alpha is {self.alpha}, expected a positive learning rate")
        for name in ("beta", "l1", "l2"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 0")
        check_sampling(self.epochs, self.buffer, self.negative_rate)

    def fit(self, features: Features, click: ArrayLike, progress_bar: bool = False) -> ClickModel:
        """Trains on rows `[N]`.

        Raises:
            ValueError: rows that do not fit, no clicks, or feature numbers out of range.
        """
        clicks = check_clicks(features, click)
        state, width = self.start(features.dimension), _rounded(row_width(features))
        visits = self.epochs * expected_rows(clicks, self.negative_rate)
        with Progress(visits, "rows", shown=progress_bar) as progress:
            for rows in passes(clicks, self.epochs, self.buffer, self.negative_rate, self.seed):
                state = self._update(state, features, clicks, rows, width)
                progress.advance(len(rows))
        return self.model(state)

    def start(self, dimension: int) -> FTRLState:
        """Nothing seen yet: every weight is 0."""
        with jax.enable_x64(True):
            return FTRLState(jnp.zeros((dimension + 1, 2), jnp.float64))

    def update(self, state: FTRLState, features: Features, click: ArrayLike) -> FTRLState:
        """The state after some more rows, in the order given and none left out: for logs that come in blocks.

        The given state is consumed (its memory is used for the new one). `epochs`, `buffer` and `negative_rate` are not
        acted upon, but `model` corrects for the latter: thin the unclicked rows yourself, or leave it at 1.

        Raises:
            ValueError: rows that do not fit, or feature numbers out of range.
        """
        clicks = np.asarray(click, np.float64)
        if features.dimension != state.dimension or clicks.shape != (len(features),):
            raise ValueError(
                f"{len(features)} rows of dimension {features.dimension} with clicks {clicks.shape} do not fit a state "
                f"of dimension {state.dimension}"
            )
        check_features(features)
        return self._update(state, features, clicks, np.arange(len(clicks)), _rounded(row_width(features)))

    def model(self, state: FTRLState) -> ClickModel:
        """The click model of a state."""
        with jax.enable_x64(True):
            weights = _weights(state.z_and_n, self.alpha, self.beta, self.l1, self.l2)
        return ClickModel(np.array(weights)[:-1], self.negative_rate)

    def _update(
        self,
        state: FTRLState,
        features: Features,
        clicks: NDArray[np.float64],
        rows: NDArray[np.int64],
        width: int,
    ) -> FTRLState:
        block = min(_BLOCK, max(64, 1 << (len(rows) - 1).bit_length()))
        z_and_n = state.z_and_n
        with jax.enable_x64(True):
            for start in range(0, len(rows), block):
                chosen = rows[start : start + block]
                present, labels = np.zeros((block, width), np.int32), np.zeros(block)
                present[: len(chosen)] = pad_rows(features, chosen, width)
                labels[: len(chosen)] = clicks[chosen]
                z_and_n = _visit(
                    z_and_n, present, labels, len(chosen), self.alpha, self.beta, self.l1, self.l2
                )
            return FTRLState(z_and_n.block_until_ready())


def _rounded(width: int) -> int:
    """Widths in steps of 8, so that logs with about as many features per row share compiled code."""
    return max(8, -(-width // 8) * 8)


def _weights(z_and_n: Any, alpha: Any, beta: Any, l1: Any, l2: Any) -> Any:
    z, n = z_and_n[..., 0], z_and_n[..., 1]
    shrunk = -(z - jnp.sign(z) * l1) / ((beta + jnp.sqrt(n)) / alpha + l2)
    return jnp.where(jnp.abs(z) <= l1, 0.0, shrunk)


@partial(jax.jit, donate_argnums=0)
def _visit(z_and_n: Any, rows: Any, labels: Any, count: Any, alpha: Any, beta: Any, l1: Any, l2: Any) -> Any:
    """The first `count` of the rows `[block, width]`, one after the other. z and n share an array because one gather
    and one scatter per row are what the time goes into."""
    padding = len(z_and_n) - 1

    def step(i: Any, z_and_n: Any) -> Any:
        present, label = rows[i], labels[i]
        old = z_and_n[present]
        z, n = old[:, 0], old[:, 1]
        w = _weights(old, alpha, beta, l1, l2)
        g = jnp.where(present == padding, 0.0, jax.nn.sigmoid(w.sum()) - label)
        new_n = n + g * g
        sigma = (jnp.sqrt(new_n) - jnp.sqrt(n)) / alpha
        new = jnp.stack([z + g - sigma * w, new_n], axis=1)
        return z_and_n.at[present].set(new, mode="promise_in_bounds")

    return jax.lax.fori_loop(0, count, step, z_and_n)
