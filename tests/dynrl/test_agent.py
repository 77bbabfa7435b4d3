"""The agent protocol: what a short agent gets for free, and what SB3's tools make of it."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.callbacks import (
    CheckpointCallback,
    EvalCallback,
    LogEveryNTimesteps,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

from dynrl.agent import Agent, Transition, batch_size
from dynrl.errors import ConfigError, FileFormatError

ARM_REWARDS = (0.2, 1.0, -0.5, 0.4)
EPISODE = 5


class Arms(gym.Env):
    """Episodes of five pulls; arm k pays `ARM_REWARDS[k]`."""

    def __init__(self, arms: int = 4) -> None:
        self.observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.action_space = gym.spaces.Discrete(arms)
        self.pulls = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.pulls = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        self.pulls += 1
        return np.zeros(2, np.float32), ARM_REWARDS[int(action)], self.pulls == EPISODE, False, {}


@dataclass(frozen=True)
class GreedyConfig:
    exploration: float = 0.3

    def __post_init__(self) -> None:
        if not 0 <= self.exploration <= 1:
            raise ValueError(f"exploration must lie in [0, 1], got {self.exploration}")


class Greedy(Agent):
    """Pulls the arm with the best sample mean, and now and then any."""

    Config: ClassVar[type] = GreedyConfig

    def initial_state(self) -> dict[str, np.ndarray]:
        count = int(self.action_space.n)
        return {"pulls": np.zeros(count, np.int64), "sums": np.zeros(count)}

    def act(self, observation: Any, deterministic: bool) -> int:
        if not deterministic and self.rng.random() < self.config.exploration:
            return int(self.rng.integers(self.action_space.n))
        return int(np.argmax(self.state["sums"] / np.maximum(self.state["pulls"], 1)))

    def update(self, transition: Transition) -> None:
        pull = np.eye(len(self.state["pulls"]))[transition.action]
        self.state = {
            "pulls": self.state["pulls"] + pull.astype(np.int64),
            "sums": self.state["sums"] + pull * transition.reward,
        }


class OtherGreedy(Greedy):
    pass


@pytest.fixture
def trained() -> Greedy:
    return Greedy(Arms(), seed=1).learn(200)


def test_finds_the_best_arm_and_knows_its_mean(trained: Greedy) -> None:
    assert trained.predict(np.zeros(2, np.float32))[0] == 1
    means = trained.state["sums"] / trained.state["pulls"]
    np.testing.assert_allclose(means, ARM_REWARDS)
    assert trained.state["pulls"].sum() == trained.num_timesteps == 200


def test_evaluate_policy_gives_the_best_arms_return(trained: Greedy) -> None:
    mean, deviation = evaluate_policy(trained, Monitor(Arms()), n_eval_episodes=4)
    assert mean == pytest.approx(EPISODE * max(ARM_REWARDS))
    assert deviation == 0


def test_sb3_callbacks_evaluate_save_and_stop(tmp_path: Any) -> None:
    agent = Greedy(Arms(), seed=1)
    threshold = StopTrainingOnRewardThreshold(EPISODE * max(ARM_REWARDS) - 1e-6, verbose=0)
    evaluation = EvalCallback(
        Monitor(Arms()),
        callback_on_new_best=threshold,
        eval_freq=50,
        best_model_save_path=str(tmp_path),
        verbose=0,
    )
    agent.learn(10_000, callback=[evaluation, CheckpointCallback(25, str(tmp_path)), LogEveryNTimesteps(20)])
    assert agent.num_timesteps < 10_000
    best = Greedy.load(tmp_path / "best_model", Arms())
    assert best.predict(np.zeros(2, np.float32))[0] == 1
    assert Greedy.load(tmp_path / "rl_model_25_steps.zip", Arms()).num_timesteps == 25


def test_stops_after_the_asked_number_of_episodes() -> None:
    agent = Greedy(Arms(), seed=0).learn(1000, callback=StopTrainingOnMaxEpisodes(3))
    assert agent.num_timesteps == 3 * EPISODE


def test_a_function_is_a_callback_and_false_stops() -> None:
    seen = []

    def watch(local_values: dict[str, Any], global_values: dict[str, Any]) -> bool:
        seen.append(float(local_values["rewards"][0]))
        return len(seen) < 7

    agent = Greedy(Arms(), seed=0).learn(1000, callback=watch)
    assert agent.num_timesteps == len(seen) == 7
    assert set(seen) <= set(ARM_REWARDS)


def test_learning_imports_no_torch() -> None:
    code = (
        "import sys, gymnasium, numpy as np\n"
        "from dynrl.agent import Agent\n"
        "class Still(Agent):\n"
        "    def initial_state(self): return {'x': np.zeros(1)}\n"
        "    def act(self, observation, deterministic): return 0\n"
        "    def update(self, transition): pass\n"
        "Still('CartPole-v1').learn(20)\n"
        "assert not {'torch', 'stable_baselines3', 'matplotlib'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_learning_in_two_parts_equals_learning_in_one() -> None:
    whole = Greedy(Arms(), seed=3).learn(101)
    parts = Greedy(Arms(), seed=3).learn(43).learn(58, reset_num_timesteps=False)
    for name, array in whole.state_dict().items():
        np.testing.assert_array_equal(array, parts.state_dict()[name])


def test_a_loaded_agent_goes_on_as_the_saved_one(trained: Greedy, tmp_path: Any) -> None:
    trained.save(tmp_path / "agent")
    loaded = Greedy.load(tmp_path / "agent", Arms())
    assert loaded.config == trained.config
    for agent in (trained, loaded):
        agent.last_observation = None
        agent.learn(60, reset_num_timesteps=False)
    for name, array in trained.state_dict().items():
        np.testing.assert_array_equal(array, loaded.state_dict()[name])
    assert [path.name for path in tmp_path.iterdir()] == ["agent.safetensors"]


@pytest.mark.parametrize(
    ("loader", "env", "message"),
    [
        (OtherGreedy, Arms(), "holds a .*Greedy, not a .*OtherGreedy"),
        (Greedy, Arms(arms=3), r"does not fit this environment: array 'state/pulls' is int64 \[4\]"),
    ],
)
def test_load_refuses_another_class_or_shape(
    trained: Greedy, tmp_path: Any, loader: type[Agent], env: gym.Env, message: str
) -> None:
    trained.save(tmp_path / "agent")
    with pytest.raises(FileFormatError, match=message):
        loader.load(tmp_path / "agent", env)


def test_load_refuses_a_missing_file(tmp_path: Any) -> None:
    with pytest.raises(FileFormatError, match=r"agent\.safetensors does not exist"):
        Greedy.load(tmp_path / "agent", Arms())


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_file_is_refused_or_reads_the_same(data: st.DataObject, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("agent") / "agent.safetensors"
    agent = Greedy(Arms(), seed=0)
    agent.save(path)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans(), label="truncate"):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        loaded = Greedy.load(path, Arms())
    except FileFormatError:
        return
    for name, array in agent.state_dict().items():
        np.testing.assert_array_equal(array, loaded.state_dict()[name])


def test_batches_give_batches() -> None:
    agent = Greedy(Arms(), seed=0).learn(100)
    actions, state = agent.predict(np.zeros((3, 2), np.float32), state=None)
    assert actions.tolist() == [1, 1, 1]
    assert state is None


@pytest.mark.parametrize(
    ("space", "observation", "expected"),
    [
        (gym.spaces.Discrete(3), 2, None),
        (gym.spaces.Discrete(3), np.array([0, 1]), 2),
        (gym.spaces.Box(0, 1, (4,)), np.zeros(4), None),
        (gym.spaces.Box(0, 1, (4,)), np.zeros((1, 4)), 1),
        (gym.spaces.Dict(a=gym.spaces.Box(0, 1, (2,))), {"a": np.zeros((5, 2))}, 5),
    ],
)
def test_batch_size(space: gym.Space, observation: Any, expected: int | None) -> None:
    assert batch_size(space, observation) == expected


def test_an_observation_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(3,\), expected \(2,\) or a batch"):
        Greedy(Arms()).predict(np.zeros(3, np.float32))


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="no setting 'exploratoin'; did you mean 'exploration'"):
        Greedy(Arms(), exploratoin=0.1)
    with pytest.raises(ValueError, match=r"exploration must lie in \[0, 1\], got 2"):
        Greedy(Arms(), exploration=2)
    with pytest.raises(TypeError, match="config must be a GreedyConfig, got dict"):
        Greedy(Arms(), {"exploration": 0.1})
    with pytest.raises(TypeError, match="needs one gymnasium"):
        Greedy(gym.make_vec("CartPole-v1", num_envs=2))  # type: ignore[arg-type]


def test_a_config_must_be_frozen_and_without_seed() -> None:
    @dataclass
    class Loose:
        rate: float = 1.0

    with pytest.raises(TypeError, match="must be a frozen dataclass"):
        type("Bad", (Agent,), {"Config": Loose})

    @dataclass(frozen=True)
    class Seeded:
        seed: int = 0

    with pytest.raises(TypeError, match="must not have a field `seed`"):
        type("Bad", (Agent,), {"Config": Seeded})
