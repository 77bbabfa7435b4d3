"""The worth of a tick as a small network, where a whole table would be too large to carry."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from dynrl.auctions.serving import NetworkPolicy
from dynrl.auctions.value.knots import add_up
from dynrl.auctions.value.marginals import Marginals
from dynrl.auctions.value.tables import ValueTable

__all__ = ["MonotoneNetwork", "NetworkMarginals", "fit_network"]

WIDTHS = (3, 30, 15, 1)
"""Inputs, hidden units, output (Cai et al., WSDM 2017, section 4.1)."""
HELD_OUT = 10  # every tenth row is for validation only


class MonotoneNetwork(eqx.Module):
    """`[3] -> []` with two tanh layers and positive weights, so that it rises with each of its inputs.

    The inputs are (t / T0, -b / B0, -log of their ratio), each of which rises with t or falls with b, as D does.

    Attributes:
        weights: `[out, in]`, of which the softplus is used.
        biases: `[out]`.
    """

    weights: tuple[Any, ...]
    biases: tuple[Any, ...]

    @classmethod
    def draw(cls, key: Any) -> MonotoneNetwork:
        """Positive weights of size 1 / inputs, thresholds spread over the inputs' range."""
        weights, biases = [], []
        for fan_in, fan_out in pairwise(WIDTHS):
            key, first, second = jax.random.split(key, 3)
            size = jax.random.exponential(first, (fan_out, fan_in)) / fan_in + 1e-3
            weights.append(jnp.log(jnp.expm1(size)))
            biases.append(jax.random.uniform(second, (fan_out,), minval=-1.0, maxval=1.0))
        return cls(tuple(weights), tuple(biases))

    def layers(self) -> list[tuple[Any, Any]]:
        """(weights as used, biases) of each layer."""
        return [(jax.nn.softplus(w), b) for w, b in zip(self.weights, self.biases, strict=True)]

    def __call__(self, x: Any) -> Any:
        (*hidden, (last, bias)) = self.layers()
        for weight, shift in hidden:
            x = jnp.tanh(weight @ x + shift)
        return (last @ x + bias)[0]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class NetworkMarginals(Marginals):
    """D(t, b) by a network, exact where D is rough (few auctions or few ticks left), 0 beyond each row's saturation.

    Attributes:
        layers: (weights `[out, in]`, biases `[out]`) of each layer, float64.
        unit: worth of a network output of 1.
        first_rows: `[t_exact + 1, B0]`, D of the first rows.
        first_ticks: `[T0 + 1, b_exact]`, D of the first ticks of every row.
        saturation: `[T0 + 1]`, ticks from which on D is 0.
        budget: B0.
        error: root mean squared error of D on rows that training did not see, over the average click probability.
    """

    layers: Any
    unit: Any
    first_rows: Any
    first_ticks: Any
    saturation: Any
    budget: Any
    error: Any = float("nan")
    delta_max: int = field(default=300, metadata={"static": True})

    @property
    def horizon(self) -> int:
        return self.saturation.shape[0] - 1

    def smooth(self, t: Any, b: Any) -> Any:
        """What the network alone says of D(t, b), positive or not."""
        x = _inputs(t, b, self.horizon, self.budget)
        (*hidden, (last, bias)) = self.layers
        for weight, shift in hidden:
            x = jnp.tanh(x @ weight.T + shift)
        return self.unit * (x @ last.T + bias)[..., 0]

    def marginal(self, t: Any, b: Any) -> Any:
        b = jnp.asarray(b)
        rows, ticks = self.first_rows.shape[0], self.first_ticks.shape[1]
        smooth = jnp.maximum(self.smooth(t, b), 0.0)
        rough_row = self.first_rows[jnp.minimum(t, rows - 1), b]
        rough_tick = self.first_ticks[t, jnp.minimum(b, ticks - 1)]
        exact = jnp.where(t < rows, rough_row, rough_tick)
        known = jnp.where((t < rows) | (b < ticks), exact, smooth)
        return jnp.where(b < self.saturation[t], known, 0.0)

    def serving(self, scale: str, tie_ticks: int) -> NetworkPolicy:
        return NetworkPolicy(
            [np.asarray(part) for layer in self.layers for part in layer],
            float(self.unit),
            np.asarray(self.first_rows),
            np.asarray(self.first_ticks),
            np.asarray(self.saturation),
            *add_up(self),
            int(self.budget),
            self.delta_max,
            scale,
            int(tie_ticks),
        )


