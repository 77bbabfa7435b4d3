"""The rules of the sepsis model one after the other, as they are defined: for plain Python and, unchanged, for Numba.

`f` `[19, n]` float32 are the fields of the n endothelial cells (`fields.FIELDS`), `occupied` `[n]` the mobile cells and
birth sites on each, `around` `[n, 8]` the neighbours of each in the order of the headings, `m` `[12]` the multipliers.
A mobile cell is a row of a float64 array, its columns below; its age is negative once it is dead.

The precision of the fields belongs to the model: inside a large infection the signals differ by less than float32 can
tell, mobile cells circle there, and with float64 they would gather in its centre instead.
"""

from __future__ import annotations

import math

import numpy as np

from dynrl.envs.digital_twins.sepsis.fields import (
    ACTIVATED,
    CELL_CAPACITY,
    CYTOTOX,
    ENDOTOXIN,
    GCSF,
    IFNG,
    IL1,
    IL1RA,
    IL4,
    IL8,
    IL10,
    IL12,
    INFECTION,
    LARGEST,
    M_GCSF,
    M_IFNG,
    M_IL1,
    M_IL1RA,
    M_IL4,
    M_IL8,
    M_IL10,
    M_IL12,
    M_PAF,
    M_SIL1R,
    M_STNFR,
    M_TNF,
    OXY,
    PAF,
    ROLL,
    SIL1R,
    STICK,
    STNFR,
    TNF,
    TRACE,
)

CELL, HEADING, AGE, OWN_ROLL, OWN_STICK, MIGRATE, LIFE = range(7)
"""Columns of a mobile cell; LIFE is pcd of a PMN and the score of a TH0."""

# Numba reads these as globals of this module, so each rule stands before those that use it.
RULES = (
    "produced",
    "chemotaxis",
    "wiggle",
    "injure",
    "ischaemia",
    "endothelium",
    "burst",
    "pmn",
    "heal",
    "monocyte",
    "th0",
    "th1",
    "th2",
    "act",
    "endothelium_phase",
    "pmn_phase",
    "monocyte_phase",
    "th0_phase",
    "th1_phase",
    "th2_phase",
    "evaporate",
    "diffuse",
)


def produced(value, multiplier):
    """What a rule that sets a mediator to `value` really sets, under therapy."""
    if multiplier <= 1.0:
        return min(LARGEST, multiplier * value)
    return min(LARGEST, value + (multiplier - 1.0))


def chemotaxis(signal, occupied, around, row):
    """Turn towards the largest of the three cells ahead and step there if there is room; ties go right, then left."""
    cell, heading = int(row[CELL]), int(row[HEADING])
    right, left = (heading + 1) % 8, (heading - 1) % 8
    at_right, ahead, at_left = (
        signal[around[cell, right]],
        signal[around[cell, heading]],
        signal[around[cell, left]],
    )
    if at_right >= ahead and at_right >= at_left:
        heading = right
    elif at_left >= ahead:
        heading = left
    row[HEADING] = heading
    target = around[cell, heading]
    if occupied[target] < CELL_CAPACITY:
        occupied[cell] -= 1
        occupied[target] += 1
        row[CELL] = target


def wiggle(occupied, around, row, rng):
    """Turn by -45, 0 or 45 degrees at random and step ahead if there is room."""
    cell = int(row[CELL])
    heading = (int(row[HEADING]) + rng.integers(0, 3) - 1) % 8
    row[HEADING] = heading
    target = around[cell, heading]
    if occupied[target] < CELL_CAPACITY:
        occupied[cell] -= 1
        occupied[target] += 1
        row[CELL] = target


def injure(f, around, cell, infect_spread, infect_repeat, rng):
    """Infection takes oxygen, sheds endotoxin, spreads, and is reduced by cytotoxic products."""
    f[OXY, cell] = max(0.0, f[OXY, cell] - f[INFECTION, cell])
    f[ENDOTOXIN, cell] += f[INFECTION, cell] / 10
    for _ in range(infect_repeat):
        if f[INFECTION, cell] >= 100:
            f[INFECTION, around[cell, rng.integers(0, 8)]] += infect_spread
            f[INFECTION, cell] = 100.0
    if f[INFECTION, cell] > 0:
        f[INFECTION, cell] = max(0.0, f[INFECTION, cell] - f[CYTOTOX, cell] + 0.1)


def ischaemia(f, around, cell, oxy_heal, m):
    """Oxygen falls by cytotoxic products; healthy cells recover, ischaemic and infarcted ones harm their neighbours.
    A cell that becomes infarcted by its ischaemia counts as both in this step."""
    f[OXY, cell] -= f[CYTOTOX, cell]
    if f[OXY, cell] >= 60:
        f[OXY, cell] = min(100.0, f[OXY, cell] + oxy_heal)
    if 30 < f[OXY, cell] < 60:
        f[ROLL, cell] += 1
        f[OXY, cell] -= 0.5
        f[PAF, cell] = produced(f[PAF, cell] + 1, m[M_PAF])
        for h in range(8):
            f[OXY, around[cell, h]] -= 0.05
    if f[OXY, cell] <= 30:
        f[STICK, cell] += 1
        f[OXY, cell] -= 2
        f[PAF, cell] = produced(f[PAF, cell] + 1, m[M_PAF])
        for h in range(8):
            f[OXY, around[cell, h]] = max(0.0, f[OXY, around[cell, h]] - 0.25)
    f[OXY, cell] = max(0.0, f[OXY, cell])


