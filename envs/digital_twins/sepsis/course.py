"""Whole courses of the sepsis model as loops over the reference's rules, written for Numba.

Arrays are those of `rules`. A kind's rows `[room, 7]` are filled from the front; `counts` `[5]` says how far. `status`
is (steps taken, steps off therapy or -1, outcome). `patient` is (oxy_heal, infect_spread, infect_repeat, recurrent
injuries), `bounds` are the shares of missing oxygen at which therapy stops, a patient is healed, and has died.
"""

from __future__ import annotations

import numpy as np

from dynrl.envs.digital_twins.sepsis import rules
from dynrl.envs.digital_twins.sepsis.fields import (
    ACTIVATED,
    CONFIRMATION,
    CYTOTOX,
    DIED,
    ENDOTOXIN,
    GRID,
    HEALED,
    INFECTION,
    INJURY_PERIOD,
    LARGEST,
    LEAVES,
    MOST_TRIES,
    OXY,
    REMAINS,
    RUNNING,
    SPREADING,
    TRACE,
)

PMN, MONOCYTE, TH0, TH1, TH2 = range(5)
TIME, OFF, OUTCOME = range(3)
_FIELDS, _REMAINS, _LEAVES = np.array(SPREADING), REMAINS.astype(np.float32), LEAVES.astype(np.float32)

LOOPS = (
    "shuffled",
    "add_up",
    "spread",
    "endothelium_phase",
    "pmn_phase",
    "monocyte_phase",
    "buried",
    "th0_phase",
    "th1_phase",
    "th2_phase",
    "born",
    "births",
    "room_is_left",
    "injure_again",
    "judge",
    "one_step",
    "course",
)
"""Numba reads these as globals of this module, so each stands before those that use it."""


def shuffled(order, count, rng):
    """The first `count` numbers in a random order (Fisher and Yates; Durstenfeld 1964), in place."""
    for i in range(count):
        order[i] = i
    for i in range(count - 1, 0, -1):
        j = int(rng.random() * (i + 1))
        order[i], order[j] = order[j], order[i]


def add_up(f, totals):
    """Oxygen deficit, infection and mediators summed over the grid, in `totals` `[14]`."""
    n = f.shape[1]
    missing = infection = 0.0
    for cell in range(n):
        missing += 100 - f[OXY, cell]
        infection += f[INFECTION, cell]
    totals[0], totals[1] = missing / 100, infection / 100
    for mediator in range(totals.shape[0] - 2):
        field = f[f.shape[0] - (totals.shape[0] - 2) + mediator]
        # Four sums at once: one would wait for each addition.
        a = b = c = d = 0.0
        for cell in range(0, n - 3, 4):
            a += field[cell]
            b += field[cell + 1]
            c += field[cell + 2]
            d += field[cell + 3]
        for cell in range(n - n % 4, n):
            a += field[cell]
        totals[2 + mediator] = (a + b + c + d) / 100


def spread(field, remains, leaves, side):
    """Evaporation and diffusion of one field `[n]` on the torus, in place."""
    grid = field.reshape(side, side)
    padded = np.empty((side + 2, side + 2), np.float32)
    trace, largest, nothing = np.float32(TRACE), np.float32(LARGEST), np.float32(0)
    for y in range(side):
        for x in range(side):
            left = min(grid[y, x] * remains, largest)
            padded[y + 1, x + 1] = left if left >= trace else nothing
        padded[y + 1, 0], padded[y + 1, side + 1] = padded[y + 1, side], padded[y + 1, 1]
    padded[0], padded[side + 1] = padded[side], padded[1]
    stays, share = np.float32(1) - leaves, leaves / np.float32(8)
    for y in range(side):
        south, here, north = padded[y], padded[y + 1], padded[y + 2]
        for x in range(side):
            beside = south[x] + here[x] + north[x] + south[x + 2] + here[x + 2] + north[x + 2]
            grid[y, x] = stays * here[x + 1] + share * (beside + south[x + 1] + north[x + 1])


def endothelium_phase(f, around, order, patient, m, rng):
    oxy_heal, infect_spread, infect_repeat, _ = patient
    shuffled(order, f.shape[1], rng)
    for cell in order[: f.shape[1]]:
        at_rest = f[OXY, cell] == 100 and f[INFECTION, cell] == 0 and f[ACTIVATED, cell] == 0
        if at_rest and f[CYTOTOX, cell] == 0 and f[ENDOTOXIN, cell] < 1:
            continue
        rules.endothelium(f, around, cell, oxy_heal, infect_spread, infect_repeat, m, rng)


def pmn_phase(f, occupied, around, rows, count, order, m, rng):
    shuffled(order, count, rng)
    for k in range(count):
        row = rows[order[k]]
        rules.pmn(f, occupied, around, row, m)
        rules.act(row, occupied)


def monocyte_phase(f, occupied, around, rows, count, order, m, rng):
    shuffled(order, count, rng)
    for k in range(count):
        row = rows[order[k]]
        rules.monocyte(f, occupied, around, row, m)
        rules.act(row, occupied)


def th0_phase(f, occupied, around, all_rows, counts, order, rng):
    """TH0 cells that have decided join the others before those act."""
    rows, count = all_rows[TH0], counts[TH0]
    shuffled(order, count, rng)
    for k in range(count):
        row = rows[order[k]]
        becomes = rules.th0(f, occupied, around, row, rng, False)
        rules.act(row, occupied)
        if becomes > 0:
            kind = TH0 + becomes
            grown = all_rows[kind][counts[kind]]
            grown[:] = row
            grown[rules.HEADING] = rng.integers(0, 8)
            counts[kind] += 1
            row[rules.AGE] = -1.0
    counts[TH0] = buried(rows, count)


