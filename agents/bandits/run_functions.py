"""The pure functions of a simulated bandit run on JAX: one round, a chunk of rounds, a chunk of whole holds.

Everything deterministic (schedule, radii, lengths of holds) comes in as tables that are shared by all runs, so that
choosing and learning are real branches, taken only where a hold begins or ends.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.agents.bandits.algorithm import Array, BanditAlgorithm
from dynrl.agents.bandits.linear_algebra import inner, matvec
from dynrl.bandits import DLBParams
from dynrl.compilation import jit_by_class

BLOCK = 16  # rounds or holds whose noise is drawn together


class World(NamedTuple):
    """A system as the simulation uses it.

    Attributes:
        params: its matrices.
        h: cumulative Markov parameter, `[d]`.
        optimal_value: J*.
    """

    params: DLBParams
    h: Array
    optimal_value: Array


class Totals(NamedTuple):
    """What is summed over the rounds of one run.

    Attributes:
        pseudo: Σ (J* − h·u).
        reward: Σ y.
        mean_reward: Σ E[y | noise-free state recursion under the played actions].
        plays: rounds that each candidate was played, `[K]`.
        misses: epochs that began with the true h outside the confidence set.
    """

    pseudo: Array
    reward: Array
    mean_reward: Array
    plays: Array
    misses: Array


class Held(NamedTuple):
    """The action of the running hold and what follows from it alone.

    Attributes:
        index: candidate.
        action: `[d]`.
        drive: `Bu`, `[n]`.
        feed: `θ·u`.
        gap: `J* − h·u`.
    """

    index: Array
    action: Array
    drive: Array
    feed: Array
    gap: Array


class Carry(NamedTuple):
    """One run between two rounds.

    Attributes:
        x: state, `[n]`.
        mean_x: state of the noise-free recursion, `[n]`.
        held: the action that is held.
        sample: reduction of the running hold's rewards so far.
        learned: the algorithm's state.
        totals: sums since the first round.
    """

    x: Array
    mean_x: Array
    held: Held
    sample: Array
    learned: Any
    totals: Totals


class RoundInputs(NamedTuple):
    """The deterministic part of each round, arrays `[rounds]`.

    Attributes:
        t: round, from 0.
        active: 1.0 before the horizon, 0.0 for padding behind it.
        start: an epoch begins.
        end: an epoch completes.
        weight: weight of this reward in the hold's sample.
        epoch: the algorithm's inputs of the running epoch.
    """

    t: Array
    active: Array
    start: Array
    end: Array
    weight: Array
    epoch: dict[str, Array]


class EpochInputs(NamedTuple):
    """The deterministic part of each hold, arrays `[epochs]`.

    Attributes:
        number: epoch, from 0.
        active: 1.0 before the horizon, 0.0 for padding behind it.
        rounds: length of the hold.
        jump: row of the `Jumps` tables for that length.
        complete: the hold is not cut by the horizon.
        epoch: the algorithm's inputs.
    """

    number: Array
    active: Array
    rounds: Array
    jump: Array
    complete: Array
    epoch: dict[str, Array]


class Jumps(NamedTuple):
    """`(x, Σy, y_last)` after a hold of L rounds given x and u, for several L: `F_L x + G_L u + S_L z`.

    Attributes:
        state: F, `[J, n + 2, n]`.
        action: G, `[J, n + 2, d]`.
        noise: S, a square root of the covariance, `[J, n + 2, n + 2]`.
    """

    state: Array
    action: Array
    noise: Array


def transition(params: DLBParams, x: Array, drive: Array, feed: Array, noise: Array) -> tuple[Array, Array]:
    """One round: `y = ω·x + θ·u + σ_y η`, `x' = Ax + Bu + σ_x ε`.

    Args:
        params: the system.
        x: `[n]`.
        drive: `Bu`, `[n]`.
        feed: `θ·u`, scalar.
        noise: `[n + 1]` standard normals, ε first.
    """
    reward = inner(params.omega, x) + feed + params.sigma_y * noise[-1]
    return matvec(params.A, x) + drive + params.sigma_x * noise[:-1], reward


def initial_carry(algorithm: BanditAlgorithm, params: DLBParams) -> Carry:
    """One run before its first round."""
    zero, x0 = np.zeros(()), np.asarray(params.x0, np.float64)
    held = Held(np.zeros((), np.int32), np.zeros_like(algorithm.actions[0]), np.zeros_like(x0), zero, zero)
    totals = Totals(zero, zero, zero, np.zeros(len(algorithm.actions)), zero)
    return Carry(x0, x0, held, zero, algorithm.init(), totals)


def begin_epoch(
    world: World, algorithm: BanditAlgorithm, learned: Any, epoch: dict[str, Array], draw: Array
) -> tuple[Any, Held, Array]:
    """Choose what to hold; also whether the confidence set misses the true h."""
    learned, index = algorithm.choose(learned, epoch, draw)
    action = algorithm.actions[index]
    held = Held(
        index.astype(jnp.int32),
        action,
        matvec(world.params.B, action),
        inner(world.params.theta, action),
        world.optimal_value - inner(world.h, action),
    )
    return learned, held, algorithm.misses(learned, epoch, world.h) + 0.0


def step(
    world: World, algorithm: BanditAlgorithm, carry: Carry, inputs: RoundInputs, noise: Array, draw: Array
) -> Carry:
    """One round of one run: choose if an epoch begins, play, learn if it completes."""
    learned, held, missed = jax.lax.cond(
        inputs.start,
        lambda: begin_epoch(world, algorithm, carry.learned, inputs.epoch, draw),
        lambda: (carry.learned, carry.held, jnp.zeros(())),
    )
    x, reward = transition(world.params, carry.x, held.drive, held.feed, noise)
    mean_x, mean_reward = transition(world.params, carry.mean_x, held.drive, held.feed, jnp.zeros_like(noise))
    sample = jnp.where(inputs.start, 0.0, carry.sample) + inputs.weight * reward
    learned = jax.lax.cond(
        inputs.end,
        lambda: algorithm.learn(learned, inputs.epoch, held.index, held.action, sample),
        lambda: learned,
    )
    active, sums = inputs.active, carry.totals
    totals = Totals(
        pseudo=sums.pseudo + active * held.gap,
        reward=sums.reward + active * reward,
        mean_reward=sums.mean_reward + active * mean_reward,
        plays=sums.plays + active * (jnp.arange(len(algorithm.actions)) == held.index),
        misses=sums.misses + active * missed,
    )
    return Carry(x, mean_x, held, sample, learned, totals)


def refresh_all(algorithm: BanditAlgorithm, carry: Carry) -> Carry:
    """All runs with `algorithm.refresh` applied, one after the other.

    Side by side, the last few runs of a batch are compiled apart from the others, and to other roundings.
    """
    if not jax.tree.leaves(carry.learned):
        return carry
    return carry._replace(learned=jax.lax.map(algorithm.refresh, carry.learned))


@jit_by_class
def step_chunk(
    world: World, algorithm: BanditAlgorithm, carry: Carry, inputs: RoundInputs, keys: tuple[Array, Array]
) -> Carry:
    """Advance all runs by the rounds of `inputs`.

    Args:
        world, algorithm: shared by all runs.
        carry: leaves lead with the runs, `[B, ...]`.
        inputs: `[rounds]`, a multiple of `BLOCK`.
        keys: environment's and agent's key of each run, `[B]` each.
    """
    run_axes = (None, None, 0, None, 0, 0)

    def body(carry: Carry, given: tuple[RoundInputs, Array, Array]) -> tuple[Carry, None]:
        return jax.vmap(step, in_axes=run_axes)(world, algorithm, carry, *given), None

    def block(carry: Carry, rounds: RoundInputs) -> tuple[Carry, None]:
        noise, draws = randomness(algorithm, keys, rounds.t, world.params.A.shape[-1] + 1)
        return jax.lax.scan(body, carry, (rounds, noise, draws))

    carry, _ = jax.lax.scan(block, carry, in_blocks(inputs))
    return refresh_all(algorithm, carry)


@jit_by_class
def step_chunk_with_noise(
    world: World, algorithm: BanditAlgorithm, carry: Carry, inputs: RoundInputs, noise: Array, draws: Array
) -> Carry:
    """As `step_chunk`, on given noise `[rounds, B, n + 1]` (ε first) and agent randomness `[rounds, B, r]`."""

    def body(carry: Carry, given: tuple[RoundInputs, Array, Array]) -> tuple[Carry, None]:
        round_, noise, draw = given
        run_axes = (None, None, 0, None, 0, 0)
        return jax.vmap(step, in_axes=run_axes)(world, algorithm, carry, round_, noise, draw), None

    carry, _ = jax.lax.scan(body, carry, (inputs, noise, draws))
    return refresh_all(algorithm, carry)


def jump(
    world: World,
    jumps: Jumps,
    algorithm: BanditAlgorithm,
    carry: Carry,
    inputs: EpochInputs,
    noise: Array,
    draw: Array,
) -> Carry:
    """One whole hold of one run with one draw of n + 2 normals."""
    learned, held, missed = begin_epoch(world, algorithm, carry.learned, inputs.epoch, draw)
    n = carry.x.shape[-1]
    state, push = jumps.state[inputs.jump], matvec(jumps.action[inputs.jump], held.action)
    after = matvec(state, carry.x) + push + matvec(jumps.noise[inputs.jump], noise)
    mean_after = matvec(state, carry.mean_x) + push
    sample = after[n + 1] if algorithm.sample == "last" else after[n] / inputs.rounds
    learned = jax.lax.cond(
        inputs.complete,
        lambda: algorithm.learn(learned, inputs.epoch, held.index, held.action, sample),
        lambda: learned,
    )
    active, rounds, sums = inputs.active, inputs.active * inputs.rounds, carry.totals
    totals = Totals(
        pseudo=sums.pseudo + rounds * held.gap,
        reward=sums.reward + active * after[n],
        mean_reward=sums.mean_reward + active * mean_after[n],
        plays=sums.plays + rounds * (jnp.arange(len(algorithm.actions)) == held.index),
        misses=sums.misses + active * missed,
    )
    return Carry(after[:n], mean_after[:n], held, carry.sample, learned, totals)


@jit_by_class
def epoch_chunk(
    world: World,
    jumps: Jumps,
    algorithm: BanditAlgorithm,
    carry: Carry,
    inputs: EpochInputs,
    keys: tuple[Array, Array],
) -> Carry:
    """Advance all runs by the holds of `inputs` `[epochs]`; arguments as in `step_chunk`."""
    run_axes = (None, None, None, 0, None, 0, 0)

    def body(carry: Carry, given: tuple[EpochInputs, Array, Array]) -> tuple[Carry, None]:
        return jax.vmap(jump, in_axes=run_axes)(world, jumps, algorithm, carry, *given), None

    def block(carry: Carry, epochs: EpochInputs) -> tuple[Carry, None]:
        noise, draws = randomness(algorithm, keys, epochs.number, world.params.A.shape[-1] + 2)
        return jax.lax.scan(body, carry, (epochs, noise, draws))

    carry, _ = jax.lax.scan(block, carry, in_blocks(inputs))
    return refresh_all(algorithm, carry)


def in_blocks(inputs: Any) -> Any:
    """Leaves `[n, ...]` as `[n / BLOCK, BLOCK, ...]`."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, BLOCK, *leaf.shape[1:]), inputs)