def endothelium(f, around, cell, oxy_heal, infect_spread, infect_repeat, m, rng):
    """One endothelial cell: injury, activation, oxygen."""
    injure(f, around, cell, infect_spread, infect_repeat, rng)
    if f[ENDOTOXIN, cell] >= 1 or f[OXY, cell] < 60:
        f[ACTIVATED, cell] = 1.0
    if f[ACTIVATED, cell] == 1:
        f[ROLL, cell] += 1
        f[STICK, cell] += 1
        f[PAF, cell] = produced(f[PAF, cell] + 1, m[M_PAF])
        f[IL8, cell] = produced(f[IL8, cell] + 1, m[M_IL8])
    ischaemia(f, around, cell, oxy_heal, m)


def burst(f, row, m):
    """A migrated PMN releases its granules and may live on."""
    cell = int(row[CELL])
    f[CYTOTOX, cell] = max(10.0, f[TNF, cell])
    f[TNF, cell] = produced(f[TNF, cell] + 1, m[M_TNF])
    f[IL1, cell] = produced(f[IL1, cell] + 1, m[M_IL1])
    row[AGE] = math.trunc(row[LIFE])
    row[LIFE] += -1 + max(0.0, (f[TNF, cell] + f[IFNG, cell] + f[GCSF, cell] - f[IL10, cell]) / 100)


def pmn(f, occupied, around, row, m):
    """One neutrophil."""
    if row[MIGRATE] > 0:
        burst(f, row, m)
        return
    rolling = f[ROLL, int(row[CELL])] > 3 and row[OWN_ROLL] == 1
    chemotaxis(f[IL8], occupied, around, row)
    if not rolling:
        chemotaxis(f[IL8], occupied, around, row)
    cell = int(row[CELL])
    inflammation = f[TNF, cell] + f[IL1, cell] + f[GCSF, cell] - f[IL10, cell]
    if f[TNF, cell] + f[PAF, cell] > 1:
        row[OWN_STICK] = math.floor(f[IL1, cell])
        f[IL1RA, cell] = produced(f[IL1RA, cell] + 1, m[M_IL1RA])
    if row[OWN_STICK] >= 1 and f[STICK, cell] >= 100:
        row[MIGRATE] = max(0.0, math.floor(inflammation))
    row[AGE] -= 1


def heal(f, cell):
    """A cell made new by a migrated monocyte."""
    f[OXY, cell] = 100.0
    f[ROLL, cell] = 0.0
    f[STICK, cell] = 0.0
    f[INFECTION, cell] = 0.0
    f[ACTIVATED, cell] = 0.0


def monocyte(f, occupied, around, row, m):
    """One monocyte or macrophage."""
    cell = int(row[CELL])
    tnf, s_tnfr, il1 = f[TNF, cell], f[STNFR, cell], f[IL1, cell]
    tnf_r = min(100.0, tnf + s_tnfr) if s_tnfr <= 100 else min(100.0, max(0.0, tnf - s_tnfr))
    il1_r = min(100.0, max(0.0, il1 - f[IL1RA, cell] - f[SIL1R, cell]))
    f[IL1RA, cell] = produced(f[IL1RA, cell] + il1 / 2, m[M_IL1RA])
    f[STNFR, cell] = produced(s_tnfr + tnf_r / 2, m[M_STNFR])
    f[SIL1R, cell] = produced(f[SIL1R, cell] + il1_r / 2, m[M_SIL1R])
    endotoxin, paf, ifng = f[ENDOTOXIN, cell], f[PAF, cell], f[IFNG, cell]
    activation = endotoxin + paf + ifng - f[IL10, cell]
    if activation > 0:
        f[GCSF, cell] = produced(f[GCSF, cell] + endotoxin + paf + tnf + ifng, m[M_GCSF])
        f[IL8, cell] = produced(f[IL8, cell] + tnf + il1, m[M_IL8])
        f[IL12, cell] = produced(f[IL12, cell] + tnf + il1, m[M_IL12])
        f[IL10, cell] = produced(f[IL10, cell] + tnf + il1, m[M_IL10])
        f[IL1, cell] = produced(il1 + endotoxin + paf + il1_r + tnf, m[M_IL1])
        f[TNF, cell] = produced(tnf + endotoxin + paf + tnf_r + ifng, m[M_TNF])
        if row[OWN_STICK] == 1 and f[STICK, cell] >= 100:
            row[MIGRATE] = 1.0
        if row[OWN_ROLL] == 1:
            row[OWN_STICK] = 1.0
        row[OWN_ROLL] = 1.0
    if activation < 0:
        f[IL10, cell] = produced(f[IL10, cell] + tnf + il1, m[M_IL10])
    if row[MIGRATE] == 1:
        heal(f, cell)
    chemotaxis(f[PAF], occupied, around, row)
    if row[OWN_ROLL] != 1:
        chemotaxis(f[PAF], occupied, around, row)
    row[AGE] -= 1