def th1_phase(f, occupied, around, rows, count, order, m, rng):
    shuffled(order, count, rng)
    for k in range(count):
        row = rows[order[k]]
        rules.th1(f, occupied, around, row, m, rng)
        rules.act(row, occupied)


def th2_phase(f, occupied, around, rows, count, order, m, rng):
    shuffled(order, count, rng)
    for k in range(count):
        row = rows[order[k]]
        rules.th2(f, occupied, around, row, m, rng)
        rules.act(row, occupied)


def buried(rows, count):
    """Close the gaps that the dead leave; returns how many are left."""
    left = 0
    for i in range(count):
        if rows[i, rules.AGE] >= 0:
            if left < i:
                rows[left] = rows[i]
            left += 1
    return left


def born(kind, cell, age, rows, counts, occupied, rng):
    row = rows[counts[kind]]
    row[:] = 0.0
    row[rules.CELL], row[rules.HEADING], row[rules.AGE] = cell, rng.integers(0, 8), age
    row[rules.OWN_ROLL] = 1.0
    if kind == PMN:
        row[rules.LIFE] = 10.0
    counts[kind] += 1
    occupied[cell] += 1


def births(f, occupied, rows, counts, sites, gcsf, rng):
    """Newcomers of one step; `gcsf` is the total at its beginning, as in the public code."""
    n, per_area = f.shape[1], gcsf * GRID**2 / f.shape[1]
    tries = len(sites[PMN]) * int(1 + min(per_area, MOST_TRIES) / 100)
    for _ in range(rng.binomial(tries, 0.1)):
        born(PMN, rng.integers(0, n), 50.0, rows[PMN], counts, occupied, rng)
    for _ in range(rng.binomial(len(sites[MONOCYTE]), 0.01)):
        born(MONOCYTE, rng.integers(0, n), 50.0, rows[MONOCYTE], counts, occupied, rng)
    for kind in (TH1, TH2, TH0):
        for cell in sites[kind]:
            if rng.random() < 0.01:
                born(kind, cell, 100.0, rows[kind], counts, occupied, rng)


def room_is_left(rows, counts, sites):
    """Whether every newcomer of the next step would find room, however many there are."""
    most = len(sites[PMN]) * (1 + MOST_TRIES // 100)
    room = len(rows[PMN]) - counts[PMN] >= most and len(rows[MONOCYTE]) - counts[MONOCYTE] >= len(
        sites[MONOCYTE]
    )
    for kind in (TH0, TH1, TH2):
        room = room and len(rows[kind]) - counts[kind] >= len(sites[kind]) + counts[TH0]
    return room


def injure_again(f, injuries, rng):
    n = f.shape[1]
    for _ in range(int(injuries * n / GRID**2 + rng.random())):
        f[INFECTION, rng.integers(0, n)] = 100.0


def judge(totals, cells, status, bounds):
    """Stop the therapy, and find the outcome, after one more step."""
    stop, healed, died = bounds
    missing = totals[0] / cells
    if status[OFF] >= 0:
        status[OFF] += 1
    elif missing < stop:
        status[OFF] = 0
    if missing > died:
        status[OUTCOME] = DIED
    elif status[OFF] >= CONFIRMATION and missing < healed:
        status[OUTCOME] = HEALED


def one_step(f, occupied, around, rows, counts, sites, order, totals, status, patient, m, antibiotic, rng):
    side = int(np.sqrt(f.shape[1]))
    gcsf = totals[-1]
    status[TIME] += 1
    th0_phase(f, occupied, around, rows, counts, order, rng)
    endothelium_phase(f, around, order, patient, m, rng)
    pmn_phase(f, occupied, around, rows[PMN], counts[PMN], order, m, rng)
    monocyte_phase(f, occupied, around, rows[MONOCYTE], counts[MONOCYTE], order, m, rng)
    th1_phase(f, occupied, around, rows[TH1], counts[TH1], order, m, rng)
    th2_phase(f, occupied, around, rows[TH2], counts[TH2], order, m, rng)
    for kind in (PMN, MONOCYTE, TH1, TH2):
        counts[kind] = buried(rows[kind], counts[kind])
    births(f, occupied, rows, counts, sites, gcsf, rng)
    if status[TIME] % INJURY_PERIOD == 0:
        injure_again(f, patient[3], rng)
    for index in range(len(_FIELDS)):
        spread(f[_FIELDS[index]], _REMAINS[index], _LEAVES[index], side)
    if antibiotic != 1.0:
        for cell in range(f.shape[1]):
            f[INFECTION, cell] *= antibiotic
    add_up(f, totals)


def course(
    until,
    f,
    occupied,
    around,
    rows,
    counts,
    sites,
    order,
    totals,
    sums,
    status,
    patient,
    m,
    antibiotic,
    bounds,
    rng,
):
    """Steps until the time `until`, an outcome, or a want of room; `bounds` of three negative numbers judge nothing."""
    none = np.ones_like(m)
    while status[TIME] < until and status[OUTCOME] == RUNNING and room_is_left(rows, counts, sites):
        treated = status[OFF] < 0
        one_step(
            f,
            occupied,
            around,
            rows,
            counts,
            sites,
            order,
            totals,
            status,
            patient,
            m if treated else none,
            antibiotic if treated else 1.0,
            rng,
        )
        sums += totals[2:]
        if bounds[2] >= 0:
            judge(totals, f.shape[1], status, bounds)
