"""What every metamodel is: a differentiable map of the macrostate over a stride of the agent-based model's steps."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

__all__ = ["Metamodel", "roll_out"]

Array = Any


class Metamodel(eqx.Module):
    """`z_{k+1} = step(z_k, u_k, context)`: a deterministic stand-in for `stride` steps of an agent-based model.

    `z` begins with the macrostate, each component divided by its `scale`; hidden components may follow (grass that
    regrows, energy reserves). A component that counts a species must stay at zero once it is there.

    Attributes:
        scale: macrostate units per unit of x `[n]`.
        control_scale: command that enters as 1 `[m]`, usually the upper bound.
        stride: steps of the agent-based model per step.
    """

    scale: eqx.AbstractVar[tuple[float, ...]]
    control_scale: eqx.AbstractVar[tuple[float, ...]]
    stride: eqx.AbstractVar[int]

    def start(self, x: Array, context: Array) -> Array:
        """The state `[n + hidden]` that an observed macrostate x `[n]` (scaled) suggests. Default: x itself."""
        return x

    def step(self, z: Array, u: Array, context: Array) -> Array:
        """The state after a stride under the command `u` `[m]`, in the model's own units."""
        raise NotImplementedError

    def sample(self, z: Array, u: Array, context: Array, key: Array) -> Array:
        """A random state after a stride. Default: `step`, without noise."""
        return self.step(z, u, context)

    def macro(self, z: Array) -> Array:
        """The macrostate in its own units, of states `[..., n + hidden]`."""
        return z[..., : len(self.scale)] * jnp.asarray(self.scale)

    def scaled(self, macro: Array) -> Array:
        """x of macrostates `[..., n]`."""
        return macro / jnp.asarray(self.scale)


def roll_out(metamodel: Metamodel, macro: Array, control: Array, context: Array, key: Array = None) -> Array:
    """Macrostates `[K + 1, n]` from `macro` `[n]` under the commands `control` `[K, m]`, one per stride.

    With a random key the run is a random one (`sample`), otherwise the deterministic one.
    """
    z0 = metamodel.start(metamodel.scaled(macro), context)

    def advance(z: Array, given: tuple[Array, Array]) -> tuple[Array, Array]:
        u, key = given
        z = metamodel.step(z, u, context) if key is None else metamodel.sample(z, u, context, key)
        return z, z

    keys = None if key is None else jax.random.split(key, len(control))
    _, z = jax.lax.scan(advance, z0, (control, keys))
    return metamodel.macro(jnp.concatenate([z0[None], z]))
