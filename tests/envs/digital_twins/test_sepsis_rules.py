"""The sequential rules of the sepsis model against numbers worked out by hand, in plain Python."""

import numpy as np
import pytest

from dynrl.envs.digital_twins.sepsis import MEDIATORS, Patient, SequentialSepsis, multipliers_of, rules
from dynrl.envs.digital_twins.sepsis.fields import (
    ACTIVATED,
    CONTROLLED,
    CYTOTOX,
    DRUGS,
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
    LEAVES,
    OXY,
    PAF,
    ROLL,
    SIL1R,
    STICK,
    STNFR,
    TNF,
)
from dynrl.envs.digital_twins.sepsis.reference import injured_cells, neighbours

SIDE = 5
AROUND = neighbours(SIDE)
MIDDLE = 12
ONE = np.ones(12)


class Always:
    """A generator that always draws the same whole number."""

    def __init__(self, value):
        self.value = value

    def integers(self, low, high):
        return min(max(self.value, low), high - 1)


@pytest.fixture
def f():
    fields = np.zeros((19, SIDE**2), np.float32)
    fields[OXY] = 100
    return fields


def row(cell=MIDDLE, heading=0, age=10, stick=0, migrate=0, life=10):
    return np.array([cell, heading, age, 1, stick, migrate, life], float)


@pytest.mark.parametrize(("radius", "cells"), [(14, 613), (15, 709), (20, 1257)])
def test_infected_cells_of_a_disk(radius, cells):
    assert injured_cells(101, radius).sum() == cells


def test_headings_go_clockwise_from_north_around_the_torus():
    # Cell 0 is the south-west corner.
    np.testing.assert_array_equal(AROUND[0], [5, 6, 1, 21, 20, 24, 4, 9])


@pytest.mark.parametrize(
    ("value", "multiplier", "expected"), [(4, 0.25, 1), (4, 1, 4), (4, 10, 13), (1e13, 1, 1e12)]
)
def test_what_a_rule_produces_under_therapy(value, multiplier, expected):
    assert rules.produced(float(value), float(multiplier)) == pytest.approx(expected)


def test_multipliers_of_an_action():
    m = dict(zip(MEDIATORS, multipliers_of(np.array([1, -1, 0, 0.5, -0.5, 0.0]), DRUGS), strict=True))
    assert m == pytest.approx(
        {**dict.fromkeys(MEDIATORS, 1.0), "TNF": 10, "IFNg": 0.001, "IL4": 5.5, "IL8": 0.501}
    )
    assert multipliers_of(np.ones(11), CONTROLLED).tolist() == [10] * 5 + [1] + [10] * 6


def test_a_full_infection_takes_oxygen_and_spreads(f):
    f[INFECTION, MIDDLE], f[CYTOTOX, MIDDLE] = 104, 3
    rules.injure(f, AROUND, MIDDLE, 4.0, 2, Always(2))
    assert f[OXY, MIDDLE] == 0
    assert f[ENDOTOXIN, MIDDLE] == pytest.approx(10.4)
    assert f[INFECTION, AROUND[MIDDLE, 2]] == 8
    assert f[INFECTION, MIDDLE] == pytest.approx(100 - 3 + 0.1)


def test_a_slight_infection_neither_spreads_nor_goes_below_zero(f):
    f[INFECTION, MIDDLE], f[CYTOTOX, MIDDLE] = 2, 10
    rules.injure(f, AROUND, MIDDLE, 4.0, 3, Always(0))
    assert f[INFECTION].sum() == 0
    assert f[OXY, MIDDLE] == 98


def test_healthy_cells_recover_up_to_100(f):
    f[OXY, MIDDLE] = 99.9
    rules.ischaemia(f, AROUND, MIDDLE, 0.3, ONE)
    assert f[OXY, MIDDLE] == 100
    f[OXY, MIDDLE] = 60
    rules.ischaemia(f, AROUND, MIDDLE, 0.3, ONE)
    assert f[OXY, MIDDLE] == pytest.approx(60.3)


