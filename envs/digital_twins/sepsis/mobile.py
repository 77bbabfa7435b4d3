"""The mobile cells at once: neutrophils in blocks, the few others together (JAX).

A population is an array `[columns, capacity]` float32; a slot is alive while its age is at least 0. Cells of a kind
change the mediators of their place one after the other, each time in the same way: what k of them do is the rule
applied k times, whoever comes first.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dynrl.envs.digital_twins.sepsis.fields import CELL_CAPACITY
from dynrl.envs.digital_twins.sepsis.tissue import (
    L_CYTOTOX,
    L_ENDOTOXIN,
    L_GCSF,
    L_IFNG,
    L_IL1,
    L_IL1RA,
    L_IL4,
    L_IL8,
    L_IL10,
    L_IL12,
    L_PAF,
    L_SIL1R,
    L_STNFR,
    L_TNF,
    Tissue,
    produced,
    unit,
    words,
)

__all__ = ["Neutrophils"]

CELL, HEADING, AGE, STICK, MIGRATE, LIFE = range(6)
SCORE = 3
"""Column of a TH0; TH1 and TH2 have only the first three columns, monocytes five."""

COLUMNS = {"pmn": 6, "monocyte": 5, "th0": 4, "th1": 3, "th2": 3}
BLOCK = 256
_PMN_AGE, _PMN_LIFE = 50, 10


class Neutrophils(NamedTuple):
    """Attributes:
    rows: `[6, capacity]`.
    reach: no slot from here on is alive `[]` int32.
    """

    rows: Any
    reach: Any


class Crowd(NamedTuple):
    """What a phase works on.

    Attributes:
        substances: `[n, 16]`.
        occupied: mobile cells and birth sites `[n]` int32.
    """

    substances: Any
    occupied: Any


def place(rows: Any, newcomers: Any, arriving: Any) -> tuple[Any, Any]:
    """Put newcomers `[columns, k]` where `arriving` `[k]` into the free slots of a population; returns `(rows, number
    that found none)`."""
    free = rows[AGE] < 0
    slot_rank = jnp.cumsum(free) - 1
    count = arriving.sum()
    where = jnp.where(arriving, jnp.cumsum(arriving) - 1, newcomers.shape[1])
    queue = jnp.zeros_like(newcomers).at[:, where].set(newcomers, mode="drop")
    taken = free & (slot_rank < count)
    chosen = queue[:, jnp.clip(slot_rank, 0, newcomers.shape[1] - 1)]
    return jnp.where(taken, chosen, rows), jnp.maximum(count - free.sum(), 0).astype(jnp.int32)


def neutrophil_phase(
    crowd: Crowd,
    pmn: Neutrophils,
    tissue: Tissue,
    around: Any,
    m: Any,
    births: Any,
    seeds: Any,
) -> tuple[Crowd, Neutrophils, Any]:
    """Let every PMN act once, block after block, and fill slots that are free with `births` newborn, which act from the
    next step on. Returns also how many newborn found no slot.

    Inside a block decisions see the state at its start; between blocks they see everything. Movement depends on IL8,
    which no PMN changes, and on who is in the way, which matters where cells are full.
    """
    il8, capacity = crowd.substances[:, L_IL8], pmn.rows.shape[1]

    def busy(carry: Any) -> Any:
        start, left = carry[0], carry[3]
        return (start < pmn.reach) | ((left > 0) & (start < capacity))

    def block(carry: Any) -> Any:
        start, crowd, rows, left, reach = carry
        old = jax.lax.dynamic_slice(rows, (0, start), (COLUMNS["pmn"], BLOCK))
        seed = seeds + jnp.uint32(0x632BE5AB) * start.astype(jnp.uint32)
        crowd, new, left = _neutrophil_block(crowd, old, tissue, il8, around, m, left, seed)
        rows = jax.lax.dynamic_update_slice(rows, new, (0, start))
        number = start + 1 + jax.lax.iota(jnp.int32, BLOCK)
        reach = jnp.maximum(reach, jnp.where(new[AGE] >= 0, number, 0).max())
        return start + BLOCK, crowd, rows, left, reach

    zero = jnp.zeros((), jnp.int32)
    first = (zero, crowd, pmn.rows, births, zero)
    _, crowd, rows, left, reach = jax.lax.while_loop(busy, block, first)
    return crowd, Neutrophils(rows, reach), left


def _neutrophil_block(
    crowd: Crowd, rows: Any, tissue: Tissue, il8: Any, around: Any, m: Any, births: Any, seeds: Any
) -> tuple[Crowd, Any, Any]:
    substances, occupied = crowd
    n = il8.shape[0]
    cell, heading = rows[CELL].astype(jnp.int32), rows[HEADING].astype(jnp.int32)
    age, stick, migrate, life = rows[AGE], rows[STICK], rows[MIGRATE], rows[LIFE]
    alive = age >= 0
    bursting = alive & (migrate > 0)
    moving = alive & ~bursting
    random = words(seeds[0], BLOCK)

    # Bursts. Which of k bursting cells comes when is drawn for each by itself: right for every one, though two may draw
    # the same place.
    here = substances[cell]
    together = _number_at(cell, bursting, n)
    before = (random % jnp.maximum(together, 1).astype(jnp.uint32)).astype(jnp.int32)
    tnf_seen = times(here[:, L_TNF], m[1], before + 1)
    last_tnf = times(here[:, L_TNF], m[1], together - 1)
    burst = here.at[:, L_CYTOTOX].set(jnp.maximum(10.0, last_tnf))
    burst = burst.at[:, L_TNF].set(times(here[:, L_TNF], m[1], together))
    burst = burst.at[:, L_IL1].set(times(here[:, L_IL1], m[3], together))
    substances = substances.at[jnp.where(bursting, cell, n)].set(burst, mode="drop")
    fuel = tnf_seen + here[:, L_IFNG] + here[:, L_GCSF] - here[:, L_IL10]
    burst_age = jnp.trunc(life)
    burst_life = life - 1 + jnp.maximum(0.0, fuel / 100)

    # A PMN's own roll is 1 all its life, so only the endothelium decides whether it rolls.
    rolling = tissue.roll[cell] > 3
    cell, heading, occupied = chemotaxis(il8, occupied, around, cell, heading, moving)
    cell, heading, occupied = chemotaxis(il8, occupied, around, cell, heading, moving & ~rolling)

    there = substances[cell]
    caught = moving & (there[:, L_TNF] + there[:, L_PAF] > 1)
    met = _number_at(cell, caught, n)
    il1ra = times(there[:, L_IL1RA], m[5], met)
    substances = substances.at[jnp.where(caught, cell, n), L_IL1RA].set(il1ra, mode="drop")
    stick = jnp.where(caught, jnp.floor(there[:, L_IL1]), stick)
    inflamed = there[:, L_TNF] + there[:, L_IL1] + there[:, L_GCSF] - there[:, L_IL10]
    leaves = moving & (stick >= 1) & (tissue.stick[cell] >= 100)
    migrate = jnp.where(leaves, jnp.maximum(0.0, jnp.floor(inflamed)), migrate)
    age = jnp.where(bursting, burst_age, jnp.where(moving, age - 1, age))
    life = jnp.where(bursting, burst_life, life)

    still = alive & (age >= 0)
    rank = jnp.cumsum(~still) - 1
    born = ~still & (rank < births)
    site = (unit(words(seeds[1], BLOCK)) * n).astype(jnp.int32)
    change = jnp.where(born, 1, 0)
    occupied = occupied.at[jnp.where(alive & ~still, cell, n)].add(-1, mode="drop")
    occupied = occupied.at[site].add(change)
    new = jnp.stack(
        [
            jnp.where(born, site, cell).astype(jnp.float32),
            jnp.where(born, (random >> 29).astype(jnp.float32), heading.astype(jnp.float32)),
            jnp.where(born, float(_PMN_AGE), jnp.where(still, age, -1.0)),
            jnp.where(born, 0.0, stick),
            jnp.where(born, 0.0, migrate),
            jnp.where(born, float(_PMN_LIFE), life),
        ]
    )
    return Crowd(substances, occupied), new, births - born.sum().astype(jnp.int32)


def monocyte_phase(
    crowd: Crowd, rows: Any, tissue: Tissue, around: Any, m: Any, seed: Any
) -> tuple[Crowd, Any, Tissue]:
    """Let every monocyte act once; the tissue comes back with the cells healed that migrated monocytes renew."""
    substances, occupied = crowd
    n = occupied.shape[0]
    alive = rows[AGE] >= 0
    cell, heading = rows[CELL].astype(jnp.int32), rows[HEADING].astype(jnp.int32)
    same = (cell[:, None] == cell[None]) & alive[:, None] & alive[None]
    priority = words(seed, rows.shape[1])
    rank = (same & (priority[None] > priority[:, None])).sum(1)
    together = same.sum(1)

    def turn(carry: Any) -> Any:
        index, here, stick, migrate, cell_stick, healed = carry
        acted, activation = _monocyte_rule(here, m)
        mine = alive & (rank == index)
        activated = mine & (activation > 0)
        migrate = jnp.where(activated & (stick == 1) & (cell_stick >= 100), 1.0, migrate)
        stick = jnp.where(activated, 1.0, stick)
        healing = (same & (mine & (migrate == 1))[None]).any(1)
        cell_stick = jnp.where(healing, 0.0, cell_stick)
        here = jnp.where((index < together)[:, None], acted, here)
        return index + 1, here, stick, migrate, cell_stick, healed | healing

    start = (
        jnp.zeros((), jnp.int32),
        substances[cell],
        rows[STICK],
        rows[MIGRATE],
        tissue.stick[cell],
        jnp.zeros_like(alive),
    )
    most = together.max()
    _, here, stick, migrate, _, healed = jax.lax.while_loop(lambda carry: carry[0] < most, turn, start)
    substances = substances.at[jnp.where(alive, cell, n)].set(here, mode="drop")
    renewed = jnp.where(healed, cell, n)
    tissue = tissue._replace(
        oxy=tissue.oxy.at[renewed].set(100.0, mode="drop"),
        infection=tissue.infection.at[renewed].set(0.0, mode="drop"),
        roll=tissue.roll.at[renewed].set(0.0, mode="drop"),
        stick=tissue.stick.at[renewed].set(0.0, mode="drop"),
        activated=tissue.activated.at[renewed].set(False, mode="drop"),
    )
    # A monocyte's own roll is 1 all its life: it takes one step.
    cell, heading, occupied = chemotaxis(substances[:, L_PAF], occupied, around, cell, heading, alive)
    rows, occupied = _aged(rows, cell, heading, alive, occupied)
    rows = rows.at[STICK].set(stick).at[MIGRATE].set(migrate)
    return Crowd(substances, occupied), rows, tissue


def _monocyte_rule(here: Any, m: Any) -> tuple[Any, Any]:
    """What one monocyte makes of the substances of its place `[C, 16]`; also its activation `[C]`."""
    endotoxin, paf, tnf, s_tnfr, il1, s_il1r, il1ra, ifng = (
        here[:, lane] for lane in (L_ENDOTOXIN, L_PAF, L_TNF, L_STNFR, L_IL1, L_SIL1R, L_IL1RA, L_IFNG)
    )
    il8, il10, il12, gcsf = (here[:, lane] for lane in (L_IL8, L_IL10, L_IL12, L_GCSF))
    bound = jnp.where(s_tnfr <= 100, tnf + s_tnfr, jnp.maximum(0.0, tnf - s_tnfr))
    tnf_r = jnp.minimum(100.0, bound)
    il1_r = jnp.clip(il1 - il1ra - s_il1r, 0.0, 100.0)
    activation = endotoxin + paf + ifng - il10
    on, off = activation > 0, activation < 0
    changed = {
        L_IL1RA: produced(il1ra + il1 / 2, m[5]),
        L_STNFR: produced(s_tnfr + tnf_r / 2, m[2]),
        L_SIL1R: produced(s_il1r + il1_r / 2, m[4]),
        L_GCSF: jnp.where(on, produced(gcsf + endotoxin + paf + tnf + ifng, m[11]), gcsf),
        L_IL8: jnp.where(on, produced(il8 + tnf + il1, m[8]), il8),
        L_IL12: jnp.where(on, produced(il12 + tnf + il1, m[10]), il12),
        L_IL10: jnp.where(on | off, produced(il10 + tnf + il1, m[9]), il10),
        L_IL1: jnp.where(on, produced(il1 + endotoxin + paf + il1_r + tnf, m[3]), il1),
        L_TNF: jnp.where(on, produced(tnf + endotoxin + paf + tnf_r + ifng, m[1]), tnf),
    }
    lanes = [changed.get(lane, here[:, lane]) for lane in range(here.shape[1])]
    return jnp.stack(lanes, 1), activation


def th0_phase(crowd: Crowd, rows: Any, around: Any, seeds: Any) -> tuple[Crowd, Any, Any, Any]:
    """Let every TH0 act once; returns also who has become TH1 and who TH2 `[C]` bool. Their slots are free now, their
    places still in the rows."""
    substances, occupied = crowd
    capacity = rows.shape[1]
    alive = rows[AGE] >= 0
    cell, heading = rows[CELL].astype(jnp.int32), rows[HEADING].astype(jnp.int32)
    here = substances[cell]
    first = (here[:, L_IL12] + here[:, L_IFNG]) * 100
    second = (here[:, L_IL10] + here[:, L_IL4]) * 100
    drawn = [jnp.floor(unit(words(seeds[i], capacity)) * jnp.ceil(v)) for i, v in ((0, first), (1, second))]
    both = (first > 0) & (second > 0)
    contest = jnp.sign(drawn[0] - drawn[1])
    alone = jnp.where(first > 0, 1.0, -1.0)
    signalled = here[:, L_IL12] + here[:, L_IL4] > 0
    score = rows[SCORE] + jnp.where(signalled, jnp.where(both, contest, alone), 0.0)
    cell, heading, occupied = wiggle(occupied, around, cell, heading, alive, seeds[2])
    rows, occupied = _aged(rows.at[SCORE].set(score), cell, heading, alive, occupied)
    still = rows[AGE] >= 0
    return Crowd(substances, occupied), rows, still & (score >= 10), still & (score <= -10)


def th1_phase(crowd: Crowd, rows: Any, around: Any, m: Any, seed: Any) -> tuple[Crowd, Any]:
    """Let every TH1 act once."""
    substances, occupied = crowd
    alive, cell, heading, together = _gathered(rows, occupied.shape[0])
    here = substances[cell]
    source = here[:, L_IL12] + here[:, L_TNF] + here[:, L_IL1]

    def turn(index: Any, ifng: Any) -> Any:
        return jnp.where(index < together, produced(2 * ifng + source, m[6]), ifng)

    ifng = jax.lax.fori_loop(0, together.max(), turn, here[:, L_IFNG])
    acting = jnp.where(alive & (here[:, L_IL12] > 0), cell, occupied.shape[0])
    substances = substances.at[acting, L_IFNG].set(ifng, mode="drop")
    cell, heading, occupied = wiggle(occupied, around, cell, heading, alive, seed)
    rows, occupied = _aged(rows, cell, heading, alive, occupied)
    return Crowd(substances, occupied), rows


def th2_phase(crowd: Crowd, rows: Any, around: Any, m: Any, seed: Any) -> tuple[Crowd, Any]:
    """Let every TH2 act once."""
    substances, occupied = crowd
    alive, cell, heading, together = _gathered(rows, occupied.shape[0])
    here = substances[cell]

    def turn(index: Any, carry: Any) -> Any:
        il4, il10 = carry
        acts = (index < together) & (il10 > 0)
        return (
            jnp.where(acts, produced(il4 + il10, m[7]), il4),
            jnp.where(acts, produced(2 * il10, m[9]), il10),
        )

    il4, il10 = jax.lax.fori_loop(0, together.max(), turn, (here[:, L_IL4], here[:, L_IL10]))
    acting = jnp.where(alive, cell, occupied.shape[0])
    substances = substances.at[acting, L_IL4].set(il4, mode="drop")
    substances = substances.at[acting, L_IL10].set(il10, mode="drop")
    cell, heading, occupied = wiggle(occupied, around, cell, heading, alive, seed)
    rows, occupied = _aged(rows, cell, heading, alive, occupied)
    return Crowd(substances, occupied), rows


def chemotaxis(
    signal: Any, occupied: Any, around: Any, cell: Any, heading: Any, moving: Any
) -> tuple[Any, Any, Any]:
    """Turn towards the largest of the three cells ahead and step there if there is room; ties go right, then left.
    Returns cell, heading and occupancy."""
    right, left = (heading + 1) & 7, (heading - 1) & 7
    to_right, to_front, to_left = (around[cell * 8 + way] for way in (right, heading, left))
    at_right, ahead, at_left = signal[to_right], signal[to_front], signal[to_left]
    goes_right = (at_right >= ahead) & (at_right >= at_left)
    goes_left = ~goes_right & (at_left >= ahead)
    target = jnp.where(goes_right, to_right, jnp.where(goes_left, to_left, to_front))
    turned = jnp.where(goes_right, right, jnp.where(goes_left, left, heading))
    cell, occupied = _stepped(occupied, cell, target, moving)
    return cell, jnp.where(moving, turned, heading), occupied


def wiggle(
    occupied: Any, around: Any, cell: Any, heading: Any, moving: Any, seed: Any
) -> tuple[Any, Any, Any]:
    """Turn by -45, 0 or 45 degrees at random and step ahead if there is room."""
    turn = (words(seed, cell.shape[0]) % jnp.uint32(3)).astype(jnp.int32) - 1
    heading = jnp.where(moving, (heading + turn) & 7, heading)
    cell, occupied = _stepped(occupied, cell, around[cell * 8 + heading], moving)
    return cell, heading, occupied


def times(value: Any, multiplier: Any, count: Any) -> Any:
    """`value` after `count` productions of one more unit each, in closed form."""
    count = count.astype(jnp.float32)
    small = jnp.minimum(multiplier, 0.9999)
    power = small**count
    reduced = power * value + small * (1 - power) / (1 - small)
    return jnp.where(multiplier < 0.9999, reduced, value + count * jnp.maximum(multiplier, 1.0))


def _stepped(occupied: Any, cell: Any, target: Any, moving: Any) -> tuple[Any, Any]:
    goes = moving & (occupied[target] < CELL_CAPACITY)
    one = goes.astype(jnp.int32)
    occupied = occupied.at[jnp.concatenate([cell, target])].add(jnp.concatenate([-one, one]))
    return jnp.where(goes, target, cell), occupied


def _aged(rows: Any, cell: Any, heading: Any, alive: Any, occupied: Any) -> tuple[Any, Any]:
    age = jnp.where(alive, rows[AGE] - 1, rows[AGE])
    died = alive & (age < 0)
    occupied = occupied.at[cell].add(-died.astype(jnp.int32))
    rows = rows.at[CELL].set(cell.astype(jnp.float32)).at[HEADING].set(heading.astype(jnp.float32))
    return rows.at[AGE].set(age), occupied


def _gathered(rows: Any, n: int) -> tuple[Any, Any, Any, Any]:
    """Who lives, where, which way it heads, and how many of its kind are there `[C]`."""
    alive = rows[AGE] >= 0
    cell = rows[CELL].astype(jnp.int32)
    return alive, cell, rows[HEADING].astype(jnp.int32), _number_at(cell, alive, n)


def _number_at(cell: Any, among: Any, n: int) -> Any:
    counts = jnp.zeros(n, jnp.int32).at[cell].add(among.astype(jnp.int32))
    return jnp.where(among, counts[cell], 0)
