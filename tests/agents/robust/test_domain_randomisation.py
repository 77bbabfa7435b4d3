"""SAC with and without random parameters, on a game with known best answers; episodes played in lanes."""

import numpy as np
import pytest

from dynrl.agents.robust.domain_randomisation import NominalSAC, RandomisedSAC, Selection, TrainingConfig
from dynrl.agents.robust.vector_evaluation import VectorEvaluator
from dynrl.learning.sac import SACConfig
from dynrl.robust.policy import FunctionPolicy
from dynrl.testing.target_game import TARGET_SET, action_of, make_target

SMALL = SACConfig(
    hidden=(16, 16),
    batch_size=64,
    actor_rate=3e-3,
    critic_rate=1e-2,
    discount=0.0,
    first_temperature=0.01,
    target_entropy=-4.0,
)

CONFIG = TrainingConfig(sac=SMALL, num_envs=8, random_steps=400, updates_per_step=0.5, report_every=1000)


def always(number):
    return FunctionPolicy(lambda observation: np.full((len(observation), 1), number, np.float32))


@pytest.mark.slow
def test_random_parameters_teach_the_mean_and_nominal_ones_the_nominal():
    randomised = RandomisedSAC(CONFIG).train(make_target, TARGET_SET, 12_000, seed=0)
    nominal = NominalSAC(CONFIG).train(make_target, TARGET_SET, 4000, seed=0)
    assert action_of(randomised.policy) == pytest.approx(0.4, abs=0.1)  # mean of psi on [-0.2, 1]
    assert action_of(nominal.policy) == pytest.approx(-0.2, abs=0.1)
    assert randomised.env_steps == {"training": 12_000}


def test_selection_counts_its_steps_and_ends_at_the_target():
    selection = Selection(every=400, first=800, points=2, target=-100.0)
    found = RandomisedSAC(TrainingConfig(**{**vars(CONFIG), "selection": selection})).train(
        make_target, TARGET_SET, 4000, seed=0
    )
    # two corners and two drawn points, ten steps each
    assert found.env_steps == {"training": 800, "search": 40}
    action = action_of(found.policy)
    assert found.learned["worst"] == pytest.approx(10 * (1 - max(action + 0.2, 1 - action) ** 2), rel=1e-4)


def test_returns_and_discounted_returns_are_sums_of_a_known_reward():
    evaluator = VectorEvaluator(make_target, 1, lanes=4, discount=0.9)
    psi = np.array([[-0.2], [0.4], [1.0]])
    played = evaluator(always(0.4), psi, [1, 2])
    reward = 1 - (np.float32(0.4) - psi) ** 2
    np.testing.assert_allclose(played.returns, np.tile(10 * reward, 2), rtol=1e-6)
    np.testing.assert_allclose(played.discounted, np.tile(reward * (1 - 0.9**10) / 0.1, 2), rtol=1e-6)
    assert played.env_steps == 60
    assert played.terminated.all()


def test_neighbours_do_not_matter():
    psi = np.linspace(-0.2, 1, 7)[:, None]
    together = VectorEvaluator(make_target, 1, lanes=3)(always(0.1), psi, [5])
    alone = [VectorEvaluator(make_target, 1, lanes=3)(always(0.1), row[None], [5]).returns for row in psi]
    np.testing.assert_array_equal(together.returns, np.concatenate(alone))


def test_an_action_that_is_not_finite_ends_the_episode_as_diverged():
    played = VectorEvaluator(make_target, 1, lanes=2, failure_return=-7.0)(always(np.nan), [[0.0]], [0])
    assert played.diverged.all()
    assert played.returns[0, 0] == -7.0
    assert played.env_steps == 0
