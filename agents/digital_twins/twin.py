"""What an ensemble of twins consists of: runs of the agent-based model, or of a metamodel that knows patients."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp

from dynrl.abm.model import AgentBasedModel
from dynrl.agents.digital_twins.metamodel import Metamodel
from dynrl.agents.digital_twins.patients import PatientLaw

__all__ = ["AgentTwin", "MetamodelTwin", "Twin"]

Array = Any


class Twin(Protocol):
    """M simulated copies of a patient: `context` `[M, c]` are log constants over defaults, states are `[M, ...]`."""

    def start(self, context: Array, key: Array) -> Any:
        """First states."""
        ...

    def advance(self, state: Any, context: Array, control: Array, key: Array) -> Any:
        """States after `len(control)` steps under the commands `control` `[steps, m]`."""
        ...

    def macro(self, state: Any) -> Array:
        """Macrostates `[M, n]`."""
        ...

    def edited(self, state: Any, macro: Array, context: Array, key: Array) -> Any:
        """States changed as little as needed to have the macrostates `[M, n]` and belong to the contexts."""
        ...


@dataclass(frozen=True)
class AgentTwin:
    """Copies of the agent-based model itself.

    Attributes:
        model: what is copied.
        law: which constants the context stands for.
    """

    model: AgentBasedModel
    law: PatientLaw

    def start(self, context: Array, key: Array) -> Any:
        return _start(self, jnp.asarray(context), key)

    def advance(self, state: Any, context: Array, control: Array, key: Array) -> Any:
        return _advance(self, state, jnp.asarray(context), jnp.asarray(control), key)

    def macro(self, state: Any) -> Array:
        return jax.vmap(self.model.macro)(state)

    def edited(self, state: Any, macro: Array, context: Array, key: Array) -> Any:
        return _edited(self, state, jnp.asarray(macro), jnp.asarray(context), key)


@partial(jax.jit, static_argnums=0)
def _start(twin: AgentTwin, context: Array, key: Array) -> Any:
    keys = jax.random.split(key, len(context))
    return jax.vmap(lambda c, k: twin.model.init(k, twin.law.params(twin.model, c)))(context, keys)


@partial(jax.jit, static_argnums=0)
def _advance(twin: AgentTwin, state: Any, context: Array, control: Array, key: Array) -> Any:
    def run(state: Any, context: Array, key: Array) -> Any:
        params = twin.law.params(twin.model, context)

        def step(state: Any, given: tuple[Array, Array]) -> tuple[Any, None]:
            u, number = given
            return twin.model.step(state, u, jax.random.fold_in(key, number), params).state, None

        return jax.lax.scan(step, state, (control, jnp.arange(len(control))))[0]

    return jax.vmap(run)(state, context, jax.random.split(key, len(context)))


@partial(jax.jit, static_argnums=0)
def _edited(twin: AgentTwin, state: Any, macro: Array, context: Array, key: Array) -> Any:
    def edit(state: Any, macro: Array, context: Array, key: Array) -> Any:
        return twin.model.edited(state, macro, twin.law.params(twin.model, context), key)

    return jax.vmap(edit)(state, macro, context, jax.random.split(key, len(context)))


@dataclass(frozen=True, eq=False)
class MetamodelTwin:
    """Copies of a metamodel: thousands of times faster, as good as the metamodel knows patients.

    Attributes:
        metamodel: fitted with contexts; random if it is a `StochasticMap`.
        first: macrostate that patients start at `[n]`.
    """

    metamodel: Metamodel
    first: Array

    def start(self, context: Array, key: Array) -> Any:
        x = self.metamodel.scaled(jnp.asarray(self.first, jnp.float32))
        return jax.vmap(lambda c: self.metamodel.start(x, c))(jnp.asarray(context))

    def advance(self, state: Any, context: Array, control: Array, key: Array) -> Any:
        control = jnp.asarray(control)[:: self.metamodel.stride]
        weights, rest = eqx.partition(self.metamodel, eqx.is_inexact_array)
        return _roll(rest, weights, state, jnp.asarray(context), control, key)

    def macro(self, state: Any) -> Array:
        return self.metamodel.macro(state)

    def edited(self, state: Any, macro: Array, context: Array, key: Array) -> Any:
        x = self.metamodel.scaled(jnp.asarray(macro, jnp.float32))
        return state.at[:, : x.shape[1]].set(x)


@partial(jax.jit, static_argnums=0)
def _roll(rest: Any, weights: Any, state: Any, context: Array, control: Array, key: Array) -> Any:
    metamodel = eqx.combine(weights, rest)

    def run(z: Array, context: Array, key: Array) -> Array:
        def step(z: Array, given: tuple[Array, Array]) -> tuple[Array, None]:
            u, number = given
            return metamodel.sample(z, u, context, jax.random.fold_in(key, number)), None

        return jax.lax.scan(step, z, (control, jnp.arange(len(control))))[0]

    return jax.vmap(run)(state, context, jax.random.split(key, len(context)))
