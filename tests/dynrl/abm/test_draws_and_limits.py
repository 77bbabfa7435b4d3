"""Rounding is unbiased where it says so; dose limits hold at every step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dynrl.abm import DoseLimits, integers, uniform, whole
from dynrl.abm.draws import below, check_rounding


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 2**31 - 1))
def test_below_is_the_upper_half_of_the_product(word, bound):
    expected = word * bound >> 32
    assert int(below(np.array([word], np.uint32), bound)[0]) == expected
    assert int(below(jnp.array([word], jnp.uint32), bound)[0]) == expected


def test_integers_are_uniform_also_under_bounds_of_their_own():
    bounds = np.tile([1, 3, 7], 6000)
    for key, given_ in ((jax.random.key(0), jnp.array(bounds)), (np.random.default_rng(0), bounds)):
        found = np.asarray(integers(key, bounds.shape, given_))
        assert not found[bounds == 1].any()
        for bound in (3, 7):
            times = np.bincount(found[bounds == bound])
            assert len(times) == bound and stats.chisquare(times).pvalue > 1e-3


def test_uniform_numbers_are_uniform():
    for key in (jax.random.key(1), np.random.default_rng(1)):
        found = np.asarray(uniform(key, (20_000,)))
        assert found.dtype == np.float32 and found.min() >= 0 and found.max() < 1
        assert stats.kstest(found, "uniform").pvalue > 1e-3


def test_stochastic_rounding_is_unbiased_and_half_up_has_a_dead_zone():
    amount = np.full(40_000, 0.38, np.float32)
    for key, xp in ((jax.random.key(0), jnp), (np.random.default_rng(0), np)):
        mean = float(whole(key, xp.asarray(amount), "stochastic").mean())
        assert abs(mean - 0.38) < 4 * np.sqrt(0.38 * 0.62 / 40_000)
        assert float(whole(key, xp.asarray(amount), "half_up").max()) == 0
    assert whole(np.random.default_rng(0), np.array([1.5, 1.49]), "half_up").tolist() == [2, 1]
    assert whole(np.random.default_rng(0), np.array([1.9, -0.5]), "floor").tolist() == [1, -1]
    with pytest.raises(ValueError, match="rounding is 'nearest'"):
        check_rounding("nearest")


DOSES = st.floats(0, 0.1875, width=32, allow_subnormal=False)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(DOSES, DOSES), min_size=1, max_size=12),
    st.sampled_from([None, 0.03]),
    st.sampled_from([None, 0.1]),
    st.sampled_from([None, 3]),
    st.sampled_from([None, 0.25]),
)
def test_every_limit_holds_at_every_step(asked, rate, peak, interval, budget):
    limits = DoseLimits(rate, peak, interval, budget)
    history, given_ = limits.start(2), []
    for dose in asked:
        found = limits.project(jnp.array(dose, jnp.float32), history)
        history = limits.after(found.dose, history)
        given_.append(np.asarray(found.dose))
        if not bool(found.changed):
            np.testing.assert_allclose(
                given_[-1], np.array(dose, np.float32), atol=1e-30
            )  # XLA has no subnormals
    doses = np.array(given_)
    # Withholding, and a budget that runs out, may drop a dose to 0 faster than the rate of change allows.
    if rate is not None:
        assert (np.diff(doses, axis=0, prepend=0) <= rate + 1e-5).all()
    if peak is not None:
        assert doses.max() <= peak + 1e-5
    if budget is not None:
        assert doses.sum() <= budget + 1e-4
    if interval is not None:
        assert (np.diff(np.flatnonzero(doses.any(axis=1))) >= interval).all()


@pytest.mark.parametrize("wrong", [{"peak": -1}, {"rate": np.nan}, {"interval": 0}, {"budget": np.inf}])
def test_limits_that_make_no_sense_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DoseLimits(**wrong)
