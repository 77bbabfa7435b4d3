"""Each world is Gymnasium's own, step by step, also with other constants."""

import gymnasium as gym
import jax
import numpy as np
import pytest

from dynrl.envs.classic_control import (
    Acrobot,
    AcrobotState,
    CarState,
    CartPole,
    CartPoleState,
    ContinuousMountainCar,
    MountainCar,
    Pendulum,
    PendulumState,
)

STEPS = 1000
WORLDS = {
    "Pendulum-v1": (Pendulum, PendulumState, {"m": 0.7, "l": 1.3, "g": 9.0, "max_torque": 1.5, "dt": 0.04}),
    "CartPole-v1": (
        CartPole,
        CartPoleState,
        {"masspole": 0.3, "length": 0.8, "force_mag": 7.0, "gravity": 5.0},
    ),
    "MountainCar-v0": (MountainCar, CarState, {"force": 0.0015, "gravity": 0.002, "goal_position": 0.3}),
    "MountainCarContinuous-v0": (ContinuousMountainCar, CarState, {"power": 0.002, "max_speed": 0.05}),
    "Acrobot-v1": (
        Acrobot,
        AcrobotState,
        {"LINK_MASS_2": 1.7, "LINK_LENGTH_1": 0.8, "LINK_MOI": 0.6, "dt": 0.1},
    ),
}


def _theirs(name, constants):
    env = gym.make(name).unwrapped
    for attribute, value in constants.items():
        assert hasattr(env, attribute), f"Gymnasium has no {attribute}"
        setattr(env, attribute, value)
    if name == "CartPole-v1":  # these two go stale in Gymnasium's own
        env.total_mass, env.polemass_length = env.masspole + env.masscart, env.masspole * env.length
    return env


def _steps(name, constants, seed=0):
    """(state before, action, state after, observation, reward, terminated) of Gymnasium's own, in float64."""
    env, rng = _theirs(name, constants), np.random.default_rng(seed)
    env.reset(seed=seed)
    for _ in range(STEPS):
        before = np.array(env.state, np.float64)
        env.state = before.copy()
        action = (
            rng.integers(env.action_space.n) if "n" in vars(env.action_space) else rng.uniform(-2.5, 2.5, 1)
        )
        if name == "MountainCarContinuous-v0":
            action = action / 2.5
        shown = env.step(action)
        yield before, action, np.array(env.state, np.float64), *shown[:3]
        if shown[2] or rng.uniform() < 0.05:
            env.reset()
            if "MountainCar" in name and rng.uniform() < 0.7:
                env.state = np.array([rng.uniform(-1.2, 0.5), rng.uniform(-0.07, 0.07)])
            if name == "Acrobot-v1":
                env.state = rng.uniform(-1.0, 1.0, 4) * [np.pi, np.pi, 6.0, 12.0]
            if name == "CartPole-v1":
                env.steps_beyond_terminated = None


@pytest.mark.parametrize(
    "changed", [pytest.param(False, marks=pytest.mark.slow), True], ids=["default", "changed"]
)
@pytest.mark.parametrize("name", WORLDS)
def test_a_step_is_a_step_of_gymnasium(name, changed):
    cls, state_type, constants = WORLDS[name]
    constants = constants if changed else {}
    world = cls(x64=True)
    rows = list(_steps(name, constants))
    before, actions, after, observations, rewards, terminated = (
        np.array(part) for part in zip(*rows, strict=True)
    )
    with jax.enable_x64(True):
        params = world.default_params._replace(**constants)
        key = jax.random.key(0)

        @jax.jit
        @jax.vmap
        def step(state, action):
            state = state_type(*state)
            following = world.transition(state, action, key, params)
            return (
                jax.numpy.stack(following),
                world.observation(following, key, params),
                world.reward(state, action, following, key, params),
                world.terminal(following, key, params),
            )

        ours = jax.device_get(step(before, actions))
    if name == "MountainCarContinuous-v0":  # Gymnasium rounds its state
        np.testing.assert_array_equal(ours[0].astype(np.float32), after)
    else:
        np.testing.assert_allclose(ours[0], after, rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours[1], observations, rtol=2e-7, atol=1e-9)  # theirs are rounded to float32
    np.testing.assert_allclose(ours[2], rewards, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(ours[3], terminated)
    assert name.startswith("Pendulum") or 0 < terminated.sum() < STEPS


@pytest.mark.parametrize("name", WORLDS)
def test_defaults_and_spaces_are_gymnasiums(name):
    env = gym.make(name)
    world = WORLDS[name][0]()
    assert world.horizon == env.spec.max_episode_steps
    assert world.action_space == env.action_space
    assert world.observation_space == env.observation_space
    own = {"x_init", "y_init", "low", "high"}  # start bounds: reset options there
    own |= {"gravity"} if name in ("MountainCarContinuous-v0", "Acrobot-v1") else set()
    for constant in set(world.default_params._fields) - own:
        np.testing.assert_array_equal(
            getattr(world.default_params, constant), getattr(env.unwrapped, constant)
        )


@pytest.mark.parametrize("option", ["semi-implicit", "sutton_barto", "nips"])
def test_constructor_options_are_gymnasiums(option):
    name = "Acrobot-v1" if option == "nips" else "CartPole-v1"
    env = gym.make(name, **({"sutton_barto_reward": True} if option == "sutton_barto" else {})).unwrapped
    if option == "semi-implicit":
        env.kinematics_integrator, world = option, CartPole(x64=True, kinematics_integrator=option)
    elif option == "nips":
        env.book_or_nips, world = option, Acrobot(x64=True, book_or_nips=option)
    else:
        world = CartPole(x64=True, sutton_barto_reward=True)
    env.reset(seed=3)
    with jax.enable_x64(True):
        params, key = world.default_params, jax.random.key(0)
        step = jax.jit(lambda state, action: world.transition(state, action, key, params))
        state = (AcrobotState if option == "nips" else CartPoleState)(*np.array(env.state, np.float64))
        env.state = np.array(state)
        rewards = []
        for index in range(60):
            _, reward, terminated, _, _ = env.step(index % 2 if option != "sutton_barto" else 0)
            following = step(state, index % 2 if option != "sutton_barto" else 0)
            rewards.append(reward)
            assert float(world.reward(state, 0, following, key, params)) == reward
            state = following
            np.testing.assert_allclose(np.array(state), env.state, rtol=0, atol=1e-9)
            if terminated:
                break
    assert option != "sutton_barto" or (rewards[-1] == -1 and set(rewards[:-1]) == {0})