def randomness(
    algorithm: BanditAlgorithm, keys: tuple[Array, Array], counters: Array, size: int
) -> tuple[Array, Array]:
    """Standard normals `[N, B, size]` for the system and what the algorithm asks for, `[N, B, r]`.

    Args:
        algorithm: says which distribution it wants.
        keys: `[B]` each.
        counters: `[N]`, round or hold; number i of key k is a hash of (k, counter·size + i).
        size: how many the system takes.
    """
    env_keys, agent_keys = keys
    kind, count = algorithm.draw
    noise = to_normal(counter_uniforms(env_keys, counters, size))
    if kind == "none":
        return noise, jnp.zeros((*noise.shape[:2], 0))
    draws = counter_uniforms(agent_keys, counters, count)
    return noise, to_normal(draws) if kind == "normal" else (draws + 1.0) / 2.0


def counter_uniforms(keys: Array, counters: Array, size: int) -> Array:
    """Uniform numbers in (−1, 1), `[N, B, size]`.

    Threefry is a counter-based generator: `fold_in(key, count)` already is 64 random bits. They are taken directly,
    block-wise and with the runs along the last axis, because XLA vectorises that; `random.normal` on keys folded one
    by one took most of a simulated round.
    """
    counts = jnp.uint32(counters)[:, None] * jnp.uint32(size) + jnp.arange(size, dtype=jnp.uint32)
    hash_all = jax.vmap(jax.vmap(jax.vmap(jax.random.fold_in, (0, None)), (None, 0)), (None, 0))
    words = jax.random.key_data(hash_all(keys, counts)).astype(jnp.uint64)  # [N, size, B, 2]
    bits = (words[..., 0] << 32 | words[..., 1]) >> 11
    uniforms = bits * 2.0**-52 + (2.0**-53 - 1.0)  # symmetric, and never an end
    return jnp.moveaxis(uniforms, 1, 2)


def to_normal(uniforms: Array) -> Array:
    """Standard normals from uniform numbers in (−1, 1)."""
    return jnp.sqrt(2.0) * jax.scipy.special.erfinv(uniforms)
