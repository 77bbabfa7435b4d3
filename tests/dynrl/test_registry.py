"""One table names everything; Gymnasium and other packages meet it there, and importing it costs nothing."""

import subprocess
import sys
from importlib.metadata import EntryPoint

import gymnasium
import pytest
from gymnasium.vector import AutoresetMode

import dynrl
from dynrl import GymnasiumEnv, VectorEnv, make_functional, register_agent, register_env, registry
from dynrl.testing.worlds import RandomWalk

WALK = "dynrl-test/RegisteredWalk-v0"
TARGET = "dynrl.testing.worlds:RandomWalk"


@pytest.fixture(autouse=True)
def untouched_tables(monkeypatch):
    """Each test sees tables and Gymnasium's registry of its own."""
    for table in (registry.ENVS, registry.AGENTS, registry.EXPERIMENTS):
        for name in list(table):
            monkeypatch.setitem(table, name, table[name])
    before = dict(gymnasium.registry), dict(registry.ENVS), dict(registry.AGENTS)
    yield
    for table, saved in zip((gymnasium.registry, registry.ENVS, registry.AGENTS), before, strict=True):
        table.clear()
        table.update(saved)


def test_a_registered_world_is_made_by_every_door():
    register_env(WALK, TARGET, "a walk", horizon=7)
    assert make_functional(WALK) == RandomWalk(horizon=7)
    assert make_functional(WALK, horizon=9, observe="dict") == RandomWalk(horizon=9, observe="dict")
    single = gymnasium.make(WALK, render_mode="rgb_array")
    assert isinstance(single.unwrapped, GymnasiumEnv) and single.unwrapped.func_env.horizon == 7
    assert single.spec.make().unwrapped.func_env == single.unwrapped.func_env
    vector = gymnasium.make_vec(WALK, num_envs=3, autoreset_mode=AutoresetMode.SAME_STEP, horizon=5)
    assert isinstance(vector, VectorEnv) and vector.num_envs == 3 and vector.func_env.horizon == 5
    assert vector.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert gymnasium.spec(WALK).to_json()


def test_names_can_be_taken_once():
    register_env(WALK, TARGET, "a walk", horizon=7)
    register_env(WALK, TARGET, "the same walk", horizon=7)
    with pytest.raises(ValueError, match="already registered for"):
        register_env(WALK, "elsewhere:Walk", "another")
    register_agent("walker", "somewhere:Walker", "walks")
    with pytest.raises(ValueError, match="already registered"):
        register_agent("walker", "elsewhere:Walker", "walks")


def test_unknown_names_are_answered_with_close_ones():
    with pytest.raises(ValueError, match=r"did you mean 'dynrl/DLBAds-v0'\?"):
        make_functional("dynrl/DLBAd-v0")
    with pytest.raises(ValueError, match="no agent is called 'zzz'"):
        registry.find_agent("zzz")
    with pytest.raises(TypeError, match="wings"):
        register_env(WALK, TARGET, "a walk")
        make_functional(WALK, wings=2)


@pytest.mark.parametrize(
    ("target", "complaint"),
    [("dynrl.functional", "expected 'module:Class'"), ("dynrl.functional:Nothing", "has no 'Nothing'")],
)
def test_wrong_targets_name_the_entry(target, complaint):
    with pytest.raises(ImportError, match=f"'thing'.*{complaint}"):
        registry.load(registry.Entry("thing", target, ""))


def test_other_packages_add_theirs_through_entry_points(monkeypatch):
    offered = {
        "dynrl.envs": [EntryPoint("theirs/Walk-v0", TARGET, "dynrl.envs")],
        "dynrl.agents": [EntryPoint("their-agent", "dynrl.functional:FunctionalEnv", "dynrl.agents")],
    }
    monkeypatch.setattr(registry.importlib.metadata, "entry_points", lambda group: offered.get(group, []))
    monkeypatch.setattr(registry, "_discovered", set())
    registry.register_all()
    assert gymnasium.make("theirs/Walk-v0").unwrapped.func_env == RandomWalk()
    assert registry.find_agent("their-agent") is dynrl.FunctionalEnv


@pytest.mark.parametrize("table", [registry.ENVS, registry.AGENTS, registry.EXPERIMENTS, registry.BENCHMARKS])
def test_every_entry_points_at_something_and_says_what(table):
    for name, entry in table.items():
        assert entry.name == name and entry.summary and "\n" not in entry.summary
        assert registry.load(entry) is not None


def test_public_names_are_real_and_wrong_ones_are_refused():
    for name in dynrl.__all__:
        assert getattr(dynrl, name) is not None
    assert set(dynrl.__all__) <= set(dir(dynrl))
    with pytest.raises(AttributeError, match="no attribute 'Agnet'"):
        _ = dynrl.Agnet


HEAVY = ("jax", "torch", "brax", "matplotlib", "ray", "mujoco", "tensorboard", "stable_baselines3", "scipy")


def test_import_is_cheap_and_registers_with_gymnasium():
    program = (
        "import sys, dynrl, gymnasium\n"
        f"heavy = sorted(set({HEAVY!r}) & set(sys.modules))\n"
        "assert not heavy, heavy\n"
        "assert 'dynrl/DLBAds-v0' in gymnasium.registry\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("module", "blocked", "extra"),
    [("dynrl.faces.sb3", "stable_baselines3", r"dynrl\[sb3\]"), ("dynrl.faces.brax", "brax", "brax")],
)
def test_missing_extra_names_what_to_install(monkeypatch, module, blocked, extra):
    for name in [name for name in sys.modules if name == module or name.split(".")[0] == blocked]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, blocked, None)
    with pytest.raises(ImportError, match=f"pip install {extra}"):
        __import__(module)
