"""The endothelium at once: injury, activation, oxygen, evaporation and diffusion as sums over neighbours (JAX).

In the sequential model a cell meets what its neighbours that acted before it have done, and not yet what the others
will do. Here each cell draws a random priority. A first sweep ignores the neighbours; a second one lets every cell act
on what, after the first, comes from neighbours of higher priority, and adds the rest afterwards. What remains is the
influence of a neighbour's neighbour within one step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.envs.digital_twins.sepsis.fields import (
    HEADINGS,
    LARGEST,
    LEAVES,
    REMAINS,
    SPREADING,
    TRACE,
    Patient,
)

__all__ = ["Tissue", "produced", "substances_at_rest"]

LANES = 16
"""Spreading substances are stored cell by cell, 14 of 16 numbers used: neighbours then lie 64 bytes apart, which halves
the time of a diffusion against one grid per substance."""

(
    L_ENDOTOXIN,
    L_CYTOTOX,
    L_PAF,
    L_TNF,
    L_STNFR,
    L_IL1,
    L_SIL1R,
    L_IL1RA,
    L_IFNG,
    L_IL4,
    L_IL8,
    L_IL10,
    L_IL12,
    L_GCSF,
) = range(len(SPREADING))
FIRST_MEDIATOR = L_PAF
"""The twelve lanes from here on are the mediators in the order of `fields.MEDIATORS`."""

MOST_REPEATS = 10
_DIRECTION_BITS = 3


class Tissue(NamedTuple):
    """The endothelial cells.

    Attributes:
        oxy, infection, roll, stick: `[n]` float32.
        activated: `[n]` bool.
        substances: `[n, 16]` float32, lanes in the order of `fields.SPREADING`.
    """

    oxy: Any
    infection: Any
    roll: Any
    stick: Any
    activated: Any
    substances: Any


def substances_at_rest(n: int) -> Any:
    """No substance anywhere `[n, 16]`."""
    return jnp.zeros((n, LANES), jnp.float32)


def produced(value: Any, multiplier: Any) -> Any:
    """What a rule that sets a mediator to `value` really sets, under therapy."""
    return jnp.where(multiplier <= 1, multiplier * value, value + (multiplier - 1))


def words(seed: Any, count: int) -> Any:
    """`[count]` random 32-bit words for a 32-bit seed: a counter through the mixer `lowbias32` (Wellons 2018), twice.
    Threefry is 80 times as slow on a CPU, and would be most of the step."""
    counter = jax.lax.iota(jnp.uint32, count) * jnp.uint32(0x9E3779B9)
    return _mixed(_mixed(counter + seed) ^ seed)


def unit(bits: Any) -> Any:
    """Words as float32 in [0, 1)."""
    return (bits >> 8).astype(jnp.float32) * np.float32(2.0**-24)


def endothelium_step(tissue: Tissue, patient: Patient, m: Any, seeds: Any, side: int) -> Tissue:
    """Let every endothelial cell act once. `m` are the multipliers `[12]`, `seeds` two 32-bit words."""
    n = side * side
    priority = words(seeds[0], n)
    picks = _picks(words(seeds[1], n), patient.infect_repeat)
    spread, heal = jnp.asarray(patient.infect_spread, jnp.float32), patient.oxy_heal
    substances = tissue.substances
    endotoxin, cytotox = substances[:, L_ENDOTOXIN], substances[:, L_CYTOTOX]
    first = _acted(tissue.oxy, tissue.infection, endotoxin, cytotox, tissue.activated, heal)
    _, infected_early = _received(jnp.where(first.spreads, picks, 0), priority, side)
    _, harmed_early = _harmed(first.harm, priority, side)
    infected_early = infected_early * spread
    oxy = jnp.maximum(tissue.oxy - harmed_early, 0)
    own = _acted(oxy, tissue.infection + infected_early, endotoxin, cytotox, tissue.activated, heal)
    infected, _ = _received(jnp.where(own.spreads, picks, 0), priority, side)
    harmed, _ = _harmed(own.harm, priority, side)
    # Later influence is what the second sweep found in all, less what was already met.
    infection = own.infection + jnp.maximum(infected * spread - infected_early, 0)
    oxy = jnp.maximum(own.oxy - jnp.maximum(harmed - harmed_early, 0), 0)
    paf = _repeated(substances[:, L_PAF], m[0], own.paf_rises)
    il8 = jnp.where(own.activated, produced(substances[:, L_IL8] + 1, m[8]), substances[:, L_IL8])
    substances = substances.at[:, L_ENDOTOXIN].set(own.endotoxin)
    substances = substances.at[:, L_PAF].set(paf).at[:, L_IL8].set(il8)
    return Tissue(
        oxy=oxy,
        infection=infection,
        roll=tissue.roll + own.activated + own.ischaemic,
        stick=tissue.stick + own.activated + own.infarcted,
        activated=own.activated,
        substances=substances,
    )


def spread_substances(substances: Any, side: int) -> Any:
    """Evaporation, then diffusion to the eight neighbours on the torus `[n, 16]`."""
    width = side * LANES
    remains, leaves = _lanes(REMAINS, 1.0), _lanes(LEAVES, 0.0)
    left = jnp.minimum(substances * remains, LARGEST)
    left = jnp.where(left < TRACE, 0.0, left).reshape(side, width)
    rows = jnp.concatenate([left[-1:], left, left[:1]])
    column = rows[:-2] + rows[1:-1] + rows[2:]
    wrapped = jnp.concatenate([column[:, -LANES:], column, column[:, :LANES]], 1)
    block = wrapped[:, : -2 * LANES] + wrapped[:, LANES:-LANES] + wrapped[:, 2 * LANES :]
    share = jnp.tile(leaves, side)
    # The block of nine holds the cell itself, which diffusion leaves out.
    return ((1 - share - share / 8) * left + share / 8 * block).reshape(-1, LANES)


class _Acted(NamedTuple):
    oxy: Any
    infection: Any
    endotoxin: Any
    activated: Any
    ischaemic: Any
    infarcted: Any
    spreads: Any
    harm: Any
    paf_rises: Any


def _acted(oxy: Any, infection: Any, endotoxin: Any, cytotox: Any, activated: Any, heal: Any) -> _Acted:
    """What each cell does, given what it has met so far."""
    oxy = jnp.maximum(oxy - infection, 0)
    endotoxin = endotoxin + infection / 10
    spreads = infection >= 100
    infection = jnp.minimum(infection, 100)
    infection = jnp.where(infection > 0, jnp.maximum(infection - cytotox + 0.1, 0), infection)
    activated = activated | (endotoxin >= 1) | (oxy < 60)
    oxy = oxy - cytotox
    oxy = jnp.where(oxy >= 60, jnp.minimum(oxy + heal, 100), oxy)
    ischaemic = (oxy > 30) & (oxy < 60)
    oxy = jnp.where(ischaemic, oxy - 0.5, oxy)
    infarcted = oxy <= 30
    oxy = jnp.maximum(jnp.where(infarcted, oxy - 2, oxy), 0)
    harm = 0.05 * ischaemic + 0.25 * infarcted
    rises = activated.astype(jnp.int32) + ischaemic + infarcted
    return _Acted(oxy, infection, endotoxin, activated, ischaemic, infarcted, spreads, harm, rises)


def _repeated(value: Any, multiplier: Any, times: Any) -> Any:
    """`value` after up to three productions of one more unit."""
    for index in range(3):
        value = jnp.where(index < times, produced(value + 1, multiplier), value)
    return value


def _picks(bits: Any, repeats: Any) -> Any:
    """How often each cell picks each direction `[n]` uint32: eight counts of four bits."""
    picked = jnp.zeros_like(bits)
    for index in range(MOST_REPEATS):
        direction = (bits >> jnp.uint32(_DIRECTION_BITS * index)) & 7
        picked = picked + jnp.where(index < repeats, jnp.uint32(1) << (4 * direction), 0).astype(jnp.uint32)
    return picked


def _received(picked: Any, priority: Any, side: int) -> tuple[Any, Any]:
    """How often each cell is picked by its neighbours, and by those of higher priority, `[n]` float32."""
    pick, other, own = _ringed(picked, side), _ringed(priority, side), priority.reshape(side, side)
    total = early = jnp.zeros((side, side), jnp.uint32)
    for direction, (dx, dy) in enumerate(HEADINGS):
        # Who sits against the direction hits us by going in it.
        hits = (_shifted(pick, -dx, -dy, side) >> jnp.uint32(4 * direction)) & 15
        total = total + hits
        early = early + jnp.where(_shifted(other, -dx, -dy, side) > own, hits, 0)
    return total.reshape(-1).astype(jnp.float32), early.reshape(-1).astype(jnp.float32)


def _harmed(harm: Any, priority: Any, side: int) -> tuple[Any, Any]:
    """Oxygen taken from each cell by its neighbours, and by those of higher priority, `[n]` float32."""
    harms, other, own = _ringed(harm, side), _ringed(priority, side), priority.reshape(side, side)
    total = early = jnp.zeros((side, side), jnp.float32)
    for dx, dy in HEADINGS:
        taken = _shifted(harms, dx, dy, side)
        total = total + taken
        early = early + jnp.where(_shifted(other, dx, dy, side) > own, taken, 0.0)
    return total.reshape(-1), early.reshape(-1)


def _ringed(field: Any, side: int) -> Any:
    """The torus with its opposite edge laid around it `[side + 2, side + 2]`."""
    grid = field.reshape(side, side)
    grid = jnp.concatenate([grid[-1:], grid, grid[:1]])
    return jnp.concatenate([grid[:, -1:], grid, grid[:, :1]], 1)


def _shifted(ringed: Any, dx: int, dy: int, side: int) -> Any:
    """What lies at (x + dx, y + dy) of each cell `[side, side]`."""
    return ringed[1 + dy : 1 + dy + side, 1 + dx : 1 + dx + side]


def _lanes(values: np.ndarray, rest: float) -> Any:
    return jnp.asarray(np.concatenate([values, np.full(LANES - len(values), rest)]), jnp.float32)


def _mixed(x: Any) -> Any:
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
