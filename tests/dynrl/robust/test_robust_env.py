"""RobustEnv and what goes around it, on Gymnasium's robots, classic control, and our own environments."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from dynrl.robust import (
    ActionDelay,
    ActionRobust,
    DomainRandomization,
    DynamicAdversary,
    HistoryObservation,
    Param,
    ParamObservation,
    RateLimited,
    RobustEnv,
    UncertaintySet,
)
from dynrl.robust.adversary import mixed_actions
from dynrl.robust.binding import model_of

MASSES = [Param("body:pole.mass", 1.0, 31.0), Param("body:cart.mass", 1.0, 11.0)]
PENDULUM = [Param("attr:m", 0.5, 1.5), Param("attr:l", 0.7, 1.3)]
DELAY = [Param("delay.action", 0, 3)]


def pole(params: list[Param] = MASSES, **settings: bool) -> RobustEnv:
    return RobustEnv(gymnasium.make("InvertedPendulum-v5"), UncertaintySet(params), **settings)


def played(env: gymnasium.Env, steps: int = 20, seed: int = 0, **reset: object) -> np.ndarray:
    """Observations `[steps + 1, n]` of one start under the same actions."""
    observation, _ = env.reset(seed=seed, **reset)  # type: ignore[arg-type]
    env.action_space.seed(1)
    rows = [observation]
    for _ in range(steps):
        rows.append(env.step(env.action_space.sample())[0])
    return np.stack(rows)


def test_without_options_it_is_the_environment_itself() -> None:
    bare = played(gymnasium.make("InvertedPendulum-v5"))
    np.testing.assert_array_equal(played(pole()), bare)


def test_psi_is_the_physics_that_is_played() -> None:
    env = pole()
    heavy = played(env, options={"psi": [20.0, 5.0]})
    model = model_of(env.unwrapped)
    assert model is not None
    np.testing.assert_array_equal(model.body_mass[1:], [5.0, 20.0])
    assert np.abs(heavy - played(gymnasium.make("InvertedPendulum-v5"))).max() > 1e-3
    # The reset that follows brings the nominal physics back, bit for bit.
    np.testing.assert_array_equal(played(env), played(gymnasium.make("InvertedPendulum-v5")))


@pytest.mark.parametrize(
    ("ours", "theirs", "params", "psi"),
    [
        ("dynrl/InvertedPendulum-v0", "InvertedPendulum-v5", MASSES, [20.0, 5.0]),
        (
            "dynrl/Hopper-v0",
            "Hopper-v5",
            [
                Param("geom:foot_geom.size[0]", 0.03, 0.1),
                Param("geom:floor.friction[0]", 0.1, 3.0),
                Param("body:thigh.mass", 0.1, 6.0),
                Param("joint:*.damping", 0.5, 2.0, mode="scale"),
                Param("actuator:*.gain", 0.5, 2.0, mode="scale"),
                Param("option.gravity[2]", -12.0, -7.0),
                Param("force:foot[0,2]", -3.0, 3.0),
            ],
            [0.04, 0.5, 2.0, 1.5, 0.8, -8.0, 1.0, -2.0],
        ),
        (
            # What acts from outside is part of what the ant observes.
            "dynrl/Ant-v0",
            "Ant-v5",
            [Param("force:torso[0,1]", -3.0, 3.0), Param("body:torso.mass", 0.1, 3.0)],
            [2.0, -1.0, 1.0],
        ),
    ],
)
def test_ours_and_gymnasiums_play_the_same_physics(ours: str, theirs: str, params: list, psi: list) -> None:
    uset = UncertaintySet(params)
    ourselves, they = RobustEnv(gymnasium.make(ours), uset), RobustEnv(gymnasium.make(theirs), uset)
    for env in (ourselves, they):
        env.reset(seed=0, options={"psi": psi})
    start = they.unwrapped.data.qpos.copy(), they.unwrapped.data.qvel.copy()
    they.unwrapped.set_state(*start)
    ourselves.unwrapped.set_state(*start)
    actions = np.random.default_rng(0).uniform(-0.05, 0.05, (10, *they.action_space.shape)).astype(np.float32)
    for action in actions:
        np.testing.assert_allclose(ourselves.step(action)[0], they.step(action)[0], atol=1e-9)


def test_sticky_parameters_stay() -> None:
    env = pole(sticky=True)
    env.set_psi([20.0, 5.0])
    assert env.reset()[1]["psi"].tolist() == [20.0, 5.0]
    assert pole().reset()[1]["psi"].tolist() == pole().nominal.tolist()


def test_parameters_may_change_in_an_episode_and_leave_the_state_alone() -> None:
    env = pole()
    env.reset(seed=0)
    before = env.unwrapped.data.qpos.copy()
    env.set_psi({"body:pole.mass": 3.0, "body:cart.mass": 4.0})
    np.testing.assert_array_equal(env.unwrapped.data.qpos, before)
    info = env.step(env.action_space.sample())[4]
    assert info["psi"].tolist() == [3.0, 4.0]
    info["psi"][:] = 0  # a copy
    assert env.psi.tolist() == [3.0, 4.0]


@pytest.mark.parametrize(
    ("psi", "message"),
    [
        ([1.0], r"psi has shape \(1,\), expected \(2,\)"),
        ([0.5, 5.0], r"'body:pole.mass' is 0.5 \(row 0\), outside \[1, 31\]"),
        ({"body:pole.mass": 2.0}, "psi lacks 'body:cart.mass'; RobustEnv\\(partial=True\\)"),
        ({"pole": 2.0}, "psi names 'pole', expected some of"),
        ([np.nan, 5.0], "outside"),
        ("heavy", "psi is 'heavy', expected numbers for"),
    ],
)
def test_wrong_parameters_are_named_and_change_nothing(psi: object, message: str) -> None:
    env = pole()
    with pytest.raises(ValueError, match=message):
        env.reset(options={"psi": psi})
    np.testing.assert_array_equal(env.psi, env.nominal)


def test_clip_and_partial() -> None:
    env = pole(clip=True, partial=True)
    _, info = env.reset(options={"psi": {"body:pole.mass": 99.0}})
    np.testing.assert_array_equal(info["psi"], [31.0, env.nominal[1]])
    assert info["psi_clipped"]
    assert not env.reset(options={"psi": [2.0, 2.0]})[1]["psi_clipped"]


def test_a_nominal_value_outside_its_bounds_is_allowed_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="nominal value 10.472 is outside"):
        env = RobustEnv(
            gymnasium.make("InvertedPendulum-v5"), UncertaintySet([Param("body:cart.mass", 1.0, 9.0)])
        )
    assert env.reset()[1]["psi"] == pytest.approx(10.4719755)


def test_copies_keep_the_parameters_and_stay_apart() -> None:
    env = pole(sticky=True)
    env.set_psi([20.0, 5.0])
    for twin in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        np.testing.assert_array_equal(twin.psi, [20.0, 5.0])
        np.testing.assert_array_equal(twin.unwrapped.model.body_mass[1:], [5.0, 20.0])
        twin.set_psi([2.0, 2.0])
        np.testing.assert_array_equal(env.unwrapped.model.body_mass[1:], [5.0, 20.0])
        np.testing.assert_array_equal(played(twin, options={"psi": [20.0, 5.0]}), played(env))


def test_the_spec_makes_the_same_environment_again() -> None:
    env = DomainRandomization(pole())
    again = gymnasium.make(env.spec)
    assert isinstance(again, DomainRandomization)
    np.testing.assert_array_equal(again.reset(seed=3)[1]["psi"], env.reset(seed=3)[1]["psi"])


def test_forces_survive_resets_and_push() -> None:
    env = pole([Param("force:pole[0,2]", -3.0, 3.0)], sticky=True)
    env.set_psi([2.0, -1.0])
    env.reset(seed=0)
    np.testing.assert_array_equal(env.unwrapped.data.xfrc_applied[2], [2.0, 0, -1.0, 0, 0, 0])
    # Newton: the push accelerates the centre of mass of cart and pole; the rail takes the vertical part.
    plain = pole([Param("force:pole[0,2]", -3.0, 3.0)])
    plain.reset(seed=0)
    still = np.zeros(1, np.float32)
    assert env.step(still)[0][2] > plain.step(still)[0][2]


def test_geom_sizes_change_between_episodes_only() -> None:
    env = pole([Param("geom:cpole.size[0]", 0.03, 0.08)])
    env.reset(options={"psi": [0.06]})
    assert env.unwrapped.model.geom("cpole").size[0] == 0.06
    assert env.unwrapped.model.body("pole").mass[0] > 5.1
    with pytest.raises(ValueError, match="cannot change in a running episode"):
        env.set_psi([0.05])
    env.reset(options={"psi": [0.05]})


def test_a_simulation_that_diverges_ends_its_episode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo logs its warnings to a file where it stands
    env = RobustEnv(
        gymnasium.make("InvertedPendulum-v5"), UncertaintySet([Param("option.gravity[0]", 0.0, 1e12)])
    )
    env.reset(seed=0, options={"psi": [1e12]})
    observation, reward, terminated, _, info = env.step(np.zeros(1, np.float32))
    assert terminated and info["diverged"] and reward == 0 and np.isfinite(observation).all()
    observation, _ = env.reset(seed=0)
    np.testing.assert_array_equal(observation, played(gymnasium.make("InvertedPendulum-v5"), 0)[0])


def test_classic_control_by_attribute() -> None:
    env = RobustEnv(gymnasium.make("Pendulum-v1"), UncertaintySet(PENDULUM))
    np.testing.assert_array_equal(env.nominal, [1.0, 1.0])
    env.reset(seed=0, options={"psi": [1.4, 0.8]})
    assert (env.unwrapped.m, env.unwrapped.l) == (1.4, 0.8)
    env.reset()
    assert (env.unwrapped.m, env.unwrapped.l) == (1.0, 1.0)


def test_what_cartpole_computes_once_follows() -> None:
    env = RobustEnv(gymnasium.make("CartPole-v1"), UncertaintySet([Param("attr:masspole", 0.05, 1.0)]))
    env.reset(options={"psi": [0.6]})
    assert env.unwrapped.total_mass == pytest.approx(1.6)
    assert env.unwrapped.polemass_length == pytest.approx(0.3)


def test_our_functional_worlds_by_leaf() -> None:
    env = RobustEnv(gymnasium.make("dynrl/Pendulum-v0"), UncertaintySet(PENDULUM))
    heavy = played(env, options={"psi": [1.4, 0.8]})
    assert float(env.unwrapped.params.l) == pytest.approx(0.8)
    assert np.abs(heavy - played(env)).max() > 0.1
    np.testing.assert_array_equal(played(env), played(gymnasium.make("dynrl/Pendulum-v0")))


def test_attributes_that_are_not_there() -> None:
    with pytest.raises(ValueError, match="PendulumEnv has no number 'mas'"):
        RobustEnv(gymnasium.make("Pendulum-v1"), UncertaintySet([Param("attr:mas", 0.5, 1.5)]))
    with pytest.raises(ValueError, match="have no leaf 'lenght'"):
        RobustEnv(gymnasium.make("dynrl/Pendulum-v0"), UncertaintySet([Param("attr:lenght", 0.5, 1.5)]))
    with pytest.raises(ValueError, match="this environment has none"):
        RobustEnv(gymnasium.make("Pendulum-v1"), UncertaintySet(MASSES))


class Echo(gymnasium.Env):
    """Observes the action that reached it."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float64)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float64)

    def reset(self, *, seed=None, options=None):  # type: ignore[no-untyped-def]
        super().reset(seed=seed)
        return np.zeros(1), {}

    def step(self, action):  # type: ignore[no-untyped-def]
        return np.array(action, float), 0.0, False, False, {}


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_delayed_actions_arrive_delay_steps_late(delay: int) -> None:
    sent = np.linspace(0.1, 0.9, 9)
    expected = np.concatenate([np.zeros(delay), sent])[:9]
    for env in (ActionDelay(Echo(), delay), RobustEnv(Echo(), UncertaintySet(DELAY), sticky=True)):
        if isinstance(env, RobustEnv):
            env.set_psi([delay])
        for _ in range(2):  # nothing is on its way after a reset
            env.reset()
            np.testing.assert_array_equal([env.step(np.array([a]))[0][0] for a in sent], expected)


