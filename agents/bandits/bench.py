"""`dynrl bench dlb`: regret, coverage, speed and memory on dynamical linear bandits."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

import numpy as np

from dynrl import registry
from dynrl.agents.bandits.dynlin_ucb import DynLinUCB
from dynrl.agents.bandits.report import growth
from dynrl.agents.bandits.simulation import Simulation, SimulationResult, simulate
from dynrl.agents.bandits.single_run import single_run
from dynrl.bandits import ActionSet, DLBSystem
from dynrl.bench import Figure
from dynrl.bench.one_core import alone_on_one_core


def figures(quick: bool) -> Iterator[Figure]:
    """All figures; `quick` keeps the short horizons and fewer runs."""
    horizon, runs = (100_000, 16) if quick else (1_000_000, 32)
    yield from regret_figures(horizon, runs)
    yield from random_system_figures(6 if quick else 20, 20_000 if quick else 100_000, 8)
    yield from speed_figures()
    if not quick:
        yield memory_figure()


def problem(name: str) -> tuple[DLBSystem, ActionSet]:
    """System and actions of a registered bandit."""
    env: Any = registry.make_functional(name)
    return env.system, env.action_set


def regret_figures(horizon: int, runs: int) -> Iterator[Figure]:
    """Final pseudo-regret and coverage with both radii on the two systems of the paper (σ = 0.01)."""
    for name, bar in (("Synthetic", 20.0), ("Ads", 220.0)):
        system, actions = problem(f"dynrl/DLB{name}-v0")
        where = f"{name.lower()}, T = {horizon:.0e}, {runs} runs"
        results = {}
        for radius in ("tight", "paper"):
            agent = DynLinUCB.from_system(system, actions, horizon, radius=radius)
            results[radius] = simulate(system, agent, horizon, np.arange(runs), path="epoch")
        tight, paper = (final_regret(results[radius]) for radius in ("tight", "paper"))
        yield Figure(
            f"{where}: mean pseudo-regret, tight radius",
            f"≤ {bar:g}",
            f"{tight:.4g}",
            tight <= bar,
            f"{paper:.5g} (paper radius)",
        )
        for radius, result in results.items():
            misses = int(result.misses.sum())
            yield Figure(f"{where}: epochs with h outside, {radius} radius", "0", str(misses), misses == 0)
        ratio = growth(results["paper"])
        if name == "Synthetic":
            bound = 0.65 if horizon >= 1_000_000 else 0.75
            yield Figure(
                f"{where}: 2nd/1st half regret, paper radius", f"< {bound}", f"{ratio:.3f}", ratio < bound
            )


def final_regret(result: SimulationResult) -> float:
    """Mean pseudo-regret at the horizon."""
    return float(result.pseudo_regret[:, -1].mean())


def random_system(rng: np.random.Generator, n: int = 3, d: int = 3) -> DLBSystem:
    """A random stable system with ρ(A) ≤ 0.9, scaled so that |J| ≤ 1 on actions of norm at most √1.25."""
    A = rng.standard_normal((n, n))
    A *= rng.uniform(0.1, 0.9) / max(abs(np.linalg.eigvals(A)))
    B, omega, theta = rng.standard_normal((n, d)), rng.standard_normal(n), rng.standard_normal(d)
    B /= np.linalg.norm(B, 2)
    raw = DLBSystem(A, B, omega, theta)
    scale = 1.0 / (np.linalg.norm(raw.h) * np.sqrt(1.25))
    return DLBSystem(A, B, omega * scale, theta * scale, 0.01, 0.01)


def random_system_figures(count: int, horizon: int, runs: int) -> Iterator[Figure]:
    """Tight against paper radius over random systems."""
    rng = np.random.default_rng(0)
    actions = problem("dynrl/DLBAds-v0")[1]
    finals: dict[str, list[float]] = {"tight": [], "paper": []}
    for _ in range(count):
        system = random_system(rng)
        for radius, kept in finals.items():
            agent = DynLinUCB.from_system(system, actions, horizon, radius=radius)
            result = simulate(system, agent, horizon, np.arange(runs), path="epoch")
            kept.append(float(np.median(result.pseudo_regret[:, -1])))
    tight, paper = (float(np.median(finals[radius])) for radius in ("tight", "paper"))
    gain = paper / tight
    yield Figure(
        f"{count} random systems (ρ ≤ 0.9), T = {horizon:.0e}: paper over tight median regret",
        "≥ 10",
        f"{gain:.1f}",
        gain >= 10.0,
        f"tight {tight:.4g}, paper {paper:.4g}",
    )


def speed_figures(horizon: int = 100_000, runs: int = 256) -> Iterator[Figure]:
    """CPU time per run and round on one core, after compilation; the peer is the NumPy agent's one run."""
    alone = {radius: alone_on_one_core(numpy_speed, radius, horizon) for radius in ("paper", "tight")}
    for path, bar in (("step", 0.35), ("epoch", 0.10)):
        compiling, speed = alone_on_one_core(compiled_speed, path, horizon, runs)
        what = f"DynLin-UCB, {path} path, {runs} runs, T = {horizon:.0e}, float64: CPU per run and round"
        peer = f"{alone['paper']:.2f} µs (NumPy, one run)"
        yield Figure(what, f"≤ {bar} µs", f"{speed:.3f} µs", speed <= bar, peer)
        yield Figure(
            f"{path} path: compilation and first chunk", "≤ 15 s", f"{compiling:.1f} s", compiling <= 15.0
        )
    for radius, speed in alone.items():
        what = f"one NumPy run, {radius} radius, T = {horizon:.0e}: CPU per round"
        yield Figure(what, "≤ 8 µs", f"{speed:.2f} µs", speed <= 8.0)


