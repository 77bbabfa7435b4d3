"""Worst-case search and robustness reports: the rows of `dynrl bench robust` about evaluation."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from dynrl.bench import Figure

SEEDS = range(8)
BUDGET = 2000


def figures(quick: bool) -> Iterator[Figure]:
    """The rows, the pendulum's first; the Hopper report of a million steps only where not `quick`."""
    yield _against_gymnasium()
    yield from _searches()
    yield _models_per_second()
    yield _same_everywhere()
    if not quick:
        yield _hopper_report()


def _against_gymnasium() -> Figure:
    difference = gymnasium_difference(np.array([[1.0, 1.0], [0.5, 0.7], [1.5, 1.3], [1.47, 1.294]]))
    return Figure(
        "pendulum returns, batched against Gymnasium one at a time",
        "<= 1e-9",
        f"{difference:.1e}",
        difference <= 1e-9,
    )


def gymnasium_difference(psi: np.ndarray) -> float:
    """Largest difference of an episode's return between the batched evaluator and stepping `Pendulum-v1`."""
    from dynrl.robust.swing_up import STARTS, swing_up, swing_up_evaluator

    batched = swing_up_evaluator()(swing_up, psi, range(len(STARTS))).returns
    alone = np.array([[gymnasium_return(model, start) for start in STARTS] for model in psi])
    return float(np.abs(batched - alone).max())


def gymnasium_return(model: np.ndarray, start: np.ndarray) -> float:
    """The return of one episode in Gymnasium's pendulum with mass and length `model` from (angle, speed) `start`."""
    import gymnasium

    from dynrl.robust.swing_up import swing_up

    env = gymnasium.make("Pendulum-v1", disable_env_checker=True).unwrapped
    env.reset(seed=0)
    env.m, env.l = model  # type: ignore[attr-defined]
    env.state = np.array(start)  # type: ignore[attr-defined]
    total = 0.0
    for _ in range(200):
        theta, speed = env.state  # type: ignore[attr-defined]
        action = swing_up(np.array([[np.cos(theta), np.sin(theta), speed]]))[0]
        total += float(env.step(action)[1])
    return total


def _searches() -> Iterator[Figure]:
    from dynrl.robust.search import CMAES, Method
    from dynrl.robust.swing_up import GRID_MINIMUM

    values = search_values("auto")
    reached = sum(value <= -340 for value in values)
    others: dict[str, str | Method] = {
        "random+local": "random+local",
        "CMA-ES 100 x 6": CMAES(population=100, generations=6, sigma=0.5),
    }
    peer = "; ".join(f"{name} {statistics.median(search_values(m)):.1f}" for name, m in others.items())
    yield Figure(
        f"pendulum worst case, {BUDGET} evaluations, 8 seeds",
        "<= -340 in >= 7",
        f"{reached} of 8, median {statistics.median(values):.1f}",
        reached >= 7,
        f"201 x 201 sweep {GRID_MINIMUM:.1f}; {peer}",
    )


def search_values(method: object) -> list[float]:
    """The worst value that each of eight seeds finds within the budget."""
    from dynrl.robust.search import worst_case_search
    from dynrl.robust.swing_up import STARTS, swing_up, swing_up_evaluator, swing_up_set

    evaluator = swing_up_evaluator()
    return [
        worst_case_search(
            swing_up,
            evaluator,
            swing_up_set(),
            method,  # type: ignore[arg-type]
            BUDGET,
            episode_seeds=range(len(STARTS)),
            seed=seed,
        ).value
        for seed in SEEDS
    ]


def _models_per_second() -> Figure:
    from dynrl.robust.executors import ParallelEvaluator
    from dynrl.robust.swing_up import STARTS, swing_up, swing_up_evaluator, swing_up_set

    psi = swing_up_set().sample(np.random.default_rng(0), 4096)
    wall, cpu = {}, {}
    for precision, x64 in (("float64", True), ("float32", False)):
        with ParallelEvaluator(swing_up_evaluator(x64, lanes=1024), "threads", models=512) as evaluator:
            play = partial(evaluator, swing_up, psi, range(len(STARTS)))
            wall[precision], cpu[precision] = (len(psi) / seconds for seconds in _fastest(play, 5))
    return Figure(
        "pendulum models per second (8 starts x 200 steps, float64)",
        ">= 10 000",
        f"{wall['float64']:,.0f}; {cpu['float64']:,.0f} per core second (float32 {wall['float32']:,.0f}; "
        f"{cpu['float32']:,.0f})",
        wall["float64"] >= 10_000,
    )


def _fastest(function: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Seconds of the fastest call after one that compiles: by the clock, and of all cores together."""
    function()
    wall, cpu = [], []
    for _ in range(repeats):
        begun, used = time.perf_counter(), time.process_time()
        function()
        wall.append(time.perf_counter() - begun)
        cpu.append(time.process_time() - used)
    return min(wall), min(cpu)


def _same_everywhere() -> Figure:
    texts = [hopper_report_text(kind, models) for kind, models in EXECUTIONS]
    same = len(set(texts)) == 1
    return Figure(
        "Hopper report: serial, threads, processes, two block sizes",
        "same bytes",
        "same" if same else f"{len(set(texts))} different",
        same,
    )


EXECUTIONS = (("serial", 64), ("serial", 3), ("threads", 4), ("process", 4))


def hopper_report_text(executor: str, models: int) -> str:
    """The JSON, without circumstances, of a small Hopper report played by `executor` in blocks of `models`."""
    from dynrl.registry import make_world
    from dynrl.robust import uset
    from dynrl.robust.evaluation.batch import BatchEvaluator
    from dynrl.robust.executors import ParallelEvaluator
    from dynrl.robust.report import robustness_report

    task, uncertain = make_world("dynrl/Hopper-v0"), uset("hopper", dims=2)
    inner = BatchEvaluator(task, uncertain, lanes=64)  # type: ignore[arg-type]
    with ParallelEvaluator(inner, executor, workers=2, models=models, episodes=None) as evaluator:
        report = robustness_report(
            _some_actor(task),
            evaluator,
            uncertain,
            points=4,
            episodes=3,
            confirm_episodes=5,
            confirm_share=0.25,
        )
    return report.to_json(circumstances=False)


def _hopper_report() -> Figure:
    from dynrl.registry import make_world
    from dynrl.robust import uset
    from dynrl.robust.evaluation.batch import BatchEvaluator
    from dynrl.robust.report import robustness_report

    task, uncertain = make_world("dynrl/Hopper-v0", terminate_when_unhealthy=False), uset("hopper", dims=2)
    evaluator = BatchEvaluator(task, uncertain)  # type: ignore[arg-type]
    begun, used = time.perf_counter(), time.process_time()
    report = robustness_report(_some_actor(task), evaluator, uncertain)
    minutes, cores = (time.perf_counter() - begun) / 60, (time.process_time() - used) / 60
    steps = report.env_steps
    return Figure(
        "Hopper report, 100 cells x 10 episodes x 1000 steps",
        "<= 5 min",
        f"{minutes:.1f} min, {cores:.1f} core minutes, for {sum(steps.values()):,} steps "
        f"({steps['report, first stage']:,} in the first stage)",
        minutes <= 5,
    )


def _some_actor(task: object) -> object:
    """An untrained network of the usual size: what it costs to act does not depend on the weights."""
    import jax

    from dynrl.learning.networks import ActorPolicy, GaussianActor

    observation, action = task.observation_space.shape[0], task.action_space.shape[0]  # type: ignore[attr-defined]
    return ActorPolicy.of(GaussianActor(observation, action, jax.random.key(0)), task.action_space)  # type: ignore[attr-defined]