def test_randomisation_follows_the_seed_and_no_global_generator() -> None:
    env = DomainRandomization(pole())
    np.random.seed(0)  # noqa: NPY002 (the global generator is what must not matter)
    first = [env.reset(seed=5)[1]["psi"], env.reset()[1]["psi"]]
    np.random.seed(1)  # noqa: NPY002
    again = [env.reset(seed=5)[1]["psi"], env.reset()[1]["psi"]]
    np.testing.assert_array_equal(first, again)
    assert (first[0] != first[1]).all()
    assert env.reset(options={"psi": [2.0, 3.0]})[1]["psi"].tolist() == [2.0, 3.0]
    fixed = DomainRandomization(pole(), sampler=lambda rng, n: np.full((n, 2), 7.0))
    assert fixed.reset(seed=0)[1]["psi"].tolist() == [7.0, 7.0]


def test_the_oracle_sees_psi_in_the_unit_cube() -> None:
    env = ParamObservation(pole())
    observation, _ = env.reset(options={"psi": [16.0, 11.0]})
    np.testing.assert_allclose(observation[-2:], [0.5, 1.0])
    assert env.observation_space.contains(observation) and observation.shape == (6,)


def test_history_holds_the_last_pairs_newest_first() -> None:
    env = HistoryObservation(Echo(), 2)
    assert env.reset()[0].tolist() == [0, 0, 0, 0, 0]
    env.step(np.array([0.1]))
    env.step(np.array([0.2]))
    observation = env.step(np.array([0.3]))[0]
    # now; (observation, action) of one and of two steps ago
    assert observation.tolist() == [0.3, 0.2, 0.3, 0.1, 0.2]
    assert env.observation_space.contains(observation)