def test_an_ischaemic_cell_harms_its_neighbours(f):
    f[OXY, MIDDLE] = 50
    rules.ischaemia(f, AROUND, MIDDLE, 0.3, ONE)
    assert f[OXY, MIDDLE] == 49.5
    assert f[ROLL, MIDDLE] == 1 and f[STICK, MIDDLE] == 0 and f[PAF, MIDDLE] == 1
    np.testing.assert_allclose(f[OXY, AROUND[MIDDLE]], 99.95)


def test_a_cell_that_becomes_infarcted_counts_twice(f):
    f[OXY, MIDDLE] = 30.4
    rules.ischaemia(f, AROUND, MIDDLE, 0.3, ONE)
    assert f[OXY, MIDDLE] == pytest.approx(30.4 - 0.5 - 2)
    assert f[ROLL, MIDDLE] == 1 and f[STICK, MIDDLE] == 1 and f[PAF, MIDDLE] == 2
    np.testing.assert_allclose(f[OXY, AROUND[MIDDLE]], 100 - 0.05 - 0.25)


def test_endotoxin_activates_for_good(f):
    f[ENDOTOXIN, MIDDLE] = 1
    m = ONE.copy()
    m[MEDIATORS.index("IL8")] = 0.5
    rules.endothelium(f, AROUND, MIDDLE, 0.1, 1.0, 1, m, Always(0))
    f[ENDOTOXIN, MIDDLE] = 0
    rules.endothelium(f, AROUND, MIDDLE, 0.1, 1.0, 1, m, Always(0))
    assert f[ACTIVATED, MIDDLE] == 1
    assert f[PAF, MIDDLE] == 2
    assert f[IL8, MIDDLE] == pytest.approx(((0 + 1) * 0.5 + 1) * 0.5)
    assert f[ROLL, MIDDLE] == 2 and f[STICK, MIDDLE] == 2


def test_a_burst(f):
    f[TNF, MIDDLE], f[IFNG, MIDDLE], f[GCSF, MIDDLE], f[IL10, MIDDLE] = 30, 5, 400, 6
    m = ONE.copy()
    m[MEDIATORS.index("IL1")] = 3.0
    cell = row(migrate=2, life=7.5)
    rules.pmn(f, np.zeros(25, int), AROUND, cell, m)
    assert f[CYTOTOX, MIDDLE] == 30 and f[TNF, MIDDLE] == 31 and f[IL1, MIDDLE] == 3
    assert cell[rules.AGE] == 7
    assert cell[rules.LIFE] == pytest.approx(7.5 - 1 + (31 + 5 + 400 - 6) / 100)
    assert cell[rules.CELL] == MIDDLE


def test_a_burst_of_no_life_left_kills(f):
    cell = row(migrate=1, life=-0.5)
    rules.pmn(f, np.zeros(25, int), AROUND, cell, ONE)
    assert f[CYTOTOX, MIDDLE] == 10
    assert cell[rules.AGE] == 0  # truncation towards zero, as an integer assignment does
    cell = row(migrate=1, life=-1.0)
    rules.pmn(f, np.zeros(25, int), AROUND, cell, ONE)
    assert cell[rules.AGE] < 0


@pytest.mark.parametrize(("roll", "steps"), [(4, 1), (3, 2)])
def test_rolling_slows_a_pmn(f, roll, steps):
    f[ROLL, MIDDLE] = roll
    f[IL8, [17, 22]] = 1  # straight north
    cell, occupied = row(), np.zeros(25, int)
    occupied[MIDDLE] = 1
    rules.pmn(f, occupied, AROUND, cell, ONE)
    assert cell[rules.CELL] == MIDDLE + 5 * steps
    assert occupied.sum() == 1 and occupied[MIDDLE + 5 * steps] == 1
    assert cell[rules.AGE] == 9