def th0(f, occupied, around, row, rng, compat):
    """One undecided helper cell; returns 1 or 2 if it becomes TH1 or TH2, otherwise 0."""
    cell = int(row[CELL])
    if f[IL12, cell] + f[IL4, cell] > 0:
        first = (f[IL12, cell] + f[IFNG, cell]) * 100
        second = (f[IL10, cell] + f[IL4, cell]) * 100
        if first > 0 and second > 0:
            if compat:
                drawn_1 = rng.integers(0, 10000) % math.ceil(first)
                drawn_2 = rng.integers(0, 10000) % math.ceil(second)
            else:
                drawn_1 = rng.integers(0, math.ceil(first))
                drawn_2 = rng.integers(0, math.ceil(second))
            if drawn_1 > drawn_2:
                row[LIFE] += 1
            elif drawn_1 < drawn_2:
                row[LIFE] -= 1
        elif first > 0:
            row[LIFE] += 1
        else:
            row[LIFE] -= 1
    wiggle(occupied, around, row, rng)
    row[AGE] -= 1
    if row[AGE] < 0:
        return 0
    if row[LIFE] >= 10:
        return 1
    return 2 if row[LIFE] <= -10 else 0


def th1(f, occupied, around, row, m, rng):
    """One TH1 cell."""
    cell = int(row[CELL])
    if f[IL12, cell] > 0:
        f[IFNG, cell] = produced(2 * f[IFNG, cell] + f[IL12, cell] + f[TNF, cell] + f[IL1, cell], m[M_IFNG])
    wiggle(occupied, around, row, rng)
    row[AGE] -= 1


def th2(f, occupied, around, row, m, rng):
    """One TH2 cell."""
    cell = int(row[CELL])
    if f[IL10, cell] > 0:
        f[IL4, cell] = produced(f[IL4, cell] + f[IL10, cell], m[M_IL4])
        f[IL10, cell] = produced(2 * f[IL10, cell], m[M_IL10])
    wiggle(occupied, around, row, rng)
    row[AGE] -= 1


def act(row, occupied):
    """Clear the place of a cell that died; returns whether it did."""
    if row[AGE] < 0:
        occupied[int(row[CELL])] -= 1
        return True
    return False


def endothelium_phase(f, around, oxy_heal, infect_spread, infect_repeat, m, rng):
    for cell in rng.permutation(f.shape[1]):
        endothelium(f, around, cell, oxy_heal, infect_spread, infect_repeat, m, rng)


def pmn_phase(f, occupied, around, rows, m, rng, compat):
    skip = False
    for i in rng.permutation(len(rows)):
        if skip:
            skip = False
            continue
        pmn(f, occupied, around, rows[i], m)
        skip = act(rows[i], occupied) and compat


def monocyte_phase(f, occupied, around, rows, m, rng, compat):
    skip = False
    for i in rng.permutation(len(rows)):
        if skip:
            skip = False
            continue
        monocyte(f, occupied, around, rows[i], m)
        skip = act(rows[i], occupied) and compat


def th0_phase(f, occupied, around, rows, rng, compat):
    """Returns what each has become, `[len(rows)]`: 0, 1 or 2."""
    becomes = np.zeros(len(rows), np.int64)
    skip = False
    for i in rng.permutation(len(rows)):
        if skip:
            skip = False
            continue
        becomes[i] = th0(f, occupied, around, rows[i], rng, compat)
        skip = (act(rows[i], occupied) or becomes[i] > 0) and compat
    return becomes


def th1_phase(f, occupied, around, rows, m, rng, compat):
    skip = False
    for i in rng.permutation(len(rows)):
        if skip:
            skip = False
            continue
        th1(f, occupied, around, rows[i], m, rng)
        skip = act(rows[i], occupied) and compat


def th2_phase(f, occupied, around, rows, m, rng, compat):
    skip = False
    for i in rng.permutation(len(rows)):
        if skip:
            skip = False
            continue
        th2(f, occupied, around, rows[i], m, rng)
        skip = act(rows[i], occupied) and compat


def evaporate(field, remains):
    """Evaporation of one field `[n]`, in place."""
    for i in range(len(field)):
        left = field[i] * remains
        field[i] = left if left >= TRACE else 0.0


def diffuse(field, leaves, side):
    """Diffusion of one field `[n]` on the torus to the eight neighbours equally, in place."""
    old = field.copy().reshape(side, side)
    new = field.reshape(side, side)
    for y in range(side):
        south, north = (y - 1) % side, (y + 1) % side
        for x in range(side):
            west, east = (x - 1) % side, (x + 1) % side
            ring = old[south, west] + old[south, x] + old[south, east] + old[y, west]
            ring += old[y, east] + old[north, west] + old[north, x] + old[north, east]
            new[y, x] = (1 - leaves) * old[y, x] + leaves * ring / 8
