"""`check_env` passes what keeps its promises, and names the one that a deliberately broken world breaks."""

import builtins
import dataclasses
import sys
from dataclasses import dataclass, field
from typing import ClassVar

import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

from dynrl import GymnasiumEnv
from dynrl.testing import PROBES, EnvCheckError, check_env
from dynrl.testing.checks import CHECKS
from dynrl.testing.probes import ContinuousActionReward, DelayedReward
from dynrl.testing.worlds import RandomWalk


class Plain(gymnasium.Env):
    """A third party's environment in plain Python: a counter, an action that is checked, five steps."""

    metadata: ClassVar = {"render_modes": []}

    def __init__(self):
        self.observation_space = spaces.Box(-100.0, 100.0, (2,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.position = np.zeros(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = self.np_random.uniform(-1, 1, 2)
        self.steps = 0
        return self.observe(), {}

    def step(self, action):
        self.check(action)
        self.position = self.position + action
        self.steps += 1
        return self.observe(), float(self.position[0]), False, self.steps >= 5, {}

    def check(self, action):
        if not self.action_space.contains(action):
            raise ValueError("bad action")

    def observe(self):
        return self.position.astype(np.float32)


class WrongReturn(Plain):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0]


class ReusedBuffer(Plain):
    """Shows the same array again and again, and only Gymnasium's own checker would notice it at once."""

    def __init__(self):
        super().__init__()
        self.buffer = np.zeros(2, np.float32)

    def observe(self):
        self.buffer[:] = self.position
        return self.buffer


class HiddenBuffer(ReusedBuffer):
    def observe(self):
        return super().observe()[:]


class Unseeded(Plain):
    def step(self, action):
        shown = super().step(action)
        return shown[0], shown[1] + np.random.default_rng().uniform(), *shown[2:]


class UnseededSecondEpisode(Plain):
    episodes = 0

    def reset(self, *, seed=None, options=None):
        _, info = super().reset(seed=seed)
        if seed is None:
            type(self).episodes += 1
            self.position = self.position + 0.01 * type(self).episodes
        return self.observe(), info


class PlaysNan(Plain):
    def check(self, action):
        if np.shape(action) != (2,):
            raise ValueError("shape")


class MovesBeforeRefusing(Plain):
    def check(self, action):
        if not self.action_space.contains(action):
            self.position = self.position + 1
            raise ValueError("bad action")


class LeavesItsSpace(Plain):
    def observe(self):
        far = 1000 if getattr(self, "steps", 0) == 4 else 0
        return (self.position + far).astype(np.float32)


class NanReward(Plain):
    def step(self, action):
        shown = super().step(action)
        return shown[0], np.nan if self.steps == 4 else shown[1], *shown[2:]


class ForgetsInCopies(Plain):
    def __deepcopy__(self, memo):
        return type(self)()

    def __reduce__(self):
        return type(self), ()


class NoPickle(Plain):
    def __init__(self):
        super().__init__()
        self.hook = lambda: None


class ChangingVector(gymnasium.vector.SyncVectorEnv):
    def step(self, actions):
        observation, *rest = super().step(actions)
        return observation + 1, *rest


@dataclass(frozen=True)
class ChangesType(RandomWalk):
    """Its state is float32 at a reset and float16 after a step."""

    def transition(self, state, action, rng, params=None):
        after = super().transition(state, action, rng, params)
        return after._replace(travelled=after.travelled.astype(jnp.float16))


@dataclass(frozen=True)
class ReadsItself(RandomWalk):
    """Reads a compare=False field inside compiled code, so equal instances share the first one's number."""

    bonus: float = field(default=0.0, compare=False)
    option_choices: ClassVar = {"bonus": (0.0, 1.0)}

    def reward(self, state, action, next_state, rng, params=None):
        return self.bonus + 0.0 * params["noise"]


@dataclass(frozen=True)
class SilentOptions(RandomWalk):
    def apply_options(self, params, options):
        return params


@dataclass(frozen=True)
class RejectsItsOwnChoice(RandomWalk):
    option_choices: ClassVar = {"observe": ("position", "velocity")}


@dataclass(frozen=True)
class WrongError(RandomWalk):
    def check_actions(self, actions):
        if np.shape(actions)[1:] != (2,):
            raise TypeError("shape")
        return super().check_actions(actions)


@dataclass(frozen=True)
class ClipsInSilence(RandomWalk):
    def check_actions(self, actions):
        return super().check_actions(np.clip(actions, -1, 1))


class ShiftedFace(GymnasiumEnv):
    """A single face that shows something else than the vector face."""

    def step(self, action):
        observation, *rest = super().step(action)
        return observation + 1, *rest


@dataclass(frozen=True)
class TwoFaced(RandomWalk):
    gymnasium_class: ClassVar = "dynrl_test_shifted_face:ShiftedFace"


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setitem(sys.modules, "dynrl_test_shifted_face", sys.modules[__name__])


BROKEN = [
    ("gymnasium", WrongReturn()),
    ("gymnasium", ReusedBuffer()),
    ("state types", ChangesType()),
    ("compiled equals eager", TwoFaced()),
    ("vector equals single", TwoFaced()),
    ("no shared memory", HiddenBuffer()),
    ("final observation", TwoFaced()),
    ("final observation", ReusedBuffer()),
    ("seeding", Unseeded()),
    ("seeding", UnseededSecondEpisode()),
    ("bad actions", PlaysNan()),
    ("bad actions", MovesBeforeRefusing()),
    ("bad actions", WrongError()),
    ("bad actions", ClipsInSilence()),
    ("long rollout", LeavesItsSpace()),
    ("long rollout", NanReward()),
    ("copies", ForgetsInCopies()),
    ("copies", NoPickle()),
    ("options", ReadsItself()),
    ("options", SilentOptions()),
    ("options", RejectsItsOwnChoice()),
]


@pytest.mark.parametrize(("check", "env"), BROKEN, ids=lambda value: value if isinstance(value, str) else "")
def test_names_the_broken_promise(check, env):
    others = [name for name in CHECKS if name != check]
    with pytest.raises(EnvCheckError, match=f"fails the check '{check}'"):
        check_env(env, skip=others, steps=60)


def test_sb3s_checker_has_its_say():
    class OneBasedActions(Plain):
        def __init__(self):
            super().__init__()
            self.observation_space = spaces.Dict({"inner": spaces.Tuple((self.observation_space,))})

    with pytest.raises(EnvCheckError, match="'sb3'"):
        check_env(OneBasedActions(), skip=[name for name in CHECKS if name != "sb3"])


def test_a_registered_vector_form_must_equal_its_singles():
    gymnasium.register(
        "dynrl-test/Plain-v0",
        entry_point=Plain,
        vector_entry_point=lambda num_envs: ChangingVector([Plain] * num_envs),
    )
    with pytest.raises(EnvCheckError, match=r"'vector equals single'.*differs from single ones"):
        check_env("dynrl-test/Plain-v0", steps=30)


def test_third_party_environment_passes_and_says_what_does_not_apply():
    report = check_env(Plain())
    statuses = {result.name: result.status for result in report.results}
    not_applicable = {"state types", "compiled equals eager", "vector equals single", "options"}
    assert {name for name, status in statuses.items() if status == "not applicable"} == not_applicable
    assert all(status in ("passed", "not applicable") for status in statuses.values())
    assert "Stable-Baselines3's checker ran" in str(report)


def test_says_that_sb3_is_missing(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    report = check_env(Plain(), skip=[name for name in CHECKS if name != "sb3"])
    (result,) = [result for result in report.results if result.name == "sb3"]
    assert result.status == "not applicable" and "pip install dynrl[sb3]" in result.note


def test_missing_hypothesis_names_the_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "hypothesis":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install dynrl\[dev\]"):
        check_env(RandomWalk(), skip=[name for name in CHECKS if name != "options"])


def test_environment_is_left_as_it_was():
    env = Plain()
    env.reset(seed=0)
    before = env.position.copy()
    check_env(env, steps=30)
    np.testing.assert_array_equal(env.position, before)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="no check 'speed'"):
        check_env(Plain(), skip=["speed"])
    with pytest.raises(TypeError, match="env is a int"):
        check_env(3)


def test_a_world_that_uses_everything_passes():
    report = check_env(RandomWalk(), examples=3, steps=100)
    assert {result.status for result in report.results} == {"passed"}


@pytest.mark.parametrize("name", PROBES)
def test_probes_pass(name):
    report = check_env(PROBES[name](), steps=30, skip=["sb3"])
    assert {result.status for result in report.results} == {"passed", "skipped"}


@pytest.mark.parametrize("name", PROBES)
def test_known_value_is_what_the_best_policy_earns(name):
    """The best of a grid of actions earns, discounted, what `known_value` says of the first observation."""
    probe = PROBES[name]()
    env = GymnasiumEnv(probe)
    discount = 0.9
    discrete = isinstance(env.action_space, spaces.Discrete)
    choices = [0, 1] if discrete else [np.float32([a]) for a in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    first_returns = []
    for seed in range(6):
        totals = []
        for choice in choices:
            observation, _ = env.reset(seed=seed)
            total, factor, ended = 0.0, 1.0, False
            while not ended:
                _, reward, terminated, truncated, _ = env.step(choice)
                total, factor, ended = total + factor * reward, factor * discount, terminated or truncated
            totals.append(total)
        assert max(totals) == pytest.approx(probe.known_value(observation, discount), abs=1e-6)
        first_returns.append(max(totals))
    assert len(set(np.round(first_returns, 6))) <= 2
    assert DelayedReward().known_value(np.float32([1.0]), discount) == 1.0


def test_continuous_probes_take_their_target_from_params():
    env = GymnasiumEnv(ContinuousActionReward(), params=np.float32(-0.25))
    env.reset(seed=0)
    assert env.step(np.float32([-0.25]))[1] == 1.0


def test_reports_are_values():
    report = check_env(Plain(), steps=30)
    assert dataclasses.replace(report) == report
    assert str(report).splitlines()[0] == "Plain"