def test_a_pmn_sticks_and_migrates(f):
    f[[TNF, IL1, GCSF, IL10], MIDDLE + 5] = 0.9, 2.7, 5, 1
    f[[PAF, IL8, STICK], MIDDLE + 5] = 0.2, 1, 100
    f[ROLL, MIDDLE] = 4
    cell = row()
    rules.pmn(f, np.zeros(25, int), AROUND, cell, ONE)
    assert cell[rules.OWN_STICK] == 2
    assert f[IL1RA, MIDDLE + 5] == 1
    assert cell[rules.MIGRATE] == np.floor(0.9 + 2.7 + 5 - 1)


def test_chemotaxis_turns_right_on_ties_and_keeps_the_turn_when_blocked(f):
    cell, occupied = row(), np.zeros(25, int)
    rules.chemotaxis(f[PAF], occupied, AROUND, cell)
    assert (cell[rules.HEADING], cell[rules.CELL]) == (1, AROUND[MIDDLE, 1])
    signal = np.zeros(25)
    signal[AROUND[MIDDLE, 7]] = 2
    occupied[AROUND[MIDDLE, 7]] = 28
    cell = row()
    rules.chemotaxis(signal, occupied, AROUND, cell)
    assert (cell[rules.HEADING], cell[rules.CELL]) == (7, MIDDLE)


def test_an_activated_monocyte_speaks_in_order(f):
    values = {TNF: 8, STNFR: 2, IL1: 6, IL1RA: 1, SIL1R: 2, ENDOTOXIN: 3, PAF: 4, IFNG: 1, IL10: 5}
    for field, value in values.items():
        f[field, MIDDLE] = value
    cell = row()
    rules.monocyte(f, np.zeros(25, int), AROUND, cell, ONE)
    # TNF receptor 10, IL1 receptor 3.
    expected = {IL1RA: 4, STNFR: 7, SIL1R: 3.5, GCSF: 3 + 4 + 8 + 1, IL8: 14, IL12: 14, IL10: 19}
    expected |= {IL1: 6 + 3 + 4 + 3 + 8, TNF: 8 + 3 + 4 + 10 + 1}
    for field, value in expected.items():
        assert f[field, MIDDLE] == pytest.approx(value), field
    assert cell[rules.OWN_STICK] == 1


def test_a_quiet_monocyte_calms(f):
    f[[TNF, IL1, IL10], MIDDLE] = 3, 2, 4
    rules.monocyte(f, np.zeros(25, int), AROUND, row(), ONE)
    assert f[IL10, MIDDLE] == 4 + 3 + 2
    assert f[GCSF, MIDDLE] == 0


def test_the_tnf_receptor_is_blocked_above_100(f):
    f[[TNF, STNFR], MIDDLE] = 150, 120
    rules.monocyte(f, np.zeros(25, int), AROUND, row(), ONE)
    assert f[STNFR, MIDDLE] == 120 + 30 / 2


def test_a_migrated_monocyte_heals(f):
    f[[OXY, INFECTION, ROLL, STICK, ACTIVATED], MIDDLE] = 5, 80, 9, 100, 1
    f[PAF, MIDDLE] = 1
    rules.monocyte(f, np.zeros(25, int), AROUND, row(stick=1), ONE)
    np.testing.assert_array_equal(f[[OXY, INFECTION, ROLL, STICK, ACTIVATED], MIDDLE], [100, 0, 0, 0, 0])


def test_helper_cells(f):
    f[[IL12, IFNG, TNF, IL1, IL10, IL4], MIDDLE] = 1, 2, 3, 4, 5, 6
    rules.th1(f, np.zeros(25, int), AROUND, row(), ONE, Always(1))
    assert f[IFNG, MIDDLE] == 2 * 2 + 1 + 3 + 4
    rules.th2(f, np.zeros(25, int), AROUND, row(), ONE, Always(1))
    assert f[IL4, MIDDLE] == 11 and f[IL10, MIDDLE] == 10


