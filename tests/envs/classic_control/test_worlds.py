"""Start states, reset options, refusals and pictures."""

import jax
import numpy as np
import pytest
from scipy.stats import kstest

from dynrl.envs.classic_control import Acrobot, CartPole, MountainCar, Pendulum
from dynrl.faces.gymnasium_env import GymnasiumEnv


def test_start_states_are_uniform():
    """Kolmogorov-Smirnov on 4000 draws, false alarm 1e-3 for each of seven numbers."""
    keys = jax.random.split(jax.random.key(7), 4000)
    for world, low, high in (
        (Pendulum(), (-np.pi, -1.0), (np.pi, 1.0)),
        (CartPole(), (-0.05,) * 4, (0.05,) * 4),
        (MountainCar(), (-0.6,), (-0.4,)),
    ):
        states = jax.vmap(world.initial, in_axes=(0, None))(keys, world.default_params)
        for values, least, most in zip(states, low, high, strict=False):
            assert kstest(np.asarray(values), "uniform", (least, most - least)).pvalue > 1e-3


def test_reset_options_bound_the_start():
    env = GymnasiumEnv(Pendulum())
    observation, _ = env.reset(seed=0, options={"x_init": 0.0, "y_init": 0.0})
    np.testing.assert_array_equal(observation, [1.0, 0.0, 0.0])
    env = GymnasiumEnv(CartPole())
    observation, _ = env.reset(seed=0, options={"low": 0.02, "high": 0.02})
    np.testing.assert_allclose(observation, 0.02, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speed": 1.0}, "knows no reset option 'speed'; it takes 'low' and 'high'"),
        ({"low": "a"}, "reset option 'low' is 'a', expected a finite number"),
        ({"high": np.nan}, "expected a finite number"),
        ({"low": 1.0}, "'low' is 1.0, above 'high', which is 0.05"),
    ],
)
def test_wrong_reset_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GymnasiumEnv(CartPole()).reset(options=options)


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="horizon is 0"):
        Pendulum(horizon=0)
    with pytest.raises(ValueError, match="expected 'euler' or 'semi-implicit'"):
        CartPole(kinematics_integrator="rk4")
    with pytest.raises(ValueError, match="expected 'book' or 'nips'"):
        Acrobot(book_or_nips="web")


def test_pictures_show_the_state():
    """The rod hangs down or stands up; the cart's picture moves by as many pixels as the cart does."""
    world = Pendulum()
    params = world.default_params
    up = world.render_image(world.initial(jax.random.key(0), params)._replace(theta=0.0), params)
    down = world.render_image(world.initial(jax.random.key(0), params)._replace(theta=np.pi), params)
    assert up.shape == (300, 300, 3) and up.dtype == np.uint8
    np.testing.assert_allclose(up[::-1].astype(int), down, atol=1)
    assert (up[:150] < 250).sum() > 4 * (up[150:] < 250).sum()
    cart = CartPole()
    start = cart.initial(jax.random.key(0), cart.default_params)
    pictures = [
        cart.render_image(start._replace(x=x, theta=0.0), cart.default_params) for x in (0.0, 0.16)
    ]  # 0.016 m a pixel
    np.testing.assert_allclose(pictures[0][:170, 50:240].astype(int), pictures[1][:170, 60:250], atol=1)