def test_the_adversary_owns_the_whole_box_at_every_step() -> None:
    env = DynamicAdversary(pole([Param("force:pole[0,2]", -3.0, 3.0)]))
    env.reset(seed=0)
    still = np.zeros(1, np.float32)
    for move, force in (([-1, 1], [-3, 3]), ([0, 0.5], [0, 1.5])):
        _, reward, _, _, info = env.step({"agent": still, "adversary": np.array(move, np.float32)})
        np.testing.assert_allclose(env.unwrapped.data.xfrc_applied[2, [0, 2]], force)
        assert info["adversary_reward"] == -reward
    with pytest.raises(ValueError, match="expected 2 numbers in \\[-1, 1\\]"):
        env.step({"agent": still, "adversary": np.array([2.0, 0.0])})
    assert env.action_space.contains(env.action_space.sample())


def test_an_adversary_with_a_rate_moves_a_little() -> None:
    slow = RateLimited(UncertaintySet([Param("attr:l", 0.7, 1.7)]), 0.05)
    env = DynamicAdversary(RobustEnv(gymnasium.make("Pendulum-v1"), slow))
    env.reset(seed=0)
    for k in range(3):
        info = env.step({"agent": np.zeros(1, np.float32), "adversary": np.ones(1, np.float32)})[4]
        assert info["psi"][0] == pytest.approx(1.0 + 0.05 * (k + 1))


