"""Bandit agents as agents: learning in a Gymnasium environment, prediction, SB3's evaluation and callbacks."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest

import dynrl  # noqa: F401  (registers the environments)
from dynrl.agents.bandits import UCB1, BanditAgent, DynLinUCB, LinUCB
from dynrl.agents.bandits.agent import action_set_of
from dynrl.bandits import BallSet, BoxSet, BudgetSet, DLBSystem, FiniteSet
from dynrl.envs.bandits.systems import named_action_set

HORIZON = 2000


def environment(system: DLBSystem, actions: object = "permutations", horizon: int = HORIZON) -> gymnasium.Env:
    return gymnasium.make("dynrl/DLB-v0", system=system, action_set=actions, horizon=horizon)


def learner(env: gymnasium.Env, system: DLBSystem, seed: int = 0, **overrides: object) -> DynLinUCB:
    told = {"radius": "tight", "delta": 0.01, **overrides}
    return DynLinUCB.from_system(system, env, HORIZON, seed=seed, **told)


def test_it_learns_the_optimum_in_a_registered_environment(synthetic: DLBSystem) -> None:
    env = gymnasium.make("dynrl/DLBSynthetic-v0", horizon=HORIZON)
    agent = learner(env, synthetic).learn(HORIZON)
    assert (agent.num_timesteps, agent.t) == (HORIZON, HORIZON)
    action, state = agent.predict(np.zeros(1))
    actions = action_set_of(env)
    np.testing.assert_array_equal(actions.actions[action], synthetic.optimal_action(actions))
    assert state is None and action.shape == () and env.action_space.contains(int(action))


def test_an_id_is_enough() -> None:
    agent = UCB1("dynrl/DLBSynthetic-v0").learn(50)
    assert agent.t == 50


def test_predictions_come_in_batches(synthetic: DLBSystem) -> None:
    for actions in ("permutations", "budget"):
        env = environment(synthetic, actions)
        agent = learner(env, synthetic).learn(300)
        one, _ = agent.predict(np.zeros(1))
        batch, _ = agent.predict(np.zeros((5, 1)))
        assert batch.shape == (5, *env.action_space.shape)
        np.testing.assert_array_equal(batch, np.stack([one] * 5))
        with pytest.raises(ValueError, match="observation"):
            agent.predict(np.zeros((5, 7)))
        assert agent.t == 300


@pytest.mark.parametrize(
    "actions",
    [BudgetSet(np.zeros(3), np.ones(3), 1.5), BallSet(1.0, dimension=3), BoxSet(np.zeros(3), np.ones(3))],
)
def test_it_learns_over_continuous_actions(actions: object, synthetic: DLBSystem) -> None:
    env = environment(synthetic, actions)
    agent = learner(env, synthetic).learn(HORIZON)
    u, _ = agent.predict(np.zeros(1))
    assert u.shape == (3,) and u.dtype == np.float64
    best = synthetic.optimal_value(actions)
    assert synthetic.value(u) >= best - 0.01


def test_learning_in_pieces_is_learning_at_once(synthetic: DLBSystem) -> None:
    whole = learner(environment(synthetic), synthetic).learn(500)
    pieces = learner(environment(synthetic), synthetic)
    pieces.learn(123)
    pieces.learn(377, reset_num_timesteps=False)
    for name, array in whole.state_dict().items():
        assert array.tobytes() == pieces.state_dict()[name].tobytes(), name


def test_running_equals_learning(synthetic: DLBSystem) -> None:
    learnt = learner(environment(synthetic), synthetic, seed=5).learn(300)
    run = learner(environment(synthetic), synthetic, seed=5)
    rewards = run.run(environment(synthetic), 300, seed=5)
    assert rewards.shape == (300,) and np.isfinite(rewards).all()
    np.testing.assert_array_equal(learnt.h_hat, run.h_hat)


def test_running_goes_over_the_end_of_an_episode(synthetic: DLBSystem) -> None:
    agent = learner(environment(synthetic), synthetic)
    assert len(agent.run(environment(synthetic, horizon=40), 100, seed=0)) == 100
    assert agent.t == 100


def test_saved_and_loaded_with_its_environment(synthetic: DLBSystem, tmp_path: Path) -> None:
    agent = learner(environment(synthetic, "budget"), synthetic).learn(200)
    agent.save(tmp_path / "agent")
    loaded = DynLinUCB.load(tmp_path / "agent", environment(synthetic, "budget"))
    np.testing.assert_array_equal(loaded.predict(np.zeros(1))[0], agent.predict(np.zeros(1))[0])
    for name, array in agent.state_dict().items():
        assert array.tobytes() == loaded.state_dict()[name].tobytes(), name


def test_sb3_evaluates_it_and_calls_it_back(synthetic: DLBSystem, tmp_path: Path) -> None:
    callbacks = pytest.importorskip("stable_baselines3.common.callbacks")
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.monitor import Monitor

    env = Monitor(environment(synthetic, horizon=100))
    agent = learner(env, synthetic)
    checkpoint = callbacks.CheckpointCallback(1000, str(tmp_path), name_prefix="bandit")
    agent.learn(HORIZON, callback=[checkpoint, lambda local, _: agent.num_timesteps < 1500])
    assert agent.num_timesteps == 1500 or agent.num_timesteps == 1501
    assert list(tmp_path.glob("bandit_1000_steps*"))
    mean, _ = evaluate_policy(agent, env, n_eval_episodes=5)
    # one hundred rounds of the optimum, less what the state takes to build up
    actions = named_action_set("permutations", 3)
    assert mean == pytest.approx(100 * synthetic.optimal_value(actions), abs=3.0)


def test_other_environments(synthetic: DLBSystem) -> None:
    class Slots(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-1, 1, (1,))
        action_space = gymnasium.spaces.Discrete(4)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return np.zeros(1, np.float32), {}

        def step(self, action):
            reward = 0.2 * float(action) + 0.1 * self.np_random.normal()
            return np.zeros(1, np.float32), reward, False, False, {}

    for agent in (LinUCB(Slots(), horizon=600, noise_scale=0.1), UCB1(Slots())):
        assert isinstance(agent, BanditAgent)
        agent.learn(600)
        assert int(agent.predict(np.zeros(1))[0]) == 3
    assert isinstance(action_set_of(Slots()), FiniteSet)
    with pytest.raises(TypeError, match="Discrete"):
        UCB1(_Unbounded())


class _Unbounded(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (1,))
    action_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
