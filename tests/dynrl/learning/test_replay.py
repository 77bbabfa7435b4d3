"""The ring buffer against a list."""

import numpy as np
import pytest
from scipy import stats

from dynrl.learning.replay import Replay, Transitions


def numbered(start, count, extra=0):
    numbers = np.arange(start, start + count, dtype=np.float32)
    wide = np.stack([numbers, numbers], axis=1)
    return Transitions(
        wide, wide[:, :1], numbers, wide + 1, numbers % 2, np.tile(numbers[:, None], (1, extra))
    )


@pytest.mark.parametrize("pieces", [[10], [3, 4, 5, 6], [7, 7, 7, 7, 7]])
def test_it_holds_the_newest(pieces):
    replay, start = Replay(10, 2, 1), 0
    for count in pieces:
        replay.add(numbered(start, count))
        start += count
    held = replay.all()
    assert len(replay) == min(start, 10)
    assert sorted(held.reward) == list(range(max(start - 10, 0), start))
    np.testing.assert_array_equal(held.next_observation, held.observation + 1)
    np.testing.assert_array_equal(held.terminated, held.reward % 2)


def test_draws_are_uniform_and_columns_stay_together():
    replay = Replay(50, 2, 1, extra_size=3)
    replay.add(numbered(0, 50, extra=3))
    drawn = replay.sample(np.random.default_rng(0), 20, 500)
    assert drawn.observation.shape == (20, 500, 2)
    assert drawn.extra.shape == (20, 500, 3)
    np.testing.assert_array_equal(drawn.extra[..., 0], drawn.reward)
    np.testing.assert_array_equal(drawn.observation[..., 1], drawn.reward)
    counts = np.bincount(drawn.reward.astype(int).ravel(), minlength=50)
    assert stats.chisquare(counts).pvalue > 0.01


def test_a_restored_buffer_goes_on_the_same():
    replay, other = Replay(8, 2, 1), Replay(8, 2, 1)
    replay.add(numbered(0, 8))
    replay.add(numbered(8, 3))
    other.load_state_dict(replay.state_dict())
    for buffer in (replay, other):
        buffer.add(numbered(11, 2))
    for one, two in zip(replay.all(), other.all(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert other.added == 13


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="at least 1"):
        Replay(0, 1, 1)
    with pytest.raises(ValueError, match="do not fit"):
        Replay(3, 2, 1).add(numbered(0, 4))
    with pytest.raises(ValueError, match="empty"):
        Replay(3, 2, 1).sample(np.random.default_rng(0), 1)
    other = Replay(3, 2, 1)
    other.add(numbered(0, 2))
    with pytest.raises(ValueError, match="'observation' has the shape"):
        Replay(3, 5, 1).load_state_dict(other.state_dict())
