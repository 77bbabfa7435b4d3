"""The worth of money that a network gives, added up once, so that a served bid needs no network."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.auctions.serving import cubic

__all__ = ["OPEN_SHARE", "Knots", "add_up"]

OPEN_SHARE = 2e-3
"""Share of bids for which the network may have to be asked; such a bid takes a hundred times as long."""
_SPACINGS = (64, 32, 16, 8, 4, 2, 1)
_TRIED_ROWS = 16


class Knots(NamedTuple):
    """U(t, b) = D(t, 0) + ... + D(t, b - 1) beyond the first ticks and rows, at every `spacing`-th tick.

    Attributes:
        worth: `[T0 + 1 - rows, knots]`, U of each row at ticks, ticks + spacing, ...
        end: `[T0 + 1]`, ticks from which on D is 0.
        tolerance: `[T0 + 1]`: twice the largest distance of the cubics through the knots from U, plus what rounding
            can add.
        spacing: ticks between knots: the most, up to 64, that leave about `OPEN_SHARE` of the bids open.
    """

    worth: np.ndarray
    end: np.ndarray
    tolerance: np.ndarray
    spacing: int


def add_up(network: Any) -> Knots:
    """The knots of a `NetworkMarginals`: the network is evaluated once for every (t, b) of the plan."""
    rows, ticks = network.first_rows.shape[0], network.first_ticks.shape[1]
    budget = int(network.budget)
    with jax.enable_x64(True):
        spacing = _spacing(network, np.linspace(rows, network.horizon, _TRIED_ROWS).astype(int), budget)
        knots = -(-(budget - ticks) // spacing) + 3
        every = jnp.arange(rows, network.horizon + 1)
        worth, late_end, error, _ = jax.device_get(_rows(network, every, spacing, knots, budget))
    end = np.minimum(np.asarray(network.saturation), budget)
    end[rows:] = late_end
    most = max(float(worth.max()), float(np.asarray(network.first_rows).sum(1).max()))
    tolerance = np.full(len(end), budget * np.finfo(float).eps * most)
    tolerance[rows:] += 2 * error
    return Knots(worth, end, tolerance, spacing)


def _spacing(network: Any, rows: np.ndarray, budget: int) -> int:
    for spacing in _SPACINGS:
        *_, open_share = _rows(network, jnp.asarray(rows), spacing, 0, budget)
        if np.mean(open_share) <= OPEN_SHARE:
            break
    return spacing


@partial(jax.jit, static_argnames=("knots", "budget"))
def _rows(network: Any, rows: Any, spacing: Any, knots: int, budget: int) -> tuple[Any, Any, Any, Any]:
    """(U at the first `knots` knots, end, distance of the cubics from U, share of bids it leaves open) of each row."""
    ticks = network.first_ticks.shape[1]
    cells = ticks + jnp.arange(budget - ticks + 3 * max(_SPACINGS))
    steps = jnp.arange(budget - ticks + 1)
    # of the four knots of a cubic one lies below the interval, except for the first interval
    first = jnp.maximum(steps // spacing - 1, 0)

    def row(t: Any) -> tuple[Any, Any, Any, Any]:
        marginal = network.smooth(t, cells)
        saturation = jnp.minimum(network.saturation[t], budget)
        # D falls with b, so that it stays at 0 once the network's output is no longer positive
        end = jnp.minimum(saturation, ticks + (marginal > 0).sum())
        start = jnp.sum(jnp.where(jnp.arange(ticks) < saturation, network.first_ticks[t], 0.0))
        worth = start + jnp.concatenate([jnp.zeros(1), jnp.cumsum(marginal)])
        y0, y1, y2, y3 = (worth[(first + i) * spacing] for i in range(4))
        guess = cubic(y0, y1, y2, y3, steps / spacing - first)
        known = ticks + steps < end
        error = jnp.max(jnp.where(known | (ticks + steps == end), jnp.abs(guess - worth[steps]), 0.0))
        rise = jnp.where(known, marginal[steps], 0.0)
        # a bid is open where what is looked for is within the tolerance of one of the steps of U
        open_share = jnp.minimum(rise, 4 * error).sum() / jnp.maximum(rise.sum(), 1e-300)
        return worth[jnp.arange(knots) * spacing], end, error, open_share

    return jax.lax.map(row, rows)