def fit_network(
    table: ValueTable,
    theta_avg: float,
    *,
    rows: int = 50,
    ticks: int = 800,
    steps: int = 4000,
    batch: int = 4096,
    learning_rate: float = 2e-2,
    seed: int = 0,
) -> NetworkMarginals:
    """Regresses D / theta_avg of a table on (t, b) outside its first rows and ticks.

    Differs from the released recipe: scaled inputs with log(b / t), normalised targets, monotone by construction,
    whole rows held out, cosine decay of Adam's step.

    Args:
        table: exact, T0 x B0.
        rows, ticks: t up to `rows` and b below `ticks` stay exact.
        steps, batch, learning_rate: of Adam on mean squared errors at uniformly drawn points.

    Raises:
        ValueError: the table is not larger than what stays exact.
    """
    if table.horizon < rows + HELD_OUT or table.budget <= ticks:
        raise ValueError(
            f"the table has T0 = {table.horizon} and B0 = {table.budget}; t up to {rows} and b below {ticks} stay "
            f"exact, so a network needs T0 of at least {rows + HELD_OUT} and B0 above {ticks}"
        )
    values, saturation = table.rows, table.saturation()
    numbers = np.arange(rows + 1, table.horizon + 1)
    held_out = numbers[HELD_OUT // 2 :: HELD_OUT]
    kept = np.setdiff1d(numbers, held_out)
    shape = (table.horizon, table.budget, ticks)
    with jax.enable_x64(True):
        deviation = float(np.diff(values[kept, ticks:], axis=1).std())
        optimiser = (steps, batch, learning_rate)
        network = _fit(table.storage, kept, deviation, jax.random.key(seed), shape, *optimiser)
        layers = [(jnp.asarray(w, jnp.float64), jnp.asarray(b, jnp.float64)) for w, b in network.layers()]
        made = NetworkMarginals(
            layers,
            deviation,
            jnp.asarray(np.diff(values[: rows + 1], axis=1)),
            jnp.asarray(np.diff(values[:, : ticks + 1], axis=1)),
            jnp.asarray(saturation),
            table.budget,
            delta_max=table.delta_max,
        )
        error = _error(made, values, held_out, ticks) / theta_avg
    return NetworkMarginals(**{**vars(made), "error": error})


def _inputs(t: Any, b: Any, horizon: Any, budget: Any) -> Any:
    time, money = jnp.broadcast_arrays(jnp.asarray(t / horizon), b / budget)
    ratio = jnp.maximum(money, 1e-9) / jnp.maximum(time, 1e-9)
    return jnp.stack([time, -money, -jnp.log(ratio)], axis=-1)


@partial(jax.jit, static_argnames=("shape", "steps", "batch", "learning_rate"))
def _fit(
    values: Any,
    kept: Any,
    deviation: Any,
    key: Any,
    shape: tuple[int, int, int],
    steps: int,
    batch: int,
    learning_rate: float,
) -> MonotoneNetwork:
    horizon, budget, ticks = shape
    optimiser = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))

    def loss(network: MonotoneNetwork, t: Any, b: Any) -> Any:
        target = ((values[t, b + 1] - values[t, b]) / deviation).astype(jnp.float32)
        inputs = _inputs(t, b, horizon, budget).astype(jnp.float32)
        return jnp.mean((jax.vmap(network)(inputs) - target) ** 2)

    def step(carry: Any, key: Any) -> Any:
        network, state = carry
        first, second = jax.random.split(key)
        t = kept[jax.random.randint(first, (batch,), 0, len(kept))]
        b = jax.random.randint(second, (batch,), ticks, budget)
        gradient = jax.grad(loss)(network, t, b)
        change, state = optimiser.update(gradient, state)
        return (eqx.apply_updates(network, change), state), None

    start, key = jax.random.split(key)
    drawn = MonotoneNetwork.draw(start)
    network = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), drawn)
    (network, _), _ = jax.lax.scan(step, (network, optimiser.init(network)), jax.random.split(key, steps))
    return network


def _error(marginals: NetworkMarginals, values: NDArray[Any], rows: NDArray[Any], ticks: int) -> float:
    cells = np.arange(ticks, values.shape[1] - 1)
    squares = []
    for row in rows:
        exact = np.diff(values[row, ticks:])
        squares.append(np.mean((np.asarray(_row(marginals, row, cells)) - exact) ** 2))
    return float(np.sqrt(np.mean(squares)))


@jax.jit
def _row(marginals: NetworkMarginals, t: Any, cells: Any) -> Any:
    return marginals.marginal(t, cells)