def compiled_speed(
    path: Literal["step", "epoch"], horizon: int, runs: int, repetitions: int = 5
) -> tuple[float, float]:
    """Seconds until the first chunk is done, and the least CPU time per run and round of the others, in µs."""
    system, actions = problem("dynrl/DLBSynthetic-v0")
    agent = DynLinUCB.from_system(system, actions, horizon)
    seconds, speeds = 0.0, []
    for _ in range(5):
        simulation = Simulation(system, agent, horizon, np.arange(runs), path=path, record=20)
        started = time.perf_counter()
        simulation.advance(1)
        seconds = seconds or time.perf_counter() - started
        rest = runs * (horizon - simulation.rounds_done)
        speeds.append(cpu_microseconds(partial(simulation.advance, simulation.num_chunks), rest))
    return seconds, min(speeds)


def numpy_speed(radius: str, horizon: int, repetitions: int = 5) -> float:
    """Least CPU time per round of a single NumPy run, in µs."""
    system, actions = problem("dynrl/DLBSynthetic-v0")
    agent = DynLinUCB.from_system(system, actions, horizon, radius=radius)
    return min(
        cpu_microseconds(partial(single_run, system, agent.reset(0), horizon, seed=0), horizon)
        for _ in range(repetitions)
    )


def cpu_microseconds(work: Callable[[], object], count: int) -> float:
    """CPU time of this process for `work`, all threads, per unit of `count`."""
    started = time.process_time()
    work()
    return (time.process_time() - started) / count * 1e6


def memory_figure(runs: int = 64, horizon: int = 1_000_000) -> Figure:
    """Peak memory of a fresh process that simulates `runs` runs round by round."""
    peak = alone_on_one_core(peak_memory, runs, horizon)
    return Figure(
        f"{runs} runs × {horizon:.0e} rounds, step path: peak memory", "< 1 GB", f"{peak:.2f} GB", peak < 1.0
    )


def peak_memory(runs: int, horizon: int) -> float:
    """Gigabytes that this process has held at most, after simulating."""
    system, actions = problem("dynrl/DLBSynthetic-v0")
    agent = DynLinUCB.from_system(system, actions, horizon, radius="tight")
    simulate(system, agent, horizon, np.arange(runs), path="step")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
