"""SAC where values are known in closed form."""

import jax
import numpy as np
import pytest

from dynrl.learning.replay import Transitions
from dynrl.learning.sac import SAC, SACConfig

CONFIG = SACConfig(
    hidden=(16,), critic_rate=1e-2, averaging=0.1, discount=0.8, first_temperature=1e-8, batch_size=32
)


def constant_world(updates, terminated, reward=1.0, seed=0):
    """One state that pays `reward` for every action; `[updates, 32, ...]`."""
    rng = np.random.default_rng(seed)
    shape = (updates, CONFIG.batch_size)
    ones = np.ones((*shape, 1), np.float32)
    return Transitions(
        ones,
        rng.uniform(-1, 1, (*shape, 1)).astype(np.float32),
        np.full(shape, reward, np.float32),
        ones,
        np.full(shape, terminated, np.float32),
        np.zeros((*shape, 0), np.float32),
    )


def trained(batches):
    learner = SAC(CONFIG, 1, 1, jax.random.key(0))
    figures = learner.learn(batches)
    return learner, figures


@pytest.mark.parametrize(("terminated", "value"), [(1.0, 1.0), (0.0, 1 / (1 - 0.8))])
def test_termination_cuts_the_value_and_a_time_limit_does_not(terminated, value):
    learner, _ = trained(constant_world(500, terminated))
    grid = np.linspace(-1, 1, 9, dtype=np.float32)[:, None]
    found = learner.state.critic(np.ones((9, 1), np.float32), grid)
    np.testing.assert_allclose(found, value, rtol=0.05)


def test_several_updates_in_one_call_are_the_same_as_one_by_one():
    batches = constant_world(500, 0.0)
    together, _ = trained(batches)
    one_by_one = SAC(CONFIG, 1, 1, jax.random.key(0))
    for half in (slice(0, 250), slice(250, 500)):
        one_by_one.learn(Transitions(*(column[half] for column in batches)))
    for left, right in zip(*(jax.tree.leaves(s.state.actor) for s in (together, one_by_one)), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="discount"):
        SACConfig(discount=1.0)
    with pytest.raises(ValueError, match="averaging"):
        SACConfig(averaging=0.0)
