"""The vector face equals Gymnasium's SyncVectorEnv of single faces: every environment, every bit."""

import copy
import pickle
from functools import partial

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from dynrl import GymnasiumEnv, VectorEnv
from dynrl.faces import lanes
from dynrl.testing.probes import ActionObservationReward
from dynrl.testing.worlds import PreciseRandomWalk, RandomWalk

pytestmark = pytest.mark.usefixtures("strict_ranks")

N = 5
MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP]
WORLDS = {
    "walk": RandomWalk(horizon=6, limit=0.8),
    "dict": RandomWalk(horizon=6, limit=0.8, observe="dict"),
    "precise": PreciseRandomWalk(horizon=6, limit=0.8),
    "probe": ActionObservationReward(),
}


def assert_same(ours, theirs, tolerance=0.0):
    """Equality of nested infos and observations; object arrays of Gymnasium against our dense ones."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for name in theirs:
            if name == "final_obs":
                assert_final_observations(ours[name], theirs[name], tolerance)
            else:
                assert_same(ours[name], theirs[name], tolerance)
        return
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def assert_final_observations(ours, theirs, tolerance):
    for index, observation in enumerate(theirs):
        if observation is not None:
            mine = jax.tree.map(lambda leaf, index=index: leaf[index], ours)
            assert_same(mine, observation, tolerance)


def sync(env, mode, num_envs=N, params=None):
    per_env = [
        partial(GymnasiumEnv, env, params=None if params is None else params[i]) for i in range(num_envs)
    ]
    return SyncVectorEnv(per_env, autoreset_mode=mode)


def play(env, seed, steps, action_seed=0):
    env.action_space.seed(action_seed)
    yield env.reset(seed=seed)
    for _ in range(steps):
        yield env.step(env.action_space.sample())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("world", WORLDS)
def test_equals_gymnasiums_sync_vector_env(world, mode):
    env = WORLDS[world]
    ours, theirs = VectorEnv(env, N, autoreset_mode=mode), sync(env, mode)
    ended = 0
    for seed in range(8):
        for mine, reference in zip(play(ours, seed, 15, seed), play(theirs, seed, 15, seed), strict=True):
            for a, b in zip(mine, reference, strict=True):
                assert_same(a, b, 1e-12 if env.x64 else 1e-6)
            ended += sum(np.sum(flag) for flag in mine[2:4]) if len(mine) == 5 else 0
    assert ended > 20, "the comparison must have crossed episode ends"


@pytest.mark.parametrize("mode", MODES)
def test_environment_i_is_the_same_bytes_at_any_number_of_environments(mode):
    few, many = (VectorEnv(WORLDS["walk"], n, autoreset_mode=mode) for n in (3, 64))
    few_observations, _ = few.reset(seed=7)
    many_observations, _ = many.reset(seed=7)
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert few_observations.tobytes() == many_observations[:3].tobytes()
        actions = rng.uniform(-1, 1, (64, 2)).astype(np.float32)
        few_observations, few_reward, *_ = few.step(actions[:3])
        many_observations, many_reward, *_ = many.step(actions)
        assert few_reward.tobytes() == many_reward[:3].tobytes()


@pytest.mark.parametrize("mode", MODES)
def test_params_of_each_environment_survive_auto_reset(mode):
    env = WORLDS["walk"]
    limits = np.linspace(0.4, 1.5, N)
    starts = np.linspace(-0.3, 0.3, 2 * N).reshape(N, 2)
    batched = {**env.default_params, "limit": limits, "start": starts}
    single = [{**env.default_params, "limit": limits[i], "start": starts[i]} for i in range(N)]
    ours, theirs = VectorEnv(env, N, params=batched, autoreset_mode=mode), sync(env, mode, params=single)
    for mine, reference in zip(play(ours, 3, 25), play(theirs, 3, 25), strict=True):
        for a, b in zip(mine, reference, strict=True):
            assert_same(a, b, 1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_reset_options_hold_for_one_episode(mode):
    env = WORLDS["walk"]
    ours, theirs = VectorEnv(env, N, autoreset_mode=mode), sync(env, mode)
    options = {"start": [0.5, 0.5]}
    assert_same(ours.reset(seed=1, options=options)[0], theirs.reset(seed=1, options=options)[0], 1e-6)
    ours.action_space.seed(2)
    for _ in range(15):
        actions = ours.action_space.sample()
        for a, b in zip(ours.step(actions), theirs.step(actions), strict=True):
            assert_same(a, b, 1e-6)


def test_list_of_seeds_with_gaps_continues_the_unseeded_chains():
    env = WORLDS["walk"]
    ours, theirs = VectorEnv(env, 3), sync(env, AutoresetMode.NEXT_STEP, 3)
    for seed in ([4, 9, 2], [None, 5, None], None):
        assert_same(ours.reset(seed=seed)[0], theirs.reset(seed=seed)[0], 1e-6)
    with pytest.raises(ValueError, match="2 entries, expected one per environment: 3"):
        ours.reset(seed=[1, 2])
    with pytest.raises(gymnasium.error.Error, match="negative"):
        ours.reset(seed=-1)


@given(
    row=st.integers(0, N - 1),
    bad=st.sampled_from([np.nan, np.inf, -np.inf, 1.5, -7.0]),
    column=st.integers(0, 1),
)
@settings(max_examples=20, deadline=None)
def test_bad_action_is_refused_and_changes_nothing(row, bad, column):
    env, twin = (VectorEnv(WORLDS["walk"], N) for _ in range(2))
    env.reset(seed=0), twin.reset(seed=0)
    actions = np.zeros((N, 2), np.float32)
    wrong = actions.copy()
    wrong[row, column] = bad
    with pytest.raises(ValueError, match=rf"environment {row}.*expected Box"):
        env.step(wrong)
    for a, b in zip(env.step(actions), twin.step(actions), strict=True):
        assert_same(a, b)


@pytest.mark.parametrize(
    ("actions", "complaint"),
    [
        (np.zeros((N, 3), np.float32), r"shape \(3,\), expected \(2,\)"),
        (np.zeros((N - 1, 2), np.float32), f"expected {N} rows"),
        (np.float32(0), f"expected {N} rows"),
        (np.zeros((N, 2), np.complex64), "dtype complex64, expected float32"),
        (np.zeros((N, 2), bool), "dtype bool, expected float32"),
        (np.full((N, 2), "push"), "dtype <U4, expected float32"),
        ([[0.0, 0.0]] * (N - 1) + [[0.0]], "no array"),
    ],
)
def test_malformed_actions_name_what_came_and_what_was_expected(actions, complaint):
    env = VectorEnv(WORLDS["walk"], N)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=complaint):
        env.step(actions)


def test_environments_about_to_reset_ignore_even_a_bad_action():
    env = VectorEnv(ActionObservationReward(), 3)
    env.reset(seed=0)
    _, _, terminated, _, _ = env.step(np.zeros(3, int))
    assert terminated.all()
    _, reward, terminated, truncated, _ = env.step(np.full(3, 99))
    assert not (reward.any() or terminated.any() or truncated.any())


@pytest.mark.parametrize("mode", MODES)
def test_jax_backend_shows_the_same_numbers_and_keeps_old_arrays_alive(mode):
    env = WORLDS["walk"]
    host, device = (VectorEnv(env, N, autoreset_mode=mode, array_backend=b) for b in ("numpy", "jax"))
    kept = []
    for mine, reference in zip(play(device, 5, 12), play(host, 5, 12), strict=True):
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(mine))
        kept.append((mine, reference))
    for mine, reference in kept:
        for a, b in zip(mine[:-1], reference[:-1], strict=True):
            np.testing.assert_array_equal(a, b)
        for name, mask in mine[-1].items():
            if name.startswith("_"):
                np.testing.assert_array_equal(mask, reference[-1].get(name, np.zeros(N, bool)))


def test_equal_environments_compile_once():
    first = VectorEnv(RandomWalk(horizon=6, limit=0.8), N)
    first.reset(seed=0), first.step(np.zeros((N, 2), np.float32)), first.step(np.zeros((N, 2), np.float32))
    before = lanes.step_lanes._cache_size()
    other = VectorEnv(RandomWalk(horizon=6, limit=0.5), N)
    other.reset(seed=1)
    for _ in range(10):
        other.step(np.zeros((N, 2), np.float32))
    assert lanes.step_lanes._cache_size() == before


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_continues_identically(mode, duplicate):
    env = VectorEnv(WORLDS["walk"], N, autoreset_mode=mode)
    env.reset(seed=0, options={"start": [0.2, 0.1]})
    actions = np.full((N, 2), 0.3, np.float32)
    env.step(actions)
    twin = duplicate(env)
    for _ in range(10):
        for a, b in zip(env.step(actions), twin.step(actions), strict=True):
            assert_same(a, b)


@pytest.mark.parametrize("options", [None, {"start": [0.2, 0.1]}])
def test_state_dict_resumes_identically(options):
    env = VectorEnv(WORLDS["precise"], N)
    with pytest.raises(ResetNeeded):
        env.state_dict()
    env.reset(seed=0, options=options)
    actions = np.full((N, 2), 0.3, np.float32)
    for _ in range(4):
        env.step(actions)
    stored = env.state_dict()
    twin = VectorEnv(WORLDS["precise"], N)
    twin.load_state_dict(stored)
    for _ in range(10):
        for a, b in zip(env.step(actions), twin.step(actions), strict=True):
            assert_same(a, b)


def test_returned_arrays_share_no_memory():
    env = VectorEnv(WORLDS["walk"], N)
    seen = []
    for shown in play(env, 0, 6):
        arrays = [leaf for leaf in jax.tree.leaves(shown)]
        assert not any(np.shares_memory(a, b) for a in arrays for b in seen)
        assert all(array.flags.writeable for array in arrays)
        for array in arrays:
            array[...] = 0
        seen += arrays
    untouched = VectorEnv(WORLDS["walk"], N)
    for fresh in play(untouched, 0, 6):
        last = fresh
    assert np.any(last[0] != 0)


def test_wrong_constructions_are_refused():
    env = WORLDS["walk"]
    with pytest.raises(ValueError, match="num_envs is 0"):
        VectorEnv(env, 0)
    with pytest.raises(ValueError, match="NEXT_STEP or"):
        VectorEnv(env, 2, autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(ValueError, match="'numpy' or 'jax'"):
        VectorEnv(env, 2, array_backend="torch")
    with pytest.raises(ValueError, match=r"params\['limit'\] has shape \(3,\), expected \(\) or \(2,\)"):
        VectorEnv(env, 2, params={**env.default_params, "limit": np.ones(3)})
    with pytest.raises(ValueError, match="structure"):
        VectorEnv(env, 2, params={"limit": 1.0})
    with pytest.raises(ValueError, match="offers no render_mode 'human'"):
        VectorEnv(env, 2, render_mode="human")
    with pytest.raises(ResetNeeded):
        VectorEnv(env, 2).step(np.zeros((2, 2), np.float32))


def test_renders_every_environment():
    env = VectorEnv(WORLDS["walk"], 2, render_mode="rgb_array")
    env.reset(seed=0)
    pictures = env.render()
    assert [picture.shape for picture in pictures] == [(32, 32, 3)] * 2


def test_gymnasiums_vector_wrappers_accept_it():
    env = gymnasium.wrappers.vector.RecordEpisodeStatistics(VectorEnv(WORLDS["walk"], N))
    for shown in play(env, 0, 20):
        infos = shown[-1]
        if "episode" in infos:
            return
    pytest.fail("no episode statistics after twenty steps of episodes of six")


def test_single_and_batched_leaves_of_params_agree():
    env = WORLDS["walk"]
    shared = VectorEnv(env, N)
    spread = VectorEnv(env, N, params=jax.tree.map(lambda leaf: jnp.stack([leaf] * N), env.default_params))
    for mine, reference in zip(play(spread, 5, 10), play(shared, 5, 10), strict=True):
        np.testing.assert_array_equal(mine[0], reference[0])
