"""The compiled sweep over auctions behind the second-price tables: blocked, without any (B x prices) window.

With U(b) = discount V(t-1, b) + cost_weight b, winning at price δ is worth v1 theta - y, y = U(b) - U(b - δ), and

    V(t, b) = discount V(t-1, b) + Σ_δ Σ_k w[k, δ] max(0, v1 theta_k - y(b, δ)),

where the atoms k are all (segment, click probability) pairs and w[k, δ] their probability together with price δ.
Since y grows with δ, a tile of cells stops at the first block of prices that no atom wants. With several atoms, those
above every y of a block are linear in y and need one multiply-add together (their suffix sums); only the atoms
between the smallest and the largest y are looked at one by one.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.auctions.market import Market

__all__ = [
    "Law",
    "Settings",
    "folded",
    "law_of",
    "padded_cells",
    "solve_rows",
    "solve_rows_of_many",
    "tile_size",
]

FAR_BELOW = -1e30
"""Value of cells left of b = 0, which makes prices that cannot be paid worthless."""

BLOCK_ONE, BLOCK_MANY = 16, 8  # prices unrolled per trip with one atom and with several, by measurement
FOLD = 64  # cells that are left to the slow reduction after halving a tile elementwise

# A hint to LLVM, of no effect on results or on machines without 512-bit registers.
_OPTIONS = {"xla_cpu_prefer_vector_width": "512"}


class Law(NamedTuple):
    """The joint law of price and click value, atoms in ascending order.

    Attributes:
        value: `[K]`, v1 theta.
        weight: `[K, P]`, probability of atom k together with price δ; P is the number of prices, padded to blocks.
        mass_above, value_above: `[K + 1, P]`, sums over the atoms from k on of `weight` and of `weight * value`.
    """

    value: Any
    weight: Any
    mass_above: Any
    value_above: Any


class Settings(NamedTuple):
    """Numbers of the objective, and the cell that rows are shifted by (only where they are)."""

    discount: Any
    cost_weight: Any
    budget: Any


def law_of(market: Market, value_per_click: float, dtype: Any) -> Law:
    """The law that the sweep reads; pairs of segment and atom without mass are left out."""
    value = value_per_click * market.theta
    weight = (market.share[:, None] * market.theta_mass)[..., None] * market.pmf[:, None]
    kept = weight.sum(-1).reshape(-1) > 0
    kept[0] |= not kept.any()
    value, weight = value.reshape(-1)[kept], weight.reshape(-1, weight.shape[-1])[kept]
    order = np.argsort(value, kind="stable")
    value, weight = value[order], weight[order]
    weight = np.pad(weight, ((0, 0), (0, -weight.shape[1] % BLOCK_ONE)))  # whole blocks, of either size
    none = np.zeros_like(weight[:1])
    mass_above = np.concatenate([np.cumsum(weight[::-1], 0)[::-1], none])
    value_above = np.concatenate([np.cumsum((weight * value[:, None])[::-1], 0)[::-1], none])
    return Law(*(jnp.asarray(part, dtype) for part in (value, weight, mass_above, value_above)))


def tile_size(cells: int, atoms: int) -> int:
    """Cells that are worked on together."""
    most = 1024 if atoms == 1 or cells > 8192 else 512
    return min(most, max(FOLD, 1 << (cells - 1).bit_length()))


def padded_cells(budget: int, atoms: int) -> int:
    """Cells of a stored row: budget + 1, filled up to whole tiles."""
    tile = tile_size(budget + 1, atoms)
    return -(-(budget + 1) // tile) * tile


@partial(
    jax.jit,
    static_argnames=("horizon", "delta_max", "cells", "plain", "empty_purse", "shifted"),
    compiler_options=_OPTIONS,
)
def solve_rows(
    law: Law,
    settings: Settings,
    *,
    horizon: int,
    delta_max: int,
    cells: int,
    plain: bool,
    empty_purse: bool,
    shifted: bool,
) -> tuple[Any, Any]:
    """(rows t = 0..horizon `[T + 1, cells]`, what was subtracted from each `[T + 1]`).

    Args:
        cells: of `padded_cells`.
        plain: discount 1 and cost weight 0, so that U = V.
        empty_purse: force V(t, 0) = 0, as the released code does.
        shifted: keep `V(t, b) - V(t, budget)`, for float32.
    """
    return _solve(law, settings, horizon, delta_max, cells, plain, empty_purse, shifted)


@partial(jax.jit, static_argnames=("horizon", "delta_max", "cells", "plain"), compiler_options=_OPTIONS)
def solve_rows_of_many(
    laws: Law, settings: Settings, *, horizon: int, delta_max: int, cells: int, plain: bool
) -> Any:
    """Rows `[M, T + 1, cells]` of several laws (leading axis M), one after the other in one program."""
    return jax.lax.map(
        lambda law: _solve(law, settings, horizon, delta_max, cells, plain, False, False)[0], laws
    )


def _solve(
    law: Law,
    settings: Settings,
    horizon: int,
    delta_max: int,
    cells: int,
    plain: bool,
    empty_purse: bool,
    shifted: bool,
) -> tuple[Any, Any]:
    dtype = law.value.dtype
    atoms, prices = law.weight.shape
    pad = prices + BLOCK_ONE  # blocks are read whole, one beyond the last price
    tile = tile_size(cells, atoms)
    gain = _gain_of_one_atom if atoms == 1 else _gain_of_many_atoms
    ticks = jnp.arange(cells, dtype=dtype)

    def step(carry: Any, _: Any) -> Any:
        row, offset = carry
        here = row[pad:]
        kept = here if plain else settings.discount * here
        spendable = row if plain else row.at[pad:].set(kept + settings.cost_weight * ticks)

        def solve_tile(index: Any, new: Any) -> Any:
            low = index * tile

            def constant(_: None) -> Any:
                # Every cell sees the same constant window as the last cell of the tile before, so has its value.
                return jnp.broadcast_to(_read(new, pad + low - 1, 1), (tile,))

            def solved(_: None) -> Any:
                start = _read(kept, low, tile)
                return gain(law, spendable, pad + low, tile, start)

            before = _read(row, pad + low - 1 - delta_max, 1)[0]
            saturated = before == _read(row, pad + low + tile - 1, 1)[0]
            return _write(new, jax.lax.cond(saturated, constant, solved, None), pad + low)

        new = jax.lax.fori_loop(0, cells // tile, solve_tile, row)
        if empty_purse:
            new = new.at[pad].set(0.0)
        moved = settings.discount * offset
        if shifted:
            shift = _read(new, pad + settings.budget, 1)[0]
            new = new.at[pad:].add(-shift)
            moved = moved + shift
        return (new, moved), (here, offset)

    first = jnp.concatenate([jnp.full(pad, FAR_BELOW, dtype), jnp.zeros(cells, dtype)])
    _, (rows, offsets) = jax.lax.scan(step, (first, jnp.zeros((), dtype)), None, length=horizon + 1)
    return rows, offsets


def _gain_of_one_atom(law: Law, row: Any, low: Any, tile: int, start: Any) -> Any:
    """`start` plus the expected gain of the cells from position `low` on, `[tile]`."""
    block, value = BLOCK_ONE, law.value[0]
    blocks = law.weight.shape[1] // block
    group = min(FOLD, tile)

    def wanted(carry: Any) -> Any:
        index, _ = carry
        # y over groups of cells is at least that of the group's first cell against its last cell's price
        first = _read(row, low, tile).reshape(-1, group)[:, 0]
        last = _read(row, low - index * block, tile).reshape(-1, group)[:, -1]
        return (index < blocks) & ((first - last).min() <= value)

    def add_block(carry: Any) -> Any:
        index, total = carry
        window = _read(row, low - index * block - block + 1, tile + block - 1)
        weight = _read(law.weight[0], index * block, block)
        base = value - _read(row, low, tile)
        for price in range(block):
            shifted = jax.lax.slice_in_dim(window, block - 1 - price, block - 1 - price + tile)
            total = total + weight[price] * jnp.maximum(base + shifted, 0.0)
        return index + 1, total

    return jax.lax.while_loop(wanted, add_block, (0, start))[1]


def _gain_of_many_atoms(law: Law, row: Any, low: Any, tile: int, start: Any) -> Any:
    """`start` plus the expected gain of the cells from position `low` on, `[tile]`."""
    block = BLOCK_MANY
    atoms, prices = law.weight.shape
    blocks = prices // block

    def atoms_within(price: Any) -> tuple[Any, Any]:
        """How many atoms do not exceed the smallest, and the largest, y at a price."""
        y = _read(row, low, tile) - _read(row, low - price, tile)
        smallest, largest = folded(y, jnp.minimum).min(), folded(y, jnp.maximum).max()
        return (law.value <= smallest).sum(), (law.value <= largest).sum()

    def wanted(carry: Any) -> Any:
        index, lowest, _ = carry
        return (index < blocks) & (lowest < atoms)

    def add_block(carry: Any) -> Any:
        index, lowest, total = carry
        first = index * block
        next_lowest, highest = atoms_within(first + block)
        mass, value = (
            jax.lax.dynamic_slice(sums, (highest, first), (1, block))[0]
            for sums in (law.mass_above, law.value_above)
        )

        def add_linear(total: Any) -> Any:
            here, window = _read(row, low, tile), _read(row, low - first - block + 1, tile + block - 1)
            for price in range(block):
                shifted = jax.lax.slice_in_dim(window, block - 1 - price, block - 1 - price + tile)
                total = total + (value[price] - mass[price] * (here - shifted))
            return total

        def add_atom(atom: Any, total: Any) -> Any:
            base = _read(law.value, atom, 1) - _read(row, low, tile)
            window = _read(row, low - first - block + 1, tile + block - 1)
            weight = jax.lax.dynamic_slice(law.weight, (atom, first), (1, block))[0]
            for price in range(block):
                shifted = jax.lax.slice_in_dim(window, block - 1 - price, block - 1 - price + tile)
                total = total + weight[price] * jnp.maximum(base + shifted, 0.0)
            return total

        total = jax.lax.cond(highest < atoms, add_linear, lambda total: total, total)
        return index + 1, next_lowest, jax.lax.fori_loop(lowest, highest, add_atom, total)

    lowest = (law.value <= 0.0).sum()
    return jax.lax.while_loop(wanted, add_block, (0, lowest, start))[2]


def folded(cells: Any, op: Any) -> Any:
    """Halves combined elementwise until few are left: XLA vectorises this, but not a reduction."""
    while len(cells) > FOLD:
        half = len(cells) // 2
        cells = op(cells[:half], cells[half:])
    return cells


def _read(array: Any, start: Any, size: int) -> Any:
    return jax.lax.dynamic_slice(array, (start,), (size,))


def _write(array: Any, part: Any, start: Any) -> Any:
    return jax.lax.dynamic_update_slice(array, part, (start,))
