"""A cohort in one compiled call: many patients, several random runs of each, under a schedule or a feedback law."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.abm.model import GrowingModel, SimulatedModel

__all__ = ["Cohort", "Policy", "simulate"]

Array = Any
Policy = Callable[[Any, Any, Any], tuple[Any, Any]]
"""`policy(policy_state, macro [n], key) -> (u [m], policy_state)`; put weights into `policy_state`."""


class Cohort(NamedTuple):
    """What happened to P patients in S runs each over T steps; JAX arrays.

    Attributes:
        macro: macrostates `[P, S, T + 1, n]`, the first before any step.
        command: what was asked for `[P, S, T, m]`.
        amount: what was done, in whole agents `[P, S, T, m]`.
        saturated: whether a step's intervention was cut to what was there `[P, S, T]` bool.
        overflow: births cancelled for want of room `[P, S, T]` int32.
        state: last microstates, leaves `[P, S, ...]`.
    """

    macro: Array
    command: Array
    amount: Array
    saturated: Array
    overflow: Array
    state: Any


def simulate(
    model: SimulatedModel,
    params: Any = None,
    control: Policy | Any = None,
    *,
    steps: int,
    seeds: int | Sequence[int] | Any = 1,
    policy_state: Any = None,
    state: Any = None,
    hold: int = 1,
    on_overflow: Literal["cancel", "raise", "grow"] = "cancel",
    at_once: int = 64,
) -> Cohort:
    """Run every patient under the same control, from the same seeds whatever the control (paired comparisons).

    Patient p under seed s draws from `fold_in(key(s), p)`: what happens to a patient does not depend on who else is
    simulated, nor on `at_once`.

    Args:
        model: a frozen, hashable model.
        params: constants; leaves of the default's shape (shared) or `[P, *shape]`; None for the default.
        control: None for none; an array, constant `[m]`, a schedule `[T, m]` or one per patient `[P, T, m]`; or a
            `Policy` (define it once: every new function object is compiled anew).
        steps: T, may be 0.
        seeds: S whole numbers, or a number S of them from 0.
        policy_state: the policy's state at the beginning, the same for all.
        state: microstates to go on from, leaves `[P, S, ...]` (as `Cohort.state`); None for `model.init`.
        hold: a policy is asked every `hold` steps; its last answer holds in between.
        on_overflow: `"cancel"`: overflow is only counted; `"raise"`; `"grow"`: the whole cohort is run again with twice
            the capacity until nothing overflows (the draws depend on the capacity).
        at_once: runs computed side by side; more need more memory, and caches are small.

    Raises:
        ValueError: leaves of `params` that disagree about P; a control of another shape, not finite, or negative where
            the model takes no negative one; negative `steps`.
        OverflowError: `on_overflow="raise"`, and there was not enough room.
        TypeError: `on_overflow="grow"` with a model that cannot grow.
    """
    if on_overflow not in ("cancel", "raise", "grow"):
        raise ValueError(f"on_overflow is {on_overflow!r}, expected 'cancel', 'raise' or 'grow'")
    for name, value, least in (("steps", steps, 0), ("hold", hold, 1), ("at_once", at_once, 1)):
        if int(value) != value or value < least:
            raise ValueError(f"{name} is {value!r}, expected a whole number of at least {least}")
    params, axes, patients = _patients(model, params)
    seeds = np.arange(seeds) if isinstance(seeds, (int, np.integer)) else np.asarray(seeds)
    if seeds.ndim != 1 or not len(seeds) or seeds.dtype.kind not in "iu":
        raise ValueError(f"seeds has shape {seeds.shape} and dtype {seeds.dtype}, expected whole numbers [S]")
    policy, schedule, patients = _control(model, control, steps, patients)
    settings = (policy, axes, patients, int(steps), int(hold), int(at_once))
    data = (params, schedule, seeds.astype(np.uint32), policy_state)
    cohort = _simulate(model, *settings, *data, state)
    while on_overflow != "cancel" and (missing := int(cohort.overflow.sum())):
        patient, run, step = np.argwhere(np.asarray(cohort.overflow))[0]
        if on_overflow == "raise":
            raise OverflowError(
                f"{missing} births found no free slot, the first in patient {patient}, seed {seeds[run]}, step {step}; "
                'give the model more capacity, or pass on_overflow="grow"'
            )
        if not isinstance(model, GrowingModel):
            raise TypeError(f"{type(model).__name__} has no grown(), so on_overflow='grow' cannot be had")
        if state is not None:
            raise ValueError(
                "on_overflow='grow' starts again from init; it cannot go on from given microstates"
            )
        model = model.grown()
        cohort = _simulate(model, *settings, *data, state)
    return cohort


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4, 5, 6))
def _simulate(
    model: Any,
    policy: Policy | None,
    axes: tuple[bool, ...],
    patients: int,
    steps: int,
    hold: int,
    at_once: int,
    params: Any,
    schedule: Any,
    seeds: Any,
    policy_state: Any,
    state: Any,
) -> Cohort:
    channels = len(model.control_names)

    def run(job: tuple[Any, Any, Any]) -> Cohort:
        patient, seed, start = job
        of_patient = _taken(params, axes, patient)
        key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), patient)
        first, later = jax.random.split(key)
        micro = model.init(first, of_patient) if start is None else start

        def step(carry: tuple[Any, Any, Any, Any], time: Any) -> tuple[Any, Any]:
            micro, macro, memory, u = carry
            key, policy_key = jax.random.split(jax.random.fold_in(later, time))
            if policy is not None:
                asked = policy(memory, macro, policy_key)
                asked = (jnp.broadcast_to(jnp.asarray(asked[0], jnp.float32), (channels,)), asked[1])
                fresh = time % hold == 0
                u, memory = jax.tree.map(lambda new, old: jnp.where(fresh, new, old), asked, (u, memory))
            elif schedule is not None:
                u = schedule[patient if schedule.shape[0] > 1 else 0, time]
            stepped = model.step(micro, u, key, of_patient)
            seen = (
                stepped.macro,
                u,
                stepped.intervention.amount,
                stepped.intervention.saturated,
                stepped.overflow,
            )
            return (stepped.state, stepped.macro, memory, u), seen

        before = model.macro(micro)
        begin = (micro, before, jax.tree.map(jnp.asarray, policy_state), jnp.zeros(channels, jnp.float32))
        (last, *_), (macro, *acts) = jax.lax.scan(step, begin, jnp.arange(steps))

        u, amount, saturated, overflow = acts
        return Cohort(jnp.concatenate([before[None], macro]), u, amount, saturated, overflow, last)

    total = patients * seeds.shape[0]
    chunks = -(-total // at_once)
    width = -(-total // chunks)
    # Chunks of one size, so that one program does them all; the last repeats runs to be full.
    number = jnp.minimum(jnp.arange(chunks * width), total - 1)
    patient, seed = number // seeds.shape[0], seeds[number % seeds.shape[0]]
    start = jax.tree.map(lambda leaf: leaf.reshape(total, *leaf.shape[2:])[number], state)
    jobs = jax.tree.map(lambda leaf: leaf.reshape(chunks, width, *leaf.shape[1:]), (patient, seed, start))
    runs = jax.lax.map(jax.vmap(run), jobs) if chunks > 1 else jax.vmap(run)((patient, seed, start))

    def by_patient(leaf: Any) -> Any:
        rest = leaf.shape[2 if chunks > 1 else 1 :]
        return leaf.reshape(chunks * width, *rest)[:total].reshape(patients, seeds.shape[0], *rest)

    return jax.tree.map(by_patient, runs)


def _taken(params: Any, axes: tuple[bool, ...], patient: Any) -> Any:
    leaves, structure = jax.tree.flatten(params)
    return jax.tree.unflatten(
        structure, [leaf[patient] if own else leaf for leaf, own in zip(leaves, axes, strict=True)]
    )


def _patients(model: SimulatedModel, params: Any) -> tuple[Any, tuple[bool, ...], int]:
    default = model.default_params()
    params = default if params is None else params
    structure: Any = jax.tree.structure(default)
    if structure != jax.tree.structure(params):
        raise ValueError(f"params have the structure {jax.tree.structure(params)}, expected {structure}")
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(default)[0]]
    patients, own, leaves = None, [], []
    for path, leaf, like in zip(paths, jax.tree.leaves(params), jax.tree.leaves(default), strict=True):
        like = np.asarray(like)
        leaf = jnp.asarray(leaf, like.dtype)
        several = leaf.ndim == like.ndim + 1 and leaf.shape[1:] == like.shape
        if leaf.shape != like.shape and not several:
            raise ValueError(
                f"params{path} has shape {leaf.shape}, expected {like.shape} or (patients, *{like.shape})"
            )
        if several and patients not in (None, leaf.shape[0]):
            raise ValueError(f"params{path} is of {leaf.shape[0]} patients, others are of {patients}")
        patients = leaf.shape[0] if several else patients
        own.append(several)
        leaves.append(leaf)
    return jax.tree.unflatten(structure, leaves), tuple(own), patients or 1


def _control(
    model: SimulatedModel, control: Any, steps: int, patients: int
) -> tuple[Policy | None, Any, int]:
    if control is None or callable(control):
        return control, None, patients
    schedule, channels = jnp.asarray(control, jnp.float32), len(model.control_names)
    if schedule.ndim in (1, 2):
        schedule = schedule[None, None] if schedule.ndim == 1 else schedule[None]
    several = schedule.shape[0] if schedule.ndim == 3 else 0
    known = several in (1, patients) or patients == 1
    if (
        schedule.ndim != 3
        or schedule.shape[1] not in (1, steps)
        or schedule.shape[2] != channels
        or not known
    ):
        raise ValueError(
            f"control has shape {np.shape(control)}, expected {(channels,)}, {(steps, channels)} or "
            f"{(patients, steps, channels)}"
        )
    if not np.isfinite(np.asarray(control, np.float64)).all():
        raise ValueError("control has values that are not finite, expected numbers")
    for channel, (name, low) in enumerate(zip(model.control_names, model.control_low, strict=True)):
        if low >= 0 and float(np.min(np.asarray(schedule)[..., channel], initial=0)) < 0:
            raise ValueError(f"control of {name!r} has negative values, which this model does not take")
    return (
        None,
        jnp.broadcast_to(schedule, (schedule.shape[0], steps, channels)),
        max(patients, several),
    )
