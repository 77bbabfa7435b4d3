"""The Gymnasium face: NumPy out, time limits as truncation, exact copies, refusals that change nothing."""

import copy
import json
import pickle

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from hypothesis import given
from hypothesis import strategies as st

from dynrl import GymnasiumEnv
from dynrl.errors import FileFormatError
from dynrl.faces import gymnasium_env
from dynrl.faces.episode import key_from_seed
from dynrl.testing.probes import ActionObservationReward, DelayedReward
from dynrl.testing.worlds import PreciseRandomWalk, RandomWalk

pytestmark = pytest.mark.usefixtures("strict_ranks")

WALK = RandomWalk(horizon=6, limit=100.0)
PUSH = np.array([0.5, -0.5], np.float32)


def assert_same_outcome(ours, theirs):
    assert str(ours) == str(theirs)


@given(seed=st.integers(0, 2**63 - 1))
def test_key_of_a_seed_is_jaxs_own(seed):
    with jax.enable_x64(True):
        np.testing.assert_array_equal(key_from_seed(seed), jax.random.key_data(jax.random.key(seed)))


def test_truncates_exactly_at_the_horizon_and_then_needs_a_reset():
    env = GymnasiumEnv(WALK)
    with pytest.raises(ResetNeeded, match="never reset"):
        env.step(PUSH)
    env.reset(seed=0)
    flags = [env.step(PUSH)[2:4] for _ in range(6)]
    assert flags == [(False, False)] * 5 + [(False, True)]
    with pytest.raises(ResetNeeded, match="has ended"):
        env.step(PUSH)
    env.reset()
    env.step(PUSH)


def test_endless_world_never_truncates():
    env = GymnasiumEnv(RandomWalk(horizon=None, limit=1e9))
    env.reset(seed=0)
    assert not any(env.step(PUSH)[3] for _ in range(50))


def test_info_scalars_are_pythons_and_arrays_are_fresh():
    env = GymnasiumEnv(WALK)
    _, info = env.reset(seed=0)
    assert type(info["travelled"]) is float and type(info["world"]["limit"]) is float
    _, reward, terminated, truncated, info = env.step(PUSH)
    assert (type(reward), type(terminated), type(truncated)) == (float, bool, bool)
    assert type(info["pushed"]) is bool and type(info["world"]["quadrant"]) is int
    assert info["moved"].flags.writeable


@pytest.mark.parametrize("world", [RandomWalk(horizon=6), PreciseRandomWalk(horizon=6)])
def test_observation_dtype_is_the_spaces(world):
    env = GymnasiumEnv(world)
    observation, _ = env.reset(seed=0)
    assert observation.dtype == (np.float64 if world.x64 else np.float32)
    assert env.observation_space.contains(observation)
    if world.x64:
        assert not np.array_equal(observation, observation.astype(np.float32))


def test_options_hold_for_one_episode_and_unknown_ones_are_named():
    env = GymnasiumEnv(RandomWalk(noise=0.0))
    moved, _ = env.reset(seed=3, options={"start": [1.0, 2.0]})
    plain, _ = env.reset(seed=3)
    np.testing.assert_allclose(moved - plain, [1.0, 2.0], rtol=1e-6)
    with pytest.raises(ValueError, match="no reset option 'begin'"):
        env.reset(options={"begin": 1})
    with pytest.raises(ValueError, match="no reset option 'start'; it takes none"):
        GymnasiumEnv(DelayedReward()).reset(options={"start": 1})


def test_params_are_the_constants_of_the_world():
    env = GymnasiumEnv(RandomWalk(noise=0.0))
    env.params = {**env.params, "noise": 0.0, "drift": np.array([1.0, 2.0])}
    before, _ = env.reset(seed=0)
    after, *_ = env.step(np.zeros(2, np.float32))
    np.testing.assert_allclose(after - before, [1.0, 2.0], rtol=1e-6)
    with pytest.raises(ValueError, match=r"params\['drift'\] has shape \(3,\), expected \(2,\)"):
        env.params = {**env.params, "drift": np.zeros(3)}


