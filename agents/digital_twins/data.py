"""Training data of metamodels: cohorts of agent-based runs under random piecewise-constant interventions."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.abm.model import AgentBasedModel

__all__ = ["Trajectories", "record", "split_runs"]

Array = Any


class Trajectories(NamedTuple):
    """Runs of one model, seen every `stride` steps.

    Attributes:
        macro: macrostate at the ends of the strides `[runs, K + 1, n]`, in the model's own units.
        control: command held during each stride `[runs, K, m]`.
        dose: whole agents moved during each stride `[runs, K, m]`.
        context: what distinguishes the patient of each run `[runs, c]`; c = 0 for one patient.
    """

    macro: Array
    control: Array
    dose: Array
    context: Array


def record(
    model: AgentBasedModel,
    key: Array,
    runs: int,
    *,
    steps: int = 600,
    stride: int = 10,
    params: Any = None,
    context: Array | None = None,
    spread: float = 3.0,
    decades: float = 3.0,
    idle: float = 0.5,
    dwell: float = 40.0,
) -> Trajectories:
    """Plays runs that a metamodel can learn the effect of interventions from.

    Every run starts from a random microstate, for odd runs edited to random multiples of its counts. Commands are
    piecewise constant; a channel is off in a share `idle` of the pieces and else log-uniform over the last `decades`
    powers of ten below its upper bound, so that small doses, which matter near a steady state, are seen as often as
    large ones, and runs do not all end in extinction.

    Args:
        model: what is played.
        key: a random key.
        runs: number of runs.
        steps, stride: length of a run, and of what the metamodel predicts at once, in steps of the model.
        params: constants with leaves `[runs, ...]`; None for the model's own in every run.
        context: `[runs, c]`, told to the metamodel with each run.
        spread: the largest multiple (and the inverse of the smallest) of initial counts.
        decades, idle: see above.
        dwell: mean length of a piece, in steps of the model.

    Raises:
        ValueError: `steps` is no multiple of `stride`, or a size is not positive.
    """
    if runs < 1 or stride < 1 or steps < stride or steps % stride:
        raise ValueError(
            f"runs={runs}, steps={steps}, stride={stride}: expected positive numbers, "
            "steps a multiple of stride"
        )
    if params is None:
        params = jax.tree.map(
            lambda leaf: np.broadcast_to(leaf, (runs, *np.shape(leaf))), model.default_params()
        )
    if context is None:
        context = np.zeros((runs, 0), np.float32)
    keys = jax.random.split(key, runs)
    law = (float(spread), float(decades), float(idle), min(stride / dwell, 1.0))
    edited = jnp.arange(runs) % 2 == 1
    macro, control, dose = _record(model, steps // stride, stride, keys, edited, params, law)
    return Trajectories(macro, control, dose, jnp.asarray(context, jnp.float32))


def split_runs(data: Trajectories, share: float = 0.85) -> tuple[Trajectories, Trajectories]:
    """Whole runs for training and for validation, in the order given.

    Raises:
        ValueError: one part would be empty.
    """
    count = round(len(data.macro) * share)
    if not 0 < count < len(data.macro):
        raise ValueError(
            f"{len(data.macro)} runs cannot be split by {share}: both parts need at least one run"
        )
    return Trajectories(*(part[:count] for part in data)), Trajectories(*(part[count:] for part in data))


@partial(jax.jit, static_argnums=(0, 1, 2))
def _record(
    model: AgentBasedModel, strides: int, stride: int, keys: Array, edited: Array, params: Any, law: tuple
) -> tuple[Array, Array, Array]:
    def play(job: tuple[Array, Array, Any]) -> tuple[Array, Array, Array]:
        key, edit, params = job
        start, controls, noise = jax.random.split(key, 3)
        state = _first_state(model, start, edit, params, law[0])
        control = _commands(model, controls, strides, law)

        def hold(state: Any, given: tuple[Array, Array]) -> tuple[Any, tuple[Array, Array]]:
            u, key = given

            def one(state: Any, key: Array) -> tuple[Any, Array]:
                stepped = model.step(state, u, key, params)
                return stepped.state, stepped.intervention.amount

            state, amount = jax.lax.scan(one, state, jax.random.split(key, stride))
            return state, (model.macro(state), amount.sum(0))

        _, (macro, dose) = jax.lax.scan(hold, state, (control, jax.random.split(noise, strides)))
        return jnp.concatenate([model.macro(state)[None], macro]), control, dose

    # A few dozen runs side by side fit the caches; all at once are slower.
    return jax.lax.map(play, (keys, edited, params), batch_size=min(64, keys.shape[0]))


def _first_state(model: AgentBasedModel, key: Array, edit: Array, params: Any, spread: float) -> Any:
    first, factors, editing = jax.random.split(key, 3)
    state = model.init(first, params)
    macro = model.macro(state)
    exponent = jax.random.uniform(factors, macro.shape, minval=-1.0, maxval=1.0)
    other = model.edited(state, jnp.round(macro * spread**exponent), params, editing)
    return jax.tree.map(lambda a, b: jnp.where(edit, a, b), other, state)


def _commands(model: AgentBasedModel, key: Array, strides: int, law: tuple) -> Array:
    """`[strides, m]`."""
    _, decades, idle, chance = law
    low, high = jnp.asarray(model.control_low), jnp.asarray(model.control_high)
    switch, size, off = jax.random.split(key, 3)
    shape = (strides, len(model.control_names))
    piece = jnp.cumsum(jax.random.bernoulli(switch, chance, (strides,)))
    amplitude = 10.0 ** (-decades * jax.random.uniform(size, shape))
    amplitude = amplitude * ~jax.random.bernoulli(off, idle, shape)
    return (low + (high - low) * amplitude)[piece]
