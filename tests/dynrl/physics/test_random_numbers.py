"""Counter-based random numbers of many episodes."""

import numpy as np
from scipy import stats

from dynrl.physics.random_numbers import _GOLDEN, _mixed, key_of, unit_numbers


def test_the_mixer_is_splitmix64():
    """First outputs for seed 0 of the generator's reference implementation (Vigna, 2015)."""
    with np.errstate(over="ignore"):
        stream = _mixed(np.arange(1, 4, dtype=np.uint64) * _GOLDEN)
    assert [int(value) for value in stream] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_numbers_have_their_distributions_and_do_not_repeat():
    """Neighbouring seeds and episodes: Kolmogorov-Smirnov at level 1e-3, and correlations within 4 standard errors."""
    seeds, episodes = (axis.ravel() for axis in np.meshgrid(np.arange(60), np.arange(40)))
    uniform, normal = unit_numbers(seeds.astype(np.uint64), episodes.astype(np.uint64), 3, 3)
    assert stats.kstest(uniform.ravel(), "uniform").pvalue > 1e-3
    assert stats.kstest(normal.ravel(), "norm").pvalue > 1e-3
    assert len(np.unique(uniform)) == uniform.size
    table = stats.zscore(np.concatenate((uniform, normal), -1)).reshape(40, 60, 6)
    for first, second in (
        (table[1:], table[:-1]),
        (table[:, 1:], table[:, :-1]),
        (table[..., 1:], table[..., :-1]),
    ):
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 4 / np.sqrt(first.size)


def test_an_episode_depends_on_its_seed_and_index_alone():
    alone = unit_numbers(np.array([7], np.uint64), np.array([3], np.uint64), 4, 3)
    among = unit_numbers(np.array([1, 7, 9], np.uint64), np.array([0, 3, 3], np.uint64), 4, 3)
    for one, many in zip(alone, among, strict=True):
        np.testing.assert_array_equal(one[0], many[1])
    assert key_of(2**64 + 5) == key_of(5)
