"""Metamodels of given form: power laws (S-system, GMA), and neural rates behind a stoichiometry (BINODE)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray
from numpy.typing import ArrayLike

from dynrl.agents.digital_twins.metamodel import Metamodel
from dynrl.agents.digital_twins.network import Network
from dynrl.dynamics.solvers import Rk4

__all__ = ["Binode", "PowerLaw"]

Array = Any

LEAST, EXPONENTS = 1e-6, (-2.0, 3.0)


class PowerLaw(Metamodel):
    """`x_i' = Σ_k α_ik Π_j x_j^{g_ikj} - Σ_k β_ik Π_j x_j^{h_ikj} - u_i x_i` per step of the agent-based model.

    One product of each sign is an S-system (Savageau, 1969), several are a generalised mass-action form. α and β are
    fitted as logarithms, exponents are clamped to [-2, 3] and x is floored at 1e-6 inside the powers. All terms of a
    component that is at the floor vanish, so that an extinct species stays so.

    Attributes:
        log_rates: `[2, n, terms]`, of gains and losses.
        exponents: `[2, n, terms, n]`.
    """

    log_rates: Array
    exponents: Array
    scale: tuple[float, ...] = eqx.field(static=True)
    control_scale: tuple[float, ...] = eqx.field(static=True)
    stride: int = eqx.field(static=True)
    removes: tuple[int, ...] = eqx.field(static=True)
    solver: Rk4 = eqx.field(static=True)

    def __init__(
        self,
        scale: tuple[float, ...],
        control_scale: tuple[float, ...],
        removes: tuple[int, ...],
        stride: int = 10,
        *,
        key: PRNGKeyArray,
        terms: int = 1,
        solver: Rk4 | None = None,
    ) -> None:
        """Makes an unfitted form in which gains and losses of each component are in balance.

        Args:
            scale, control_scale, stride: see `Metamodel`.
            removes: `[m]`, index of the component of which each channel removes a share per step.
            key: of the first exponents, which are near those of first-order kinetics.
            terms: products per sign.
            solver: per stride; four Runge–Kutta steps by default.
        """
        n = len(scale)
        own = jnp.broadcast_to(jnp.eye(n)[None, :, None], (2, n, terms, n))
        self.exponents = own + 0.1 * jax.random.normal(key, (2, n, terms, n))
        self.log_rates = jnp.full((2, n, terms), jnp.log(0.03 / terms))
        self.scale, self.control_scale, self.stride = tuple(scale), tuple(control_scale), stride
        self.removes, self.solver = tuple(removes), Rk4(4) if solver is None else solver

    def step(self, z: Array, u: Array, context: Array) -> Array:
        _, x = self.solver(
            lambda t, x, given: self.slope(x, *given), z, (self.log_rates, u), float(self.stride)
        )
        return jnp.clip(x[-1], 0.0, 1e2)

    def slope(self, x: Array, log_rates: Array, u: Array) -> Array:
        """dx/dt per step `[n]`."""
        exponents = jnp.clip(self.exponents, *EXPONENTS)
        logs = jnp.log(jnp.maximum(x, LEAST))
        # A term of size e^5 per step would move x a hundredfold in one step: only a runaway fit gets there.
        terms = jnp.exp(jnp.minimum(log_rates + exponents @ logs, 5.0)).sum(-1)
        natural = jnp.where(x > LEAST, terms[0] - terms[1], 0.0)
        loss = jnp.zeros_like(x).at[jnp.asarray(self.removes)].add(u)
        return natural - loss * x


class Binode(Metamodel):
    """`x' = S r`, rates `r_m = reactants_m · softplus(N_m(x_m, u))`: who turns into what is known, how fast is learnt.

    Each rate is multiplied by the components that it consumes, so that nothing is taken from what is not there.
    (Biochemically informed neural ODEs, Laubenbacher's group, 2025.)

    Attributes:
        networks: one per rate.
        stoichiometry: S `[n, rates]` in scaled units; fixed.
        reactants: per rate, indices of the components that it is proportional to.
    """

    networks: tuple[Network, ...]
    stoichiometry: tuple[tuple[float, ...], ...] = eqx.field(static=True)
    reactants: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    scale: tuple[float, ...] = eqx.field(static=True)
    control_scale: tuple[float, ...] = eqx.field(static=True)
    stride: int = eqx.field(static=True)
    solver: Rk4 = eqx.field(static=True)

    def __init__(
        self,
        stoichiometry: ArrayLike,
        reactants: Sequence[Sequence[int]],
        scale: tuple[float, ...],
        control_scale: tuple[float, ...],
        stride: int = 10,
        *,
        key: PRNGKeyArray,
        width: int = 12,
        solver: Rk4 | None = None,
    ) -> None:
        """Makes an unfitted form.

        Args:
            stoichiometry: S `[n, rates]`: what one unit of each rate does to each component.
            reactants: per rate, the components that it consumes or that carry it out; its network sees only these and
                the command.
            scale, control_scale, stride: see `Metamodel`.
            key: of the first weights.
            width: of each network's hidden layer.
            solver: per stride; four Runge–Kutta steps by default.

        Raises:
            ValueError: S does not have a row per component and a column per rate.
        """
        s = np.asarray(stoichiometry, float)
        if s.shape != (len(scale), len(reactants)):
            raise ValueError(f"stoichiometry has shape {s.shape}, expected {(len(scale), len(reactants))}")
        self.stoichiometry = tuple(tuple(float(value) for value in row) for row in s)
        self.reactants = tuple(tuple(rate) for rate in reactants)
        keys = jax.random.split(key, len(reactants))
        self.networks = tuple(
            Network([len(rate) + len(control_scale), width, 1], key, last_scale=0.1, last_bias=-3.0)
            for key, rate in zip(keys, self.reactants, strict=True)
        )
        self.scale, self.control_scale, self.stride = tuple(scale), tuple(control_scale), stride
        self.solver = Rk4(4) if solver is None else solver

    def step(self, z: Array, u: Array, context: Array) -> Array:
        _, x = self.solver(lambda t, x, u: self.slope(x, u), z, u, float(self.stride))
        return jnp.clip(x[-1], 0.0, 1e2)

    def slope(self, x: Array, u: Array) -> Array:
        """dx/dt per step `[n]`."""
        return jnp.asarray(self.stoichiometry) @ self.rates(jnp.maximum(x, 0.0), u)

    def rates(self, x: Array, u: Array) -> Array:
        """r `[rates]`, none negative."""
        dose = u / jnp.asarray(self.control_scale)
        found = []
        for network, indices in zip(self.networks, self.reactants, strict=True):
            parts = x[jnp.asarray(indices, int)]
            found.append(jnp.prod(parts) * jax.nn.softplus(network(jnp.concatenate([parts, dose]))[0]))
        return jnp.stack(found)
