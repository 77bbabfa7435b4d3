"""A small stochastic predator-prey model that keeps the contract of agent-based models, with known steady states."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynrl.abm.model import Intervention, Stepped


class Rates(NamedTuple):
    """`growth` and `capacity` of the sheep, `hunt` per wolf, `gain` per sheep, `death` of the wolves."""

    growth: Any
    capacity: Any
    hunt: Any
    gain: Any
    death: Any


@dataclass(frozen=True)
class Meadow:
    """Lotka-Volterra with a carrying capacity and demographic noise of the size `noise * sqrt(count)`.

    Under a constant small command (u_s, u_w) the noise-free steady state is near sheep = (death + u_w) / gain and
    wolves = (growth (1 - sheep / capacity) - u_s) / hunt.
    """

    noise: float = 0.3
    macro_names = ("wolves", "sheep")
    macro_scale = (50.0, 100.0)
    control_names = ("sheep", "wolves")
    control_low = (0.0, 0.0)
    control_high = (0.2, 0.2)

    def default_params(self) -> Rates:
        return Rates(*(np.float32(value) for value in (0.2, 200.0, 0.002, 0.001, 0.1)))

    def init(self, key: Any, params: Rates) -> Any:
        return jnp.round(jnp.array([40.0, 90.0]) * jax.random.uniform(key, (2,), minval=0.9, maxval=1.1))

    def macro(self, state: Any) -> Any:
        return state

    def edited(self, state: Any, macro: Any, params: Rates, key: Any) -> Any:
        return jnp.maximum(jnp.round(macro), 0.0)

    def step(self, state: Any, u: Any, key: Any, params: Rates) -> Stepped:
        u = jnp.zeros(2) if u is None else u
        dose = jnp.clip(u[::-1], 0.0, 1.0) * state
        wolves, sheep = state - dose
        r = params
        change = jnp.stack(
            [
                wolves * (r.gain * sheep - r.death),
                sheep * r.growth * (1 - sheep / r.capacity) - r.hunt * sheep * wolves,
            ]
        )
        left = state - dose
        noise = self.noise * jnp.sqrt(left) * jax.random.normal(key, (2,))
        after = jnp.where(left < 1, 0.0, jnp.maximum(left + change + noise, 0.0))
        done = Intervention(dose[::-1], jnp.zeros((), bool))
        return Stepped(after, after, done, jnp.zeros((), jnp.int32))


@pytest.fixture(scope="session")
def meadow() -> Meadow:
    return Meadow()


@pytest.fixture(scope="session")
def quiet() -> Meadow:
    return Meadow(noise=0.0)
