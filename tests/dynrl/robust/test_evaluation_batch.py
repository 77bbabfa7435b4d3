"""Episodes on the C engine: equal to one simulation stepped alone, whatever lane, thread or neighbour they have."""

import jax
import numpy as np
import pytest

from dynrl.envs.mujoco_robots import Hopper, InvertedPendulum
from dynrl.learning.networks import ActorPolicy, GaussianActor
from dynrl.physics import MujocoEnv
from dynrl.robust import Param, UncertaintySet, uset
from dynrl.robust.evaluation import BatchEvaluator, GymnasiumEvaluator, make_evaluator
from dynrl.robust.executors import ParallelEvaluator

PENDULUM = uset("inverted_pendulum", dims=2)
MODELS = PENDULUM.sample(np.random.default_rng(0), 7)
SEEDS = [5, 0, 11]


def feedback(observation):
    """Holds the pole for a while, in NumPy and one row at a time, so that a row never depends on the others."""
    gains = np.array([0.05, 2.2, 0.1, 0.2])
    return np.stack([[row @ gains] for row in observation]).astype(np.float32)


@pytest.fixture(scope="module")
def evaluator():
    return BatchEvaluator(InvertedPendulum(horizon=60), PENDULUM, lanes=8, num_threads=1)


def test_equals_one_simulation_alone(evaluator):
    played = evaluator(feedback, MODELS, SEEDS)
    for k, model in enumerate(MODELS):
        env = MujocoEnv(evaluator.task)
        env.set_params(evaluator._map.fields(model))
        for j, seed in enumerate(SEEDS):
            observation, _ = env.reset(seed=seed)
            total, discounted, length, over = 0.0, 0.0, 0, False
            while not over:
                action = np.clip(feedback(observation[None])[0], -3, 3)
                observation, reward, terminated, truncated, _ = env.step(action)
                total, discounted, length = total + reward, discounted + 0.99**length * reward, length + 1
                over = terminated or truncated
            assert (played.returns[k, j], played.lengths[k, j]) == (total, length)
            assert played.terminated[k, j] == terminated
            assert played.discounted[k, j] == pytest.approx(discounted, rel=1e-12)
    assert played.terminated.any() and not played.terminated.all()
    assert played.env_steps == played.lengths.sum()


def test_equals_the_gymnasium_loop(evaluator):
    loop = GymnasiumEvaluator(_make_pendulum, PENDULUM)
    here, there = evaluator(feedback, MODELS[:2], SEEDS), loop(feedback, MODELS[:2], SEEDS)
    for name in ("returns", "lengths", "terminated", "diverged"):
        np.testing.assert_array_equal(getattr(here, name), getattr(there, name))


def _make_pendulum():
    return MujocoEnv(InvertedPendulum(horizon=60))


def test_neither_order_nor_lanes_nor_threads_nor_blocks_matter(evaluator):
    actor = ActorPolicy.of(GaussianActor(4, 1, jax.random.key(0), (256, 256)), evaluator.task.action_space)
    whole = evaluator(actor, MODELS, SEEDS)
    order = np.random.default_rng(1).permutation(len(MODELS))
    wider = BatchEvaluator(evaluator.task, PENDULUM, lanes=32, num_threads=2)
    shuffled = wider(actor, MODELS[order], SEEDS[::-1])
    np.testing.assert_array_equal(shuffled.returns, whole.returns[order][:, ::-1])
    np.testing.assert_array_equal(shuffled.discounted, whole.discounted[order][:, ::-1])
    with ParallelEvaluator(evaluator, "threads", workers=3, models=2, episodes=2) as cut:
        for _ in range(2):
            np.testing.assert_array_equal(cut(actor, MODELS, SEEDS).returns, whole.returns)


def test_a_shorter_horizon_ends_episodes_without_termination(evaluator):
    played = BatchEvaluator(InvertedPendulum(), PENDULUM, lanes=8, horizon=3)(feedback, MODELS, SEEDS)
    np.testing.assert_array_equal(played.lengths, 3)
    assert not played.terminated.any()


