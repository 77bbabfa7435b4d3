"""The sepsis model in machine code: the reference's step for the same draws, its distribution otherwise."""

from collections import Counter

import numpy as np
import pytest

from dynrl.envs.digital_twins.sepsis import Limits, NativeSepsis, Patient, SequentialSepsis, course, rules
from dynrl.envs.digital_twins.sepsis.fields import GCSF, LEAVES, REMAINS
from dynrl.envs.digital_twins.sepsis.measure import agreement

SICK = Patient(0.1, 4, 2, 3, 30)
MULTIPLIERS = np.array([0.5, 1.7, 1, 0.2, 3, 0.9, 2, 1, 1.5, 0.7, 1, 4])


class Settled:
    """A generator without chance: orders stay as they are, whole numbers are the least, two of every kind are born."""

    def permutation(self, count):
        return np.arange(count)

    def random(self, count=None):
        return 0.999 if count is None else np.full(count, 0.999)

    def integers(self, low, high, size=None):
        return low if size is None else np.full(size, low)

    def binomial(self, tries, probability):
        return min(tries, 2)


def test_a_course_is_that_of_the_reference_for_the_same_draws(monkeypatch):
    """In plain Python, with injuries anew, births, therapy and antibiotics, and the reference's rounding of diffusion,
    which decides where cells go whose neighbours hardly differ."""
    remaining = {float(np.float32(exact)): exact for exact in REMAINS}
    leaving = {float(np.float32(exact)): exact for exact in LEAVES}

    def spread(field, remains, leaves, side):
        rules.evaporate(field, remaining[float(remains)])
        rules.diffuse(field, leaving[float(leaves)], side)

    monkeypatch.setattr(course, "spread", spread)
    reference, copied = (SequentialSepsis(SICK, 1, grid=7, compiled=False) for _ in range(2))
    reference.rng = Settled()
    kinds = tuple(copied.rows)
    counts = np.array([len(copied.rows[kind]) for kind in kinds])
    rows = tuple(np.concatenate([copied.rows[kind], np.zeros((400, 7))]) for kind in kinds)
    order, totals, status = np.zeros(600, int), np.zeros(14), np.array([195, -1, 0])
    reference.time = 195
    for step in range(15):
        m, antibiotic = (MULTIPLIERS, 0.9) if step > 5 else (np.ones(12), 1.0)
        reference.step(m, antibiotic)
        course.one_step(
            copied.f,
            copied.occupied,
            copied.around,
            rows,
            counts,
            tuple(copied.sites[kind] for kind in kinds),
            order,
            totals,
            status,
            (0.1, 4.0, 2, 3.0),
            m,
            antibiotic,
            Settled(),
        )
        np.testing.assert_array_equal(copied.f, reference.f)
        np.testing.assert_array_equal(copied.occupied, reference.occupied)
    assert counts.tolist() == [len(reference.rows[kind]) for kind in kinds]
    assert totals == pytest.approx([reference.oxygen_deficit, *reference.totals], rel=1e-4, abs=1e-4)
    assert status[0] == 210 and reference.rows["pmn"].shape[0] > 20


def test_spreading_is_evaporation_and_diffusion():
    rng = np.random.default_rng(0)
    field = (rng.random(25) * 0.1).astype(np.float32)
    expected = field.astype(float)
    rules.evaporate(expected, REMAINS[0])
    rules.diffuse(expected, LEAVES[1], 5)
    course.spread(field, np.float32(REMAINS[0]), np.float32(LEAVES[1]), 5)
    np.testing.assert_allclose(field, expected, rtol=1e-5)


def test_all_orders_are_equally_likely():
    rng, order = np.random.default_rng(0), np.zeros(3, int)
    seen: Counter[tuple[int, ...]] = Counter()
    for _ in range(3000):
        course.shuffled(order, 3, rng)
        seen[tuple(order)] += 1
    assert len(seen) == 6
    assert sum((count - 500) ** 2 / 500 for count in seen.values()) < 22.1  # 5 degrees of freedom, p = 0.0005


@pytest.mark.parametrize(
    ("off", "missing", "after"),
    [
        (-1, 0.02, (-1, 0)),
        (-1, 0.009, (0, 0)),
        (50, 0.009, (51, 0)),
        (99, 0.004, (100, 1)),
        (9, 0.9, (10, 2)),
    ],
)
def test_who_is_off_therapy_healed_or_dead(off, missing, after):
    status = np.array([7, off, 0])
    course.judge(np.array([missing * 100]), 100, status, tuple(Limits()))
    assert tuple(status[1:]) == after


def test_the_dead_leave_no_gaps():
    rows = np.arange(28.0).reshape(4, 7)
    rows[[0, 2], rules.AGE] = -1
    assert course.buried(rows, 4) == 2
    np.testing.assert_array_equal(rows[:2, 0], [7, 21])


@pytest.mark.slow
class TestCompiled:
    """Together, for they share a compilation."""

    @pytest.fixture(autouse=True)
    def numba(self):
        pytest.importorskip("numba")

    @pytest.mark.parametrize("multipliers", [None, MULTIPLIERS])
    def test_its_courses_are_those_of_the_reference(self, multipliers):
        found = agreement(
            Patient(0.1, 4, 2, 2, 25), 40, 21, steps=(25, 60, 120), multipliers=multipliers, form="native"
        )
        assert found.within[:, :2].all()
        # 3 standard errors of skewed totals: one in 42 may fail.
        assert found.within.sum() >= found.within.size - 1

    def test_every_mobile_cell_and_site_has_its_place_on_the_smallest_grid(self):
        """More neutrophils than cells of the grid, and room that has to grow."""
        model = NativeSepsis(SICK, 0, 3)
        model.f[GCSF] = 1e9
        for _ in range(12):
            model.run(5)
            assert model.occupied.sum() == model.counts.sum() + 5
        assert model.counts[0] > 9

    def test_a_seed_is_a_course_however_it_is_cut(self):
        whole, parts = NativeSepsis(SICK, 3, 11), NativeSepsis(SICK, 3, 11)
        _, sums = whole.run(60, MULTIPLIERS)
        cut = [parts.run(20, MULTIPLIERS)[1] for _ in range(3)]
        np.testing.assert_array_equal(whole.f, parts.f)
        np.testing.assert_allclose(sums, np.sum(cut, 0))

    def test_an_outcome_ends_a_course(self):
        model = NativeSepsis(Patient(0.2, 1, 1, 0, 0), 0, 9)
        count, _ = model.run(1000, antibiotic=0.2, limits=Limits())
        assert (count, model.outcome, model.off) == (model.time, 1, 100)
        assert model.run(10, limits=Limits())[0] == 0