def test_shares_in_the_action() -> None:
    agent, adversary = np.full((4000, 2), 0.5), np.full((4000, 2), -1.0)
    np.testing.assert_allclose(mixed_actions(agent, adversary, 0.1, "noisy"), 0.35)
    taken = mixed_actions(agent, adversary, 0.1, "probabilistic", np.random.default_rng(0))
    assert ((taken == -1).all(1) | (taken == 0.5).all(1)).all()
    # Binomial, 4 standard deviations.
    assert abs((taken[:, 0] == -1).mean() - 0.1) < 4 * np.sqrt(0.09 / 4000)
    env = ActionRobust(Echo(), 0.2)
    env.reset(seed=0)
    assert env.step({"agent": np.array([1.0]), "adversary": np.array([-1.0])})[0] == pytest.approx(0.6)


def test_vector_environments_are_for_lanes() -> None:
    with pytest.raises(TypeError, match="use make_robust_vec"):
        RobustEnv(gymnasium.make_vec("Pendulum-v1", 2), UncertaintySet(PENDULUM))  # type: ignore[arg-type]


def test_wrappers_that_need_parameters_say_so() -> None:
    for wrapper in (DomainRandomization, ParamObservation, DynamicAdversary):
        with pytest.raises(ValueError, match="wrap it first, RobustEnv"):
            wrapper(gymnasium.make("Pendulum-v1"))
