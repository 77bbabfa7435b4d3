"""Lanes with parameters of their own: each is the environment alone, and only lanes that reset are drawn anew."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import gymnasium
import numpy as np
import pytest

from dynrl.registry import make_world
from dynrl.robust import Ellipsoid, FiniteSet, Param, RobustEnv, UncertaintySet, make_robust_vec

MASSES = UncertaintySet([Param("body:pole.mass", 1.0, 31.0), Param("body:cart.mass", 1.0, 11.0)])
PENDULUM = UncertaintySet([Param("attr:m", 0.5, 1.5), Param("attr:l", 0.7, 1.3)])
PSI = np.array([[2.0, 3.0], [20.0, 5.0], [5.0, 11.0]])


def actions(space: gymnasium.Space, steps: int, lanes: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = (steps, lanes, *space.shape)  # type: ignore[misc]
    return (0.2 * rng.uniform(-1, 1, shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "uset", "psi"),
    [
        ("dynrl/InvertedPendulum-v0", MASSES, PSI),
        ("InvertedPendulum-v5", MASSES, PSI),
        ("dynrl/Pendulum-v0", PENDULUM, np.array([[0.5, 0.7], [1.0, 1.0], [1.5, 1.2]])),
        (
            "dynrl/InvertedPendulum-v0",
            UncertaintySet([Param("force:pole[0]", -3.0, 3.0), Param("delay.action", 0, 2)]),
            np.array([[1.0, 0], [-3.0, 1], [0.0, 2]]),
        ),
    ],
    ids=["engine", "third party", "functional", "force and delay"],
)
def test_every_lane_is_the_environment_alone(name: str, uset: UncertaintySet, psi: np.ndarray) -> None:
    lanes = make_robust_vec(name, uset, 3)
    observations, _ = lanes.reset(seed=7, options={"psi": psi})
    played = 4 * actions(lanes.single_action_space, 40, 3)
    rows = [lanes.step(action) for action in played]
    for i in range(3):
        alone = RobustEnv(gymnasium.make(name), uset, sticky=True)
        first, _ = alone.reset(seed=7 + i, options={"psi": psi[i]})
        np.testing.assert_array_equal(observations[i], first)
        ends = 0
        for step, row in enumerate(rows):
            observation, reward, terminated, truncated, _ = alone.step(played[step, i])
            assert row[1][i] == pytest.approx(reward, abs=1e-6)
            assert (row[2][i], row[3][i]) == (terminated, truncated)
            if terminated or truncated:
                np.testing.assert_allclose(row[4]["final_obs"][i], observation, rtol=0, atol=1e-12)
                observation, _ = alone.reset()
                ends += 1
            np.testing.assert_allclose(row[0][i], observation, rtol=0, atol=1e-12)
        assert ends >= 1 or "/Pendulum" in name


@pytest.mark.parametrize("name", ["dynrl/InvertedPendulum-v0", "InvertedPendulum-v5"])
def test_only_lanes_that_reset_are_drawn_anew(name: str) -> None:
    asked: list[int] = []

    def sampler(rng: np.random.Generator, k: int) -> np.ndarray:
        asked.append(k)
        return MASSES.sample(rng, k)

    lanes = make_robust_vec(name, MASSES, 4, sampler=sampler)
    _, info = lanes.reset(seed=0)
    assert asked == [4] and len(np.unique(info["psi"][:, 0])) == 4
    ends = np.zeros(4, int)
    for _ in range(40):
        before = lanes.psi
        asked.clear()
        _, _, terminated, truncated, info = lanes.step(np.ones((4, 1), np.float32))
        ended = terminated | truncated
        ends += ended
        changed = (info["psi"] != before).any(1)
        np.testing.assert_array_equal(changed, ended)
        assert sum(asked) == ended.sum()
        if ended.any():
            np.testing.assert_array_equal(info["final_psi"][ended], before[ended])
            assert np.abs(info["final_obs"][ended, 1]).min() > 0.2  # fallen
            assert info["final_obs"][~ended].any() == 0
    assert (ends >= 3).all()


def test_functional_lanes_begin_with_the_parameters_just_drawn() -> None:
    # The start of the pendulum depends on psi here: angle uniform in +- x_init.
    uset = UncertaintySet(
        [Param("attr:x_init", 0.1, 3.0, nominal=3.0), Param("attr:y_init", 0.0, 0.0, nominal=0.0)]
    )
    lanes = make_robust_vec(make_world("dynrl/Pendulum-v0", horizon=2), uset, 64, sampler="uniform")
    lanes.reset(seed=0)
    zeros = np.zeros((64, 1), np.float32)
    for _ in range(4):
        observation, *_, truncated, info = lanes.step(zeros)
        if truncated.all():
            angle = np.abs(np.arctan2(observation[:, 1], observation[:, 0]))
            assert (angle <= info["psi"][:, 0] + 1e-6).all()
            # and fills the range: the mean of |uniform(-1, 1)| is 1/2, within 4 standard deviations of 64 draws
            assert abs((angle / info["psi"][:, 0]).mean() - 0.5) < 4 * np.sqrt(1 / 12 / 64)


@pytest.mark.parametrize("name", ["dynrl/InvertedPendulum-v0", "dynrl/Pendulum-v0"])
def test_seed_and_nothing_else_decides(name: str) -> None:
    uset = MASSES if "Inverted" in name else PENDULUM
    histories = []
    for threads in (1, 2):
        lanes = make_robust_vec(name, uset, 3, sampler="sobol", num_threads=threads)
        rows = [lanes.reset(seed=11)[1]["psi"]]
        for action in actions(lanes.single_action_space, 30, 3):
            observation, _, _, _, info = lanes.step(5 * action)
            rows += [observation, info["psi"]]
        histories.append(np.concatenate([row.ravel() for row in rows]))
    np.testing.assert_array_equal(histories[0], histories[1])


def test_set_psi_of_some_lanes() -> None:
    lanes = make_robust_vec("dynrl/InvertedPendulum-v0", MASSES, 3)
    np.testing.assert_array_equal(lanes.psi, np.tile(lanes.nominal, (3, 1)))
    lanes.reset(seed=0)
    lanes.set_psi(np.array([[2.0, 3.0]]), ids=[1])
    np.testing.assert_array_equal(lanes.psi[1], [2.0, 3.0])
    np.testing.assert_array_equal(lanes.psi[[0, 2]], np.tile(lanes.nominal, (2, 1)))
    lanes.set_psi([4.0, 4.0])
    np.testing.assert_array_equal(lanes.lanes_env.params["body_mass"][:, 1:], np.full((3, 2), 4.0))


@pytest.mark.parametrize(
    ("psi", "ids", "message"),
    [
        (np.zeros((2, 2)), None, r"psi has shape \(2, 2\), expected \(2,\) or \(3, 2\)"),
        ([0.5, 5.0], None, r"'body:pole.mass' is 0.5 \(row 0\), outside \[1, 31\]"),
        ([2.0, 5.0], [3], "expected integers from 0 to 2"),
        ({"body:pole.mass": 2.0}, None, r"psi is {.*}, expected numbers for"),
        ([[2.0, 5.0], [2.0]], [0, 1], r"psi is \[\[.*expected numbers for"),
    ],
)
def test_wrong_parameters_are_named(psi: object, ids: object, message: str) -> None:
    lanes = make_robust_vec("dynrl/InvertedPendulum-v0", MASSES, 3)
    with pytest.raises(ValueError, match=message):
        lanes.set_psi(psi, ids)
    np.testing.assert_array_equal(lanes.psi, np.tile(lanes.nominal, (3, 1)))


def test_environments_and_parameters_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="a MuJoCo task has model fields"):
        make_robust_vec("dynrl/InvertedPendulum-v0", UncertaintySet([Param("attr:m", 0, 1, nominal=0.5)]), 2)
    with pytest.raises(ValueError, match="this environment has none; use attr:NAME"):
        make_robust_vec("dynrl/Pendulum-v0", UncertaintySet([Param("body:a.mass", 0, 1, nominal=0.5)]), 2)
    with pytest.raises(TypeError, match="one cannot be stepped in several lanes"):
        make_robust_vec(gymnasium.make("Pendulum-v1"), PENDULUM, 2)
    with pytest.raises(ValueError, match="sampler is 'gauss', expected one of"):
        make_robust_vec("dynrl/Pendulum-v0", PENDULUM, 2, sampler="gauss")
    wrong = make_robust_vec("dynrl/Pendulum-v0", PENDULUM, 2, sampler=lambda rng, k: np.zeros((k, 3)))
    with pytest.raises(ValueError, match=r"the sampler returned shape \(2, 3\), expected \(2, 2\)"):
        wrong.reset(seed=0)
    with pytest.raises(ValueError, match="unknown reset option 'phi'"):
        make_robust_vec("dynrl/Pendulum-v0", PENDULUM, 2).reset(options={"phi": 1})


def test_a_control_step_is_as_long_as_the_task_says() -> None:
    with pytest.raises(ValueError, match="would change how long a control step is"):
        make_robust_vec(
            "dynrl/InvertedPendulum-v0", UncertaintySet([Param("option.timestep", 1e-3, 3e-2)]), 2
        )


@pytest.mark.parametrize("name", ["dynrl/InvertedPendulum-v0", "dynrl/Pendulum-v0"])
def test_stored_lanes_go_on_exactly(name: str) -> None:
    uset = MASSES if "Inverted" in name else PENDULUM
    uset = UncertaintySet([*uset.params, Param("delay.action", 0, 2)])
    lanes, twin = (make_robust_vec(name, uset, 3, sampler="uniform") for _ in range(2))
    lanes.reset(seed=2)
    played = 5 * actions(lanes.single_action_space, 60, 3)
    for action in played[:25]:
        lanes.step(action)
    twin.load_state_dict(lanes.state_dict())
    for action in played[25:]:
        ours, theirs = lanes.step(action), twin.step(action)
        for k in range(4):
            np.testing.assert_array_equal(ours[k], theirs[k])
        np.testing.assert_array_equal(ours[4]["psi"], theirs[4]["psi"])


def test_third_party_lanes_cannot_be_stored() -> None:
    with pytest.raises(TypeError, match="a third-party environment has no state_dict"):
        make_robust_vec("Pendulum-v1", PENDULUM, 2).state_dict()


@pytest.mark.slow
def test_lanes_on_mjx_are_those_on_the_engine() -> None:
    from dynrl.physics.mjx_env import MjxEnv

    task = make_world("dynrl/InvertedPendulum-v0")
    compiled = make_robust_vec(MjxEnv(task, x64=True), MASSES, 3)
    engine = make_robust_vec(task, MASSES, 3)
    for lanes in (compiled, engine):
        lanes.reset(seed=0, options={"psi": PSI})
    # From one state: engines draw their starts from different generators.
    physics = compiled.lanes_env._lanes.episode.state.physics
    engine.lanes_env.set_state(np.array(physics.qpos), np.array(physics.qvel))
    for action in actions(engine.single_action_space, 8, 3):
        np.testing.assert_allclose(compiled.step(action)[0], engine.step(action)[0], atol=1e-6)


def test_nominal_values_are_those_of_the_environment_at_hand() -> None:
    uset = UncertaintySet([Param("body:torso.mass", 0.1, 20.0)])
    ant, hopper = uset.bind("dynrl/Ant-v0"), uset.bind("dynrl/Hopper-v0")
    assert ant.nominal == pytest.approx(0.3272, abs=1e-4) and hopper.nominal == pytest.approx(
        3.6652, abs=1e-4
    )
    assert make_robust_vec("dynrl/Hopper-v0", ant, 1).nominal == hopper.nominal
    given = UncertaintySet([Param("body:torso.mass", 0.1, 20.0, nominal=5.0)])
    assert make_robust_vec("dynrl/Hopper-v0", given, 1).nominal == 5.0


def test_members_of_an_ellipsoid_and_of_a_finite_set() -> None:
    params = [Param("attr:m", 0.5, 1.5), Param("attr:l", 0.7, 1.3)]
    round_set = make_robust_vec("dynrl/Pendulum-v0", Ellipsoid(params), 1)
    round_set.set_psi([1.5, 1.0])
    with pytest.raises(ValueError, match="is not in the Ellipsoid"):
        round_set.set_psi([1.5, 1.3])
    points = make_robust_vec("dynrl/Pendulum-v0", FiniteSet([[0.5, 0.7], [1.5, 1.3]], params), 1)
    points.set_psi([1.5, 1.3])
    points.set_psi([1.0, 1.0])  # nominal
    with pytest.raises(ValueError, match="is not in the FiniteSet"):
        points.set_psi([0.5, 1.3])


@pytest.mark.parametrize(
    "how", [copy.deepcopy, lambda lanes: pickle.loads(pickle.dumps(lanes))], ids=["copy", "pickle"]
)
@pytest.mark.parametrize(
    ("name", "uset"),
    [
        (
            "dynrl/Hopper-v0",
            UncertaintySet(
                [Param("geom:foot_geom.size[0]", 0.03, 0.1), Param("geom:floor.friction[0]", 0.1, 3.0)]
            ),
        ),
        ("dynrl/Pendulum-v0", PENDULUM),
    ],
)
def test_copies_of_lanes_go_on_alike_and_apart(how: Callable, name: str, uset: UncertaintySet) -> None:
    lanes = make_robust_vec(name, uset, 2, sampler="uniform")
    lanes.reset(seed=0)
    twin = how(lanes)
    for action in actions(lanes.single_action_space, 40, 2):
        ours, theirs = lanes.step(3 * action), twin.step(3 * action)
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[4]["psi"], theirs[4]["psi"])
    before = lanes.psi
    twin.set_psi(uset.corners()[0])
    np.testing.assert_array_equal(lanes.psi, before)