def test_a_constant_force_pushes_through_the_whole_episode():
    pushed = UncertaintySet([Param("force:pole[0]", -3.0, 3.0)])
    evaluator = BatchEvaluator(InvertedPendulum(horizon=60), pushed.bind(InvertedPendulum()), lanes=4)
    still = evaluator(_nothing, np.array([[0.0], [3.0], [-3.0]]), range(6))
    # Left alone the pole stands for a while; pushed either way it falls sooner, in every episode.
    assert (still.lengths[0] > still.lengths[1:]).all()


def _nothing(observation):
    return np.zeros((len(observation), 1), np.float32)


def test_an_action_that_is_no_number_ends_its_own_episode_only():
    evaluator = BatchEvaluator(InvertedPendulum(horizon=20), PENDULUM, lanes=4, failure_return=-50.0)
    played = evaluator(_sometimes_nan, MODELS, range(8))
    broke = played.diverged
    assert broke.any() and not broke.all() and played.terminated[broke].all()
    # One point for every step before the broken one, which counts as played.
    np.testing.assert_array_equal(played.returns[broke], played.lengths[broke] - 1 - 50.0)
    assert (played.lengths[broke] == 1).any() and (played.lengths[broke] > 1).any()
    sound = evaluator(_nothing, MODELS, range(8))
    np.testing.assert_array_equal(played.returns[~broke], sound.returns[~broke])


def _sometimes_nan(observation):
    """NaN where the pole is to the left."""
    return np.where(observation[:, 1:2] < 0, np.nan, 0.0).astype(np.float32)


class Remembering:
    """Pushes as hard as it has steps behind it: a memory that outlives its episode would show."""

    def initial_carry(self, num_envs):
        return np.zeros((num_envs, 1), np.float32)

    def act(self, observation, carry, key=None):
        return 0.1 * carry, carry + 1


def test_memory_begins_anew_with_every_episode():
    narrow, wide = (BatchEvaluator(InvertedPendulum(horizon=40), PENDULUM, lanes=n) for n in (2, 32))
    few, many = narrow(Remembering(), MODELS, SEEDS), wide(Remembering(), MODELS, SEEDS)
    np.testing.assert_array_equal(few.lengths, many.lengths)


class Agent:
    """As Stable-Baselines3's recurrent agents: state in, state out, forgetting where an episode starts."""

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        assert deterministic
        state = np.zeros(len(observation)) if state is None else state
        state = np.where(episode_start, 0.0, state)
        return 0.1 * state[:, None], state + 1


def test_an_agent_with_predict_is_told_where_episodes_start():
    evaluator = BatchEvaluator(InvertedPendulum(horizon=40), PENDULUM, lanes=2)
    agent, policy = (evaluator(p, MODELS, SEEDS) for p in (Agent(), Remembering()))
    np.testing.assert_array_equal(agent.lengths, policy.lengths)


def test_what_the_engine_cannot_vary_is_refused():
    with pytest.raises(ValueError, match="attr:gravity"):
        BatchEvaluator(InvertedPendulum(), UncertaintySet([Param("attr:gravity", 1, 2)]))
    with pytest.raises(TypeError, match="no policy"):
        make_evaluator(InvertedPendulum(), PENDULUM)(3, MODELS, SEEDS)


@pytest.mark.slow
def test_contacts_do_not_tell_executors_apart():
    from dynrl.bench.robust_search import EXECUTIONS, hopper_report_text

    assert len({hopper_report_text(kind, models) for kind, models in EXECUTIONS}) == 1


@pytest.mark.slow
def test_hopper_episodes_are_the_same_at_any_number_of_lanes():
    uncertain = uset("hopper", dims=2)
    models = uncertain.sample(np.random.default_rng(3), 12)
    task = Hopper(terminate_when_unhealthy=False, horizon=200)
    actor = ActorPolicy.of(GaussianActor(11, 3, jax.random.key(1)), task.action_space)
    first, *others = (
        BatchEvaluator(task, uncertain, lanes=lanes, num_threads=threads)(actor, models, range(4)).returns
        for lanes, threads in ((64, 1), (64, 2), (256, 2), (16, 1))
    )
    for other in others:
        np.testing.assert_array_equal(first, other)
