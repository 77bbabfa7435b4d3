"""Units of work: covering the request exactly once, whoever plays them."""

import importlib.util

import jax
import numpy as np
import pytest

from dynrl.robust.executors import ParallelEvaluator
from dynrl.robust.swing_up import swing_up, swing_up_evaluator, swing_up_set
from dynrl.testing.landscapes import SQUARE, Landscape, slope

NOISY = Landscape(slope, noise=1.0)
MODELS = SQUARE.sample(np.random.default_rng(0), 11)


@pytest.mark.parametrize("kind", ["serial", "threads"])
@pytest.mark.parametrize(("models", "episodes"), [(1, 1), (4, 2), (100, None)])
def test_every_pair_is_played_once_and_put_in_its_place(kind, models, episodes):
    played = []

    def counting(policy, psi, seeds):
        played.extend((tuple(row), int(seed)) for row in psi for seed in seeds)
        return NOISY(policy, psi, seeds)

    with ParallelEvaluator(counting, kind, workers=3, models=models, episodes=episodes) as evaluator:
        cut = evaluator(None, MODELS, [3, 1, 2])
    whole = NOISY(None, MODELS, [3, 1, 2])
    np.testing.assert_array_equal(cut.returns, whole.returns)
    assert cut.env_steps == whole.env_steps == len(played) == len(set(played)) == 33


def test_an_error_in_a_thread_reaches_the_caller():
    def failing(policy, psi, seeds):
        raise ZeroDivisionError("in a thread")

    with (
        ParallelEvaluator(failing, "threads") as evaluator,
        pytest.raises(ZeroDivisionError, match="in a thread"),
    ):
        evaluator(None, MODELS, [0])


def test_bad_requests():
    with pytest.raises(ValueError, match="dask"):
        ParallelEvaluator(NOISY, "dask")
    with pytest.raises(ValueError, match="at least 1"):
        ParallelEvaluator(NOISY, models=0)
    with (
        ParallelEvaluator(NOISY, "process", workers=1) as evaluator,
        pytest.raises(TypeError, match="be sent"),
    ):
        evaluator(lambda observation: observation, MODELS, [0])


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="ray is installed")
def test_ray_names_its_extra():
    with pytest.raises(ImportError, match=r"dynrl\[cluster\]"):
        ParallelEvaluator(NOISY, "ray")


@pytest.mark.slow
def test_processes_play_what_one_process_plays():
    from dynrl.envs.mujoco_robots import InvertedPendulum
    from dynrl.learning.networks import ActorPolicy, GaussianActor
    from dynrl.robust import uset
    from dynrl.robust.evaluation import BatchEvaluator

    pendulum = uset("inverted_pendulum", dims=2)
    actor = ActorPolicy.of(GaussianActor(4, 1, jax.random.key(0)), InvertedPendulum().action_space)
    cases = [
        (swing_up_evaluator(lanes=64), swing_up, swing_up_set()),
        (BatchEvaluator(InvertedPendulum(), pendulum, lanes=8), actor, pendulum),
    ]
    for inner, policy, uncertain in cases:
        models = uncertain.sample(np.random.default_rng(1), 9)
        with ParallelEvaluator(inner, "process", workers=2, models=4, episodes=2) as evaluator:
            first, again = (evaluator(policy, models, [5, 6, 7]) for _ in range(2))
        alone = inner(policy, models, [5, 6, 7])
        for other in (first, again):
            np.testing.assert_array_equal(other.returns, alone.returns)
            np.testing.assert_array_equal(other.lengths, alone.lengths)