@pytest.mark.parametrize(("il12", "il10", "score"), [(1, 0, 1), (0, 1, -1), (0, 0, 0)])
def test_an_undecided_cell_leans_to_the_only_signal(f, il12, il10, score):
    f[[IL12, IL4], MIDDLE] = il12, il10
    cell = row(life=0)
    assert rules.th0(f, np.zeros(25, int), AROUND, cell, Always(1), False) == 0
    assert cell[rules.LIFE] == score


def test_an_undecided_cell_decides_at_ten(f):
    f[IL12, MIDDLE] = 1
    assert rules.th0(f, np.zeros(25, int), AROUND, row(life=9), Always(1), False) == 1
    assert rules.th0(f, np.zeros(25, int), AROUND, row(life=9, age=0), Always(1), False) == 0


def test_diffusion_keeps_the_mass_and_one_cell_spreads_to_eight():
    rng = np.random.default_rng(0)
    field = rng.random(SIDE**2)
    total = field.sum()
    rules.diffuse(field, LEAVES[2], SIDE)
    assert field.sum() == pytest.approx(total, rel=1e-12)
    drop = np.zeros(SIDE**2)
    drop[0] = 8
    rules.diffuse(drop, 0.6, SIDE)
    assert drop[0] == pytest.approx(3.2)
    np.testing.assert_allclose(drop[AROUND[0]], 0.6)


def test_evaporation_leaves_no_traces():
    field = np.array([1, 0.01, 0.1 / 7 + 1e-9])
    rules.evaporate(field, 0.7)
    np.testing.assert_allclose(field, [0.7, 0, 0.01], atol=1e-8)


def test_every_mobile_cell_and_site_has_its_place():
    model = SequentialSepsis(Patient(0.05, 5, 3, 6, 30), 3, grid=15, compiled=False)
    for _ in range(25):
        model.step()
        expected = np.zeros(225, int)
        for cells in (
            *model.sites.values(),
            *(rows[:, rules.CELL].astype(int) for rows in model.rows.values()),
        ):
            np.add.at(expected, cells, 1)
        np.testing.assert_array_equal(model.occupied, expected)


def test_the_same_seed_gives_the_same_course_and_numba_the_text_of_python():
    pytest.importorskip("numba")
    plain, again, compiled = (
        SequentialSepsis(Patient(0.1, 4, 2, 2, 30), 5, grid=11, compiled=flag)
        for flag in (False, False, True)
    )
    for _ in range(12):
        plain.step(), again.step(), compiled.step()
    np.testing.assert_array_equal(plain.f, again.f)
    # Numba's generators draw the same numbers; sums in another order may differ in the last digits.
    np.testing.assert_allclose(compiled.f, plain.f, rtol=1e-3, atol=1e-3)


def test_compat_never_uses_the_last_row_and_column():
    model = SequentialSepsis(Patient(), 0, grid=4, compiled=False, compat=True)
    cells = np.concatenate([model._random_sites(500), *model.sites.values()])
    assert (cells % 4).max() == 2 and (cells // 4).max() == 2


def test_antibiotics_and_recurrent_injury():
    model = SequentialSepsis(Patient(0.1, 1, 1, 0, 40), 0, grid=9, compiled=False)
    before = model.totals[0]
    model.step(antibiotic=0.2)
    assert model.totals[0] < 0.25 * before
    model = SequentialSepsis(Patient(0.1, 1, 1, 300, 0), 0, grid=9, compiled=False)
    model.f[INFECTION] = 0
    model.time = 202
    model.step()
    assert model.totals[0] == 0
    model.step()
    assert model.totals[0] >= 1


@pytest.mark.parametrize(
    "change", [{"oxy_heal": -1}, {"infect_repeat": 1.5}, {"injury": np.nan}, {"recurrent_injuries": "many"}]
)
def test_impossible_patients_are_named(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        SequentialSepsis(Patient()._replace(**change), grid=5, compiled=False)


def test_impossible_grids():
    with pytest.raises(ValueError, match="grid"):
        SequentialSepsis(grid=2)


def test_constants_match_their_names():
    assert 7 + MEDIATORS.index("sIL1r") == SIL1R and 7 + MEDIATORS.index("GCSF") == GCSF
