"""Simulations on the C engine: the same bytes however many run side by side, and each on its own."""

import copy
import pickle

import mujoco
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from mujoco.batch import SimulationError

from dynrl.envs.mujoco_robots import Ant, Hopper, InvertedPendulum, Walker2d
from dynrl.errors import FileFormatError
from dynrl.physics import MujocoEnv, MujocoVectorEnv
from dynrl.physics.models import model_path
from dynrl.runs.array_file import read_arrays, write_arrays

MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP]


def actions(env, steps, seed=0):
    space = env.single_action_space
    shape = (steps, env.num_envs, *space.shape)
    return np.random.default_rng(seed).uniform(space.low, space.high, shape).astype(np.float32)


def same(ours, theirs, rows=slice(None)):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a[rows], b[rows])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("task", [Hopper(horizon=7), Ant(horizon=7)], ids=["Hopper", "Ant"])
def test_neither_threads_nor_neighbours_change_a_byte(task, mode):
    seeds, chosen = [11, 12, 13, 14, 15], [1, 4]
    many = [MujocoVectorEnv(task, 5, autoreset_mode=mode, num_threads=threads) for threads in (1, 3)]
    few = MujocoVectorEnv(task, 2, autoreset_mode=mode, num_threads=2)
    starts = [env.reset(seed=seeds)[0] for env in many]
    np.testing.assert_array_equal(*starts)
    np.testing.assert_array_equal(few.reset(seed=[seeds[i] for i in chosen])[0], starts[0][chosen])
    for played in actions(many[0], 30):
        shown = [env.step(played)[:4] for env in many]
        same(*shown)
        same([a[chosen] for a in shown[0]], few.step(played[chosen])[:4])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("task", [Hopper(), Ant()], ids=["Hopper", "Ant"])
def test_a_diverged_simulation_ends_its_own_episode_and_nobody_elses(task, mode, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes MUJOCO_LOG.TXT where it is
    env, calm = (MujocoVectorEnv(task, 4, autoreset_mode=mode, num_threads=2) for _ in range(2))
    start, _ = env.reset(seed=5)
    calm.reset(seed=5)
    others = [0, 1, 3]
    played = actions(env, 5)
    env.step(played[0])
    calm.step(played[0])
    model = task.model
    before = env.set_state(model.qpos0[None], np.full((1, model.nv), 1e11), ids=[2])
    shown, expected = env.step(played[1]), calm.step(played[1])
    same(shown[:4], expected[:4], others)
    assert shown[2].tolist() == [False, False, True, False]
    assert not shown[3].any()
    assert shown[1][2] == 0.0
    if mode is AutoresetMode.SAME_STEP:
        np.testing.assert_array_equal(shown[4]["final_obs"][2], before[0])
        assert shown[4]["final_info"]["diverged"].tolist() == [False, False, True, False]
    else:
        np.testing.assert_array_equal(shown[0][2], before[0])
        assert shown[4]["diverged"].tolist() == [False, False, True, False]
    for i in range(2, 5):
        shown, expected = env.step(played[i]), calm.step(played[i])
        same(shown[:4], expected[:4], others)
        assert np.isfinite(shown[0]).all()
        assert np.isfinite(shown[1]).all()
    assert np.abs(shown[0][2]).max() < 1e3 < np.abs(start).max() * 1e9


def test_an_error_of_the_engine_ends_the_episodes_that_it_names(monkeypatch):
    env, calm = (MujocoVectorEnv(Hopper(), 4, num_threads=1) for _ in range(2))
    env.reset(seed=2)
    calm.reset(seed=2)
    batch = env._episodes.simulations._batch
    step = batch.step

    def fails_in_one(ids, nstep):
        step(np.array([0, 2, 3]), nstep=nstep)
        raise SimulationError(np.array([1]), "stack overflow")

    played = actions(env, 2)
    with monkeypatch.context() as patch:
        patch.setattr(batch, "step", fails_in_one)
        shown = env.step(played[0])
    same(shown[:4], calm.step(played[0])[:4], [0, 2, 3])
    assert shown[2].tolist() == shown[4]["diverged"].tolist() == [False, True, False, False]
    shown, expected = env.step(played[1]), calm.step(played[1])
    same(shown[:4], expected[:4], [0, 2, 3])
    assert not shown[2][1]


def test_an_unreadable_number_of_the_engine_is_a_divergence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env = MujocoEnv(Hopper())
    env.reset(seed=0)
    env.set_params({"opt.gravity": [0.0, 0.0, -1e15]})
    observation, reward, terminated, truncated, info = env.step(np.zeros(3, np.float32))
    assert (reward, terminated, truncated, info["diverged"]) == (0.0, True, False, True)
    assert np.isfinite(observation).all()


FIELDS = {
    "opt.gravity": lambda rng, value: value * rng.uniform(0.5, 1.5),
    "body_mass": lambda rng, value: value * rng.uniform(0.5, 2.0, value.shape),
    "geom_friction": lambda rng, value: value * rng.uniform(0.5, 1.5, value.shape),
    "dof_damping": lambda rng, value: value * rng.uniform(0.5, 1.5, value.shape),
    "actuator_gear": lambda rng, value: value * rng.uniform(0.7, 1.3),
}


def test_every_simulation_runs_on_its_own_model():
    """Fields of each lane, some set at first and some in mid-episode, against a loop over MuJoCo's own models."""
    task, rng = Walker2d(terminate_when_unhealthy=False), np.random.default_rng(0)
    models = [copy.copy(task.model) for _ in range(3)]
    datas = [mujoco.MjData(model) for model in models]
    env = MujocoVectorEnv(task, 3, num_threads=2)
    env.reset(seed=1)
    qpos, qvel = env.state()
    for i, (model, data) in enumerate(zip(models, datas, strict=True)):
        data.qpos[:], data.qvel[:] = qpos[i], qvel[i]
        mujoco.mj_forward(model, data)
    for step, played in enumerate(actions(env, 24)):
        if step in (0, 12):
            for name in list(FIELDS)[: 3 if step == 0 else 5]:
                ids = [0, 2] if step == 0 else [0, 1]
                values = [FIELDS[name](rng, field(models[i], name).copy()) for i in ids]
                env.set_params({name: np.stack(values)}, ids=ids)
                for i, value in zip(ids, values, strict=True):
                    field(models[i], name)[:] = value
        observation = env.step(played)[0]
        for i, (model, data) in enumerate(zip(models, datas, strict=True)):
            data.ctrl[:] = played[i]
            mujoco.mj_step(model, data, task.frame_skip)
            expected = np.concatenate((data.qpos[1:], np.clip(data.qvel, -10, 10)))
            np.testing.assert_array_equal(observation[i], expected, err_msg=f"lane {i}, step {step}")


def field(model, name):
    return getattr(model.opt, name[4:]) if name.startswith("opt.") else getattr(model, name)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["state_dict", "pickle", "deepcopy"])
