"""Many runs of a bandit algorithm on a dynamical linear bandit at once, compiled.

Two paths give the same law. The step path advances every round and takes any algorithm. The epoch path jumps
over a whole hold, whose end is Gaussian given its start, with one draw; it takes algorithms that learn from
the last reward of a hold or from the hold's mean. All statistics are float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.agents.bandits.agent import BanditAgent
from dynrl.agents.bandits.algorithm import BanditAlgorithm, Schedule, counted_rounds, schedule_until
from dynrl.agents.bandits.run_functions import (
    BLOCK,
    Carry,
    EpochInputs,
    Jumps,
    RoundInputs,
    World,
    epoch_chunk,
    initial_carry,
    step_chunk,
    step_chunk_with_noise,
)
from dynrl.bandits import ActionSet, DLBSystem
from dynrl.errors import FileFormatError
from dynrl.runs.checkpoint import flatten_tree, unflatten_tree

AgentT = TypeVar("AgentT", bound=BanditAgent)

MAX_CHUNK = 8192  # rounds or holds between two refreshes of an inverse from its master copy
LANES = 32  # runs go through one program, this many at a time: other numbers of them are compiled to other roundings


@dataclass(frozen=True)
class SimulationResult:
    """What came out of `B` runs of `T` rounds.

    Attributes:
        times: rounds completed at each of the `R` records, int64 `[R]`; the last is T.
        pseudo_regret: Σ (J* − h·u), `[B, R]`.
        reward_regret: t·J* − Σ y, `[B, R]`.
        mean_regret: t·J* − Σ E[y | noise-free recursion under the played actions], `[B, R]`.
        plays: rounds that each candidate has been played, `[B, R, K]`.
        misses: epochs that began with the true h outside the agent's confidence set, `[B]`.
        learned: the algorithms' final states, leaves `[B, ...]`.
        values: long-run value h·u of each candidate, `[K]`.
        optimal_value: J*.
    """

    times: np.ndarray
    pseudo_regret: np.ndarray
    reward_regret: np.ndarray
    mean_regret: np.ndarray
    plays: np.ndarray
    misses: np.ndarray
    learned: Any
    values: np.ndarray
    optimal_value: float

    def late_plays(self, share: float = 0.1) -> np.ndarray:
        """Rounds that each candidate was played in (about) the last `share` of the run, `[B, K]`."""
        if len(self.times) == 0:
            return np.zeros((self.plays.shape[0], self.plays.shape[2]))
        start = int(np.searchsorted(self.times, (1.0 - share) * self.times[-1]))
        return self.plays[:, -1] - (self.plays[:, start] if start < len(self.times) - 1 else 0.0)

    def optimal_share(self) -> float:
        """Share of runs whose most played action in the last tenth is optimal."""
        settled = self.values[self.late_plays().argmax(-1)]
        return float((settled >= self.optimal_value - 1e-12 * max(1.0, abs(self.optimal_value))).mean())


class Simulation:
    """A batch of runs that can be advanced piece by piece, saved and continued.

    Args:
        system: a stable system.
        agent: an agent that has not played yet; its algorithm is run, from its warm start if it has one.
        horizon: T.
        seeds: one integer per run; run i depends on its own seed only.
        record: how many records to keep (at most; spaced evenly over rounds or holds).
        path: `"step"` or `"epoch"`.
        comparator: actions among which J* is the best; None: those of the agent.

    Raises:
        ValueError: the agent has no list of candidate actions, or its algorithm does not take the epoch path.
    """

    def __init__(
        self,
        system: DLBSystem,
        agent: BanditAgent,
        horizon: int,
        seeds: Sequence[int] | np.ndarray,
        *,
        record: int = 200,
        path: Literal["step", "epoch"] = "step",
        comparator: ActionSet | None = None,
    ) -> None:
        if path not in ("step", "epoch"):
            raise ValueError(f'path must be "step" or "epoch", got {path!r}')
        if horizon < 0 or record < 1 or len(seeds) < 1:
            raise ValueError("expected horizon ≥ 0, record ≥ 1 and at least one seed")
        system.require_dimension(agent.action_set)
        if len(agent.candidates) == 0:
            raise ValueError(
                f"simulate() needs finitely many actions, but {agent.action_set} has no candidates list"
            )
        if agent.epoch:
            raise ValueError(
                f"the {type(agent).__name__} has already played {agent.t} rounds: give a new one (a warm start is fine)"
            )
        if not agent.algorithm.compiled:
            raise ValueError(
                f"{type(agent).__name__} with {agent.config} runs in NumPy only: use its run() or learn()"
            )
        if path == "epoch" and agent.algorithm.sample == "tail_mean":
            raise ValueError(f'{type(agent).__name__} learns from part of a hold: use path="step"')
        self.system, self.algorithm, self.path = system, agent.algorithm, path
        self.horizon, self.seeds = int(horizon), np.asarray(seeds, np.int64)
        self._values = system.value(agent.candidates)
        optimal = system.optimal_value(comparator or agent.action_set)
        self.world = World(system.params, np.asarray(system.h), np.asarray(optimal))
        self.schedule = schedule_until(self.algorithm, self.horizon)
        units = len(self.schedule.holds) if path == "epoch" else self.horizon
        # a power of two, so that systems with other schedules share compiled code
        blocks = -(-max(units, 1) // (record * BLOCK))
        self._chunk = min(BLOCK << (blocks - 1).bit_length(), MAX_CHUNK)
        self.num_chunks = -(-units // self._chunk)
        self._stride = -(-self.num_chunks // record)
        self._plan = _EpochPlan(self) if path == "epoch" else _StepPlan(self)
        self.chunks_done = 0
        count = len(self.seeds)
        self._lanes = np.minimum(np.arange(-(-count // LANES) * LANES), count - 1)
        self._records: list[tuple[int, Any]] = []
        with jax.enable_x64(True):
            keys = jax.vmap(lambda seed: jax.random.split(jax.random.key(seed)))(self.seeds[self._lanes])
            self.keys = keys[:, 0], keys[:, 1]
            one = initial_carry(self.algorithm, system.params)._replace(learned=agent.learned)
            self.carry: Carry = jax.tree.map(
                lambda leaf: jnp.broadcast_to(jnp.asarray(leaf), (count, *np.shape(leaf))), one
            )

    @property
    def rounds_done(self) -> int:
        """Rounds completed by every run."""
        return self._plan.rounds_after(self.chunks_done)

    @property
    def done(self) -> bool:
        """All runs have reached the horizon."""
        return self.chunks_done >= self.num_chunks

    def advance(self, chunks: int = 1) -> None:
        """Runs up to `chunks` chunks of rounds."""
        with jax.enable_x64(True):
            for _ in range(min(chunks, self.num_chunks - self.chunks_done)):
                plan: Any = self._plan
                lanes, inputs = self.lanes(), plan.inputs(self.chunks_done)
                groups = [
                    plan.advance(_rows(lanes, group), inputs, tuple(keys[group] for keys in self.keys))
                    for group in np.arange(len(self._lanes)).reshape(-1, LANES)
                ]
                self.absorb(_joined(groups))

    def lanes(self) -> Carry:
        """The carry as the compiled code takes it: padded to a multiple of `LANES` runs."""
        return _rows(self.carry, self._lanes)

    def inputs(self) -> Any:
        """The tables of the next chunk."""
        return self._plan.inputs(self.chunks_done)

    def absorb(self, advanced: Carry) -> None:
        """Takes over the lanes after the next chunk, and records."""
        self.carry = _rows(advanced, np.arange(len(self.seeds)))
        self.chunks_done += 1
        if self.chunks_done % self._stride == 0 or self.done:
            self._records.append((self.rounds_done, jax.tree.map(np.asarray, self.carry.totals)))

    def result(self) -> SimulationResult:
        """What has been recorded so far."""
        times = np.array([t for t, _ in self._records], np.int64)
        runs, candidates = len(self.seeds), len(self.algorithm.actions)

        def stacked(name: str, *shape: int) -> np.ndarray:
            rows = [getattr(totals, name) for _, totals in self._records]
            return np.stack(rows, 1) if rows else np.zeros((runs, 0, *shape))

        ideal = times * float(self.world.optimal_value)
        return SimulationResult(
            times=times,
            pseudo_regret=stacked("pseudo"),
            reward_regret=ideal - stacked("reward"),
            mean_regret=ideal - stacked("mean_reward"),
            plays=stacked("plays", candidates),
            misses=np.asarray(self.carry.totals.misses),
            learned=jax.tree.map(np.asarray, self.carry.learned),
            values=self._values,
            optimal_value=float(self.world.optimal_value),
        )

    def learned_states(self) -> list[Any]:
        """The algorithm's state of each run, NumPy arrays."""
        learned = jax.tree.map(np.asarray, self.carry.learned)
        return [jax.tree.map(lambda leaf, run=run: leaf[run], learned) for run in range(len(self.seeds))]

    def state_dict(self) -> dict[str, np.ndarray]:
        """Everything needed to continue, as named arrays."""
        arrays = {f"carry/{name}": leaf for name, leaf in flatten_tree(self.carry).items()}
        arrays["times"] = np.array([t for t, _ in self._records], np.int64)
        for name in self.carry.totals._fields if self._records else ():
            arrays[f"records/{name}"] = np.stack([getattr(totals, name) for _, totals in self._records])
        arrays["chunks_done"] = np.array(self.chunks_done)
        arrays["horizon"], arrays["seeds"] = np.array(self.horizon), self.seeds
        return arrays

    def load_state_dict(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continues from what `state_dict` gave.

        Raises:
            FileFormatError: it belongs to another horizon, other seeds or another algorithm.
        """
        for name, own in (("horizon", self.horizon), ("seeds", self.seeds)):
            if name not in arrays or not np.array_equal(arrays[name], own):
                raise FileFormatError(
                    f"the saved simulation has other {name}: expected {own}, got {arrays.get(name)}"
                )
        carry = {name[6:]: leaf for name, leaf in arrays.items() if name.startswith("carry/")}
        with jax.enable_x64(True):
            self.carry = jax.tree.map(jnp.asarray, unflatten_tree(self.carry, carry))
        self.chunks_done = int(arrays["chunks_done"])
        kind = type(self.carry.totals)
        self._records = [
            (int(t), kind(*(arrays[f"records/{name}"][i] for name in kind._fields)))
            for i, t in enumerate(arrays["times"])
        ]


def _rows(carry: Carry, rows: np.ndarray) -> Carry:
    """The given runs, and the carry itself where they are all it has."""
    if len(rows) == len(carry.sample):
        return carry
    return jax.tree.map(lambda leaf: np.asarray(leaf)[rows], carry)


def _joined(groups: list[Carry]) -> Carry:
    if len(groups) == 1:
        return groups[0]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *groups)


class _StepPlan:
    """Tables of the step path, made chunk by chunk."""

    def __init__(self, simulation: Simulation) -> None:
        self.owner, self.schedule = simulation, simulation.schedule
        self.horizon, self.chunk = simulation.horizon, simulation._chunk
        holds = self.schedule.holds
        self.ends = np.cumsum(holds)
        self.counted = counted_rounds(simulation.algorithm.sample, holds)
        self.complete = complete_holds(simulation.algorithm, self.schedule)

    def rounds_after(self, chunks: int) -> int:
        return min(chunks * self.chunk, self.horizon)

    def inputs(self, number: int) -> RoundInputs:
        t = np.arange(number * self.chunk, (number + 1) * self.chunk)
        active = t < self.horizon
        epoch = np.minimum(np.searchsorted(self.ends, t, side="right"), len(self.ends) - 1)
        left = self.ends[epoch] - t
        return RoundInputs(
            t=t,
            active=active.astype(np.float64),
            start=active & (left == self.schedule.holds[epoch]),
            end=active & (left == 1) & self.complete[epoch],
            weight=np.where(left <= self.counted[epoch], 1.0 / self.counted[epoch], 0.0),
            epoch={name: table[epoch] for name, table in self.schedule.inputs.items()},
        )

    def advance(self, carry: Carry, inputs: RoundInputs, keys: Any) -> Carry:
        return step_chunk(self.owner.world, self.owner.algorithm, carry, inputs, keys)


class _EpochPlan:
    """Tables of the epoch path."""

    def __init__(self, simulation: Simulation) -> None:
        self.owner, self.schedule, self.chunk = simulation, simulation.schedule, simulation._chunk
        holds = self.schedule.holds
        self.ends = np.cumsum(holds)
        lengths, self.jump = np.unique(holds, return_inverse=True)
        self.jumps = jump_tables(simulation.system, lengths)
        self.complete = complete_holds(simulation.algorithm, self.schedule)

    def rounds_after(self, chunks: int) -> int:
        return int(self.ends[min(chunks * self.chunk, len(self.ends)) - 1]) if chunks else 0

    def inputs(self, number: int) -> EpochInputs:
        m = np.arange(number * self.chunk, (number + 1) * self.chunk)
        active, epoch = m < len(self.ends), np.minimum(m, len(self.ends) - 1)
        return EpochInputs(
            number=m,
            active=active.astype(np.float64),
            rounds=self.schedule.holds[epoch],
            jump=self.jump[epoch],
            complete=active & self.complete[epoch],
            epoch={name: table[epoch] for name, table in self.schedule.inputs.items()},
        )

    def advance(self, carry: Carry, inputs: EpochInputs, keys: Any) -> Carry:
        return epoch_chunk(self.owner.world, self.jumps, self.owner.algorithm, carry, inputs, keys)


def complete_holds(algorithm: BanditAlgorithm, schedule: Schedule) -> np.ndarray:
    """Which holds run to their end; only the last one can be cut by the horizon, bool `[M]`."""
    count = len(schedule.holds)
    return schedule.holds == algorithm.schedule(count).holds[:count]


def jump_tables(system: DLBSystem, lengths: np.ndarray) -> Jumps:
    """Exact affine-Gaussian maps over holds of the given `lengths` `[J]`, by repeated squaring.

    The number of rows is rounded up to a power of two, so that systems share compiled code.
    """
    n, d = system.n, system.d
    p = system.params
    map_ = np.zeros((n + 2, n + 2))
    map_[:n, :n], map_[n, :n], map_[n + 1, :n], map_[n, n] = p.A, p.omega, p.omega, 1.0
    push = np.concatenate([p.B, p.theta[None], p.theta[None]])
    noise = np.zeros((n + 2, n + 2))
    noise[:n, :n] = system.sigma_x**2 * np.eye(n)
    noise[n:, n:] = system.sigma_y**2
    powers = [(map_, push, noise)]
    while 2 ** len(powers) <= max(lengths, default=1):
        powers.append(_after(powers[-1], powers[-1]))
    rows = 1 << max(len(lengths) - 1, 0).bit_length()
    jumps = Jumps(np.zeros((rows, n + 2, n)), np.zeros((rows, n + 2, d)), np.zeros((rows, n + 2, n + 2)))
    for row, length in enumerate(lengths):
        total = (np.eye(n + 2), np.zeros((n + 2, d)), np.zeros((n + 2, n + 2)))
        for bit, power in enumerate(powers):
            if int(length) >> bit & 1:
                total = _after(total, power)
        values, vectors = np.linalg.eigh(total[2])
        jumps.state[row], jumps.action[row] = total[0][:, :n], total[1]
        jumps.noise[row] = vectors * np.sqrt(np.maximum(values, 0.0))
    return jumps


def _after(first: tuple, second: tuple) -> tuple:
    (F1, G1, Q1), (F2, G2, Q2) = first, second
    return F2 @ F1, F2 @ G1 + G2, F2 @ Q1 @ F2.T + Q2


def simulate(
    system: DLBSystem,
    agent: BanditAgent,
    horizon: int,
    seeds: Sequence[int] | np.ndarray,
    *,
    record: int = 200,
    path: Literal["step", "epoch"] = "step",
    comparator: ActionSet | None = None,
) -> SimulationResult:
    """Runs a whole `Simulation`; arguments are its own.

    The same seed gives the same run, whatever other runs are in the batch.
    """
    simulation = Simulation(system, agent, horizon, seeds, record=record, path=path, comparator=comparator)
    simulation.advance(simulation.num_chunks)
    return simulation.result()


def agent_after(agent: AgentT, simulation: Simulation, run: int) -> AgentT:
    """`agent` as if it had itself played a finished run: it can advise, be saved, and play on."""
    holds = simulation.schedule.holds
    learned = jax.tree.map(lambda leaf: np.asarray(leaf)[run], simulation.carry.learned)
    complete = int(complete_holds(simulation.algorithm, simulation.schedule).sum())
    agent.state = agent.initial_state()._replace(
        learned=learned,
        t=np.array(simulation.horizon),
        epoch=np.array(len(holds)),
        learned_epochs=np.array(complete),
    )
    return agent


def simulate_on_noise(
    system: DLBSystem, agent: BanditAgent, noise: np.ndarray, draws: np.ndarray | None = None
) -> tuple[SimulationResult, Any]:
    """The step path on given standard normals, for comparison with another implementation.

    Args:
        system: the system.
        agent: an untrained agent.
        noise: `[T, B, n + 1]`, ε first, then η.
        draws: `[T, B, r]`, what the algorithm is to get as its own randomness.

    Returns:
        (the result with its only record at T, the algorithms' final states with leaves `[B, ...]`).
    """
    horizon, count = noise.shape[:2]
    simulation = Simulation(system, agent, horizon, range(count), record=1)
    if isinstance(simulation._plan, _EpochPlan) or simulation.num_chunks > 1:
        raise ValueError(f"at most {MAX_CHUNK} rounds of given noise, got {horizon}")
    draws = np.zeros((horizon, count, 0)) if draws is None else draws
    with jax.enable_x64(True):
        inputs = jax.tree.map(lambda table: table[:horizon], simulation._plan.inputs(0))
        simulation.carry = step_chunk_with_noise(
            simulation.world, simulation.algorithm, simulation.carry, inputs, noise, draws
        )
        simulation.chunks_done = 1
        simulation._records.append((horizon, jax.tree.map(np.asarray, simulation.carry.totals)))
    return simulation.result(), simulation.carry.learned
