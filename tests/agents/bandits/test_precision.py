"""Why all statistics are double precision: the same functions in single precision drift to a visibly wrong h."""

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.agents.bandits.ridge import ridge_init, ridge_refresh, ridge_update

H = np.array([0.5625, 0.4937, 0.1111])
ACTIONS = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.5, 1.0]])
SAMPLES, BLOCK = 2**19, 8192


def errors(dtype: type) -> np.ndarray:
    """Error of the value of the action that is played nearly always, for 4 streams of noise (σ = 0.01)."""
    with jax.enable_x64(dtype is np.float64):
        state = jax.tree.map(
            lambda leaf: jnp.broadcast_to(jnp.asarray(leaf, dtype), (4, *leaf.shape)), ridge_init(3, 1.0)
        )
        actions, h = jnp.asarray(ACTIONS, dtype), jnp.asarray(H, dtype)

        @jax.jit
        def block(state, number, key):
            times = number * BLOCK + jnp.arange(BLOCK)

            def body(state, given):
                t, noise = given
                u = actions[jnp.where(t % 100 < 2, 1 + t % 100, 0)]
                return ridge_update(state, u, (h * u).sum() + 0.01 * noise), None

            state, _ = jax.lax.scan(body, state, (times, jax.random.normal(key, (BLOCK,), dtype)))
            return ridge_refresh(state)

        for number in range(SAMPLES // BLOCK):
            keys = jax.vmap(jax.random.fold_in, (0, None))(jax.random.split(jax.random.key(0), 4), number)
            state = jax.vmap(block, (0, None, 0))(state, number, keys)
        assert state.h_hat.dtype == dtype
        return np.asarray(state.h_hat, np.float64) @ ACTIONS[0] - H @ ACTIONS[0]


def test_single_precision_is_visibly_biased_after_half_a_million_samples() -> None:
    standard_error = 0.01 / np.sqrt(SAMPLES)
    double, single = errors(np.float64), errors(np.float32)
    assert np.abs(double - double.mean()).max() < 5 * standard_error
    assert np.abs(double).max() < 6 * standard_error + 2.0 / SAMPLES  # noise, and the pull of the ridge
    assert np.abs(single).min() > 10 * standard_error and len(np.unique(np.sign(single))) == 1