@pytest.mark.parametrize(
    ("action", "complaint"),
    [
        (np.array([np.nan, 0], np.float32), "not finite"),
        (np.array([2, 0], np.float32), "outside the space"),
        (np.zeros(3, np.float32), r"shape \(3,\), expected \(2,\)"),
        (np.float32(0), r"shape \(\), expected \(2,\)"),
        (np.zeros((1, 2), np.float32), r"shape \(1, 2\), expected \(2,\)"),
        (None, "dtype object|shape"),
        ("left", "shape|dtype"),
        ([[1], [1, 2]], "no array"),
    ],
)
def test_bad_action_is_refused_and_the_episode_goes_on_identically(action, complaint):
    env, twin = GymnasiumEnv(WALK), GymnasiumEnv(WALK)
    env.reset(seed=0), twin.reset(seed=0)
    with pytest.raises(ValueError, match=complaint):
        env.step(action)
    assert_same_outcome(env.step(PUSH), twin.step(PUSH))


@pytest.mark.parametrize("action", [2, -1, 0.5, True, np.nan, [0]])
def test_bad_discrete_action_is_refused(action):
    env = GymnasiumEnv(ActionObservationReward())
    env.reset(seed=0)
    with pytest.raises(ValueError, match="expected"):
        env.step(action)
    assert env.step(1)[1] in (-1.0, 1.0)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_continues_identically(duplicate):
    env = GymnasiumEnv(WALK)
    env.reset(seed=0, options={"start": [0.1, 0.2]})
    env.step(PUSH)
    twin = duplicate(env)
    for _ in range(5):
        assert_same_outcome(env.step(PUSH), twin.step(PUSH))
    assert_same_outcome(env.reset(), twin.reset())


@pytest.mark.parametrize("options", [None, {"start": [0.1, 0.2]}])
def test_state_dict_resumes_identically(options):
    env = GymnasiumEnv(WALK)
    env.reset(seed=0, options=options)
    env.step(PUSH)
    stored = env.state_dict()
    assert all(isinstance(array, np.ndarray) for array in stored.values())
    twin = GymnasiumEnv(WALK)
    twin.load_state_dict(stored)
    for _ in range(5):
        assert_same_outcome(env.step(PUSH), twin.step(PUSH))
    assert_same_outcome(env.reset(), twin.reset())
    with pytest.raises(FileFormatError, match="missing"):
        GymnasiumEnv(WALK).load_state_dict({})


def test_equal_environments_compile_once():
    GymnasiumEnv(WALK).reset(seed=0)
    before = gymnasium_env._begin._cache_size()
    for limit in (1.0, 2.0, 3.0):
        GymnasiumEnv(RandomWalk(horizon=6, limit=limit)).reset(seed=1)
    assert gymnasium_env._begin._cache_size() == before


def test_renders_only_where_offered():
    env = GymnasiumEnv(WALK, render_mode="rgb_array")
    with pytest.raises(ResetNeeded):
        env.render()
    env.reset(seed=0)
    assert env.render().shape == (32, 32, 3)
    assert GymnasiumEnv(WALK).render() is None
    with pytest.raises(ValueError, match="offers no render_mode 'human'"):
        GymnasiumEnv(WALK, render_mode="human")


def test_only_hashable_frozen_functional_environments_are_compiled():
    with pytest.raises(TypeError, match=r"expected a dynrl.FunctionalEnv, got str"):
        GymnasiumEnv("dynrl/DLB-v0")
    with pytest.raises(TypeError, match="not hashable"):
        GymnasiumEnv(RandomWalk(horizon=np.zeros(2)))


def test_registered_name_survives_gymnasiums_spec_json():
    spec = gymnasium.spec("dynrl/DLBAds-v0")
    again = gymnasium.envs.registration.EnvSpec.from_json(spec.to_json())
    assert again.kwargs == spec.kwargs == {"env_name": "dynrl/DLBAds-v0"}
    json.loads(spec.to_json())
