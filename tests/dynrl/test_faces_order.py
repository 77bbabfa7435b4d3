"""Worlds whose episodes come in an order: the faces hand on where the last one ended."""

from functools import partial

import jax
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from dynrl import GymnasiumEnv, VectorEnv
from dynrl.testing import check_env
from dynrl.testing.worlds import Diary

MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP]


def day(env):
    """(day, hours, terminated, truncated) of the episode that begins now."""
    number = env.reset()[0][0]
    for hour in range(1, 10):
        _, _, terminated, truncated, _ = env.step(0)
        if terminated or truncated:
            return int(number), hour, terminated, truncated
    raise AssertionError("the day does not end")


def test_days_follow_each_other_and_the_last_breaks_off():
    env = GymnasiumEnv(Diary())
    days = [day(env) for _ in range(4)]
    assert days == [(0, 4, True, False), (1, 4, True, False), (2, 2, False, True), (0, 4, True, False)]


def test_a_seed_or_an_option_begins_anew():
    env = GymnasiumEnv(Diary())
    day(env), day(env)
    assert env.reset(seed=1)[0][0] == 0
    assert env.reset()[0][0] == 1, "a reset in the middle of a day goes on to the next"
    assert env.reset(options={"first": 2})[0][0] == 2
    assert env.reset()[0][0] == 0


@pytest.mark.parametrize("mode", MODES)
def test_every_lane_keeps_its_own_order(mode):
    params = {"first": np.array([0, 1, 2, 2], np.int32), "days": np.int32(3)}
    ours = VectorEnv(Diary(), 4, params=params, autoreset_mode=mode)
    singles = [
        partial(GymnasiumEnv, Diary(), params={**params, "first": np.int32(first)})
        for first in params["first"]
    ]
    theirs = SyncVectorEnv(singles, autoreset_mode=mode)
    for seed in (3, None, [None, 5, None, 6]):
        assert np.array_equal(ours.reset(seed=seed)[0], theirs.reset(seed=seed)[0])
        for _ in range(11):
            mine, reference = ours.step(np.zeros(4, int)), theirs.step(np.zeros(4, int))
            for a, b in zip(mine[:4], reference[:4], strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_stored_episode_knows_its_place():
    env, other = GymnasiumEnv(Diary()), GymnasiumEnv(Diary())
    day(env)
    env.reset()
    other.load_state_dict(env.state_dict())
    assert other.reset()[0][0] == env.reset()[0][0] == 2


def test_environments_without_an_order_compile_one_reset():
    from dynrl.faces.episode import last_state
    from dynrl.testing.worlds import RandomWalk

    env = GymnasiumEnv(RandomWalk())
    env.reset(seed=0)
    assert last_state(env.func_env, env._episode) is None
    assert jax.tree.leaves(last_state(Diary(), GymnasiumEnv(Diary())._episode)) == []


def test_the_checker_accepts_them():
    statuses = {result.name: result.status for result in check_env(Diary(), steps=40).results}
    assert statuses["vector equals single"] == statuses["final observation"] == "passed"