def test_a_copy_goes_on_as_the_original_does(how, mode):
    task = Ant(horizon=6)
    env = MujocoVectorEnv(task, 3, {"body_mass": task.model.body_mass * 1.5}, mode, num_threads=2)
    env.reset(seed=4)
    played = actions(env, 24)
    for i in range(9):
        env.step(played[i])
    if how == "state_dict":
        twin = MujocoVectorEnv(task, 3, {"opt.gravity": [0.0, 0.0, -1.0]}, mode, num_threads=1)
        twin.load_state_dict({name: value.copy() for name, value in env.state_dict().items()})
    else:
        twin = pickle.loads(pickle.dumps(env)) if how == "pickle" else copy.deepcopy(env)
    for i in range(9, 24):
        same(env.step(played[i])[:4], twin.step(played[i])[:4])


def test_state_survives_a_file_and_a_wrong_one_is_refused(tmp_path):
    env = MujocoVectorEnv(Hopper(), 3, {"opt.gravity": [0.0, 0.0, -5.0]})
    env.reset(seed=1)
    write_arrays(tmp_path / "state.safetensors", env.state_dict(), {})
    stored, _ = read_arrays(tmp_path / "state.safetensors")
    twin = MujocoVectorEnv(Hopper(), 3)
    twin.load_state_dict(stored)
    played = actions(env, 1)[0]
    same(env.step(played)[:4], twin.step(played)[:4])
    with pytest.raises(FileFormatError, match=r"'elapsed' has shape \(3,\), expected \(2,\)"):
        MujocoVectorEnv(Hopper(), 2).load_state_dict(stored)
    with pytest.raises(FileFormatError, match="no array 'keys'"):
        twin.load_state_dict({name: value for name, value in stored.items() if name != "keys"})


def test_a_reset_without_seed_goes_on_with_other_starts():
    env = MujocoVectorEnv(InvertedPendulum(), 3)
    first, second = env.reset(seed=0)[0], env.reset()[0]
    again = [env.reset(seed=0)[0], env.reset()[0]]
    np.testing.assert_array_equal(np.stack(again), np.stack([first, second]))
    assert len(np.unique(np.stack(again)[..., 0])) == 6


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"mass": [1.0]}, "no model field"),
        ({"body_mass": np.ones(2)}, r"shape \(2,\), expected \(3,\) or \(4, 3\)"),
        ({"opt.gravity": [0.0, np.nan, 0.0]}, "not finite"),
    ],
)
def test_wrong_fields_are_named_and_change_nothing(fields, said):
    env = MujocoVectorEnv(InvertedPendulum(), 4)
    with pytest.raises(ValueError, match=said):
        env.set_params({"body_mass": np.ones(3), **fields})
    assert env.params == {}


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"healthy_z_range": (1.0, 0.5)}, "healthy_z_range"),
        ({"frame_skip": 0}, "frame_skip is 0"),
        ({"horizon": 0}, "horizon is 0"),
    ],
)
def test_wrong_settings_of_a_task_are_named(kwargs, said):
    with pytest.raises(ValueError, match=said):
        Hopper(**kwargs)


def test_a_missing_model_file_lists_those_that_are_there():
    with pytest.raises(FileNotFoundError, match=r"hoper.xml.*hopper\.xml"):
        model_path("hoper.xml")


def test_an_actuator_without_a_range_is_named(tmp_path):
    text = model_path("inverted_pendulum.xml").read_text()
    assert 'ctrlrange="-3 3"' in text
    mine = tmp_path / "mine.xml"
    mine.write_text(text.replace('ctrllimited="true"', "").replace('ctrlrange="-3 3"', ""))
    with pytest.raises(ValueError, match=r"actuator 0 \('slide'\) has no range of controls"):
        MujocoEnv(InvertedPendulum(xml_file=str(mine)))


def test_steps_of_many_seconds_make_films_that_still_run():
    slow = InvertedPendulum(frame_skip=500)
    assert slow.dt == pytest.approx(10.0)
    assert MujocoEnv(slow).metadata["render_fps"] == 1
    assert MujocoEnv(InvertedPendulum()).metadata["render_fps"] == 25
