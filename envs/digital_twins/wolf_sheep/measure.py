"""Figures of wolf–sheep–grass: self-checks, parallel back ends against the definition, and speed beside Mesa 3."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from dynrl.bench import Figure
from dynrl.bench.one_core import alone_on_one_core
from dynrl.envs.digital_twins.wolf_sheep.ensembles import Backend, ensemble
from dynrl.envs.digital_twins.wolf_sheep.model import WolfSheep, WolfSheepParams

__all__ = ["SETTINGS", "Comparison", "Setting", "against_definition", "compared", "figures", "speeds"]

STEPS = (1, 10, 50, 100, 200)
"""Where ensembles are compared."""


class Setting(NamedTuple):
    """A model with constants."""

    model: WolfSheep
    params: WolfSheepParams


class Comparison(NamedTuple):
    """Attributes:
    pvalue: smallest p of the two-sample Kolmogorov–Smirnov tests and Fisher's tests of extinction.
    z: largest |z| of a difference of means.
    means: of the two ensembles at the last of `STEPS` `[2, 3]`.
    """

    pvalue: float
    z: float
    means: np.ndarray


def _small(variant: Any) -> Setting:
    model = WolfSheep(25, 25, variant, capacity_sheep=768, capacity_wolves=512)
    rates: dict[str, Any] = {"gain_sheep": 5, "gain_wolf": 13, "p_sheep": 0.2, "p_wolf": 0.1, "regrowth": 20}
    return Setting(model, model.params(**rates, initial_sheep=60, initial_wolves=40))


def _netlogo() -> Setting:
    model = WolfSheep()
    return Setting(model, model.default_params())


def _chase() -> Setting:
    model = WolfSheep(20, 20, "chase", capacity_sheep=256, capacity_wolves=256)
    return Setting(model, model.params(initial_sheep=100, initial_wolves=50))


def _dense() -> Setting:
    model = WolfSheep(50, 50, "chase", capacity_sheep=1536, capacity_wolves=512)
    rates: dict[str, Any] = {"gain_sheep": 4, "gain_wolf": 4, "p_sheep": 0.2, "p_wolf": 0.05, "regrowth": 10}
    return Setting(model, model.params(**rates, initial_sheep=800, initial_wolves=40))


def _large(variant: Any) -> Setting:
    model = WolfSheep(100, 100, variant, capacity_sheep=5120, capacity_wolves=5632)
    rates: dict[str, Any] = {"gain_sheep": 5, "gain_wolf": 13, "p_sheep": 0.4, "p_wolf": 0.2, "regrowth": 10}
    return Setting(model, model.params(**rates, initial_sheep=1000, initial_wolves=500))


SETTINGS: dict[str, Setting] = {
    "rw4": _small("rw4"),
    "rw8": _small("rw8"),
    "netlogo": _netlogo(),
    "chase": _chase(),
    "chase, dense": _dense(),
}
"""What is compared: benchmark-small, NetLogo's defaults, Mesa's defaults, and the dense setting in which deciding all
chases at once leaves 71 wolves instead of 119."""


def compared(first: np.ndarray, second: np.ndarray, steps: tuple[int, ...] = STEPS) -> Comparison:
    """Two ensembles `[seeds, T + 1, 3]` at some steps."""
    from scipy.stats import fisher_exact, ks_2samp

    pvalues, scores = [], []
    for step in steps:
        for count in range(3):
            a, b = first[:, step, count], second[:, step, count]
            pvalues.append(ks_2samp(a, b).pvalue)
            error = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
            scores.append(
                abs(a.mean() - b.mean()) / error if error > 0 else 0.0 if a.mean() == b.mean() else np.inf
            )
            died = [int((x == 0).sum()) for x in (a, b)]
            if count < 2 and any(died):
                table = [[died[0], len(a) - died[0]], [died[1], len(b) - died[1]]]
                pvalues.append(fisher_exact(table).pvalue)
    means = np.stack([x[:, steps[-1]].mean(axis=0) for x in (first, second)])
    return Comparison(float(min(pvalues)), float(max(scores)), means)


@cache
def _definition(name: str, seeds: int) -> np.ndarray:
    setting = SETTINGS[name]
    return ensemble(*setting, steps=STEPS[-1], seeds=seeds, backend="seq", first_seed=10_000)


def against_definition(name: str, backend: Backend, seeds: int) -> Comparison:
    """An ensemble of `SETTINGS[name]` on `backend` against the sequential definition."""
    found = ensemble(*SETTINGS[name], steps=STEPS[-1], seeds=seeds, backend=backend)
    return compared(_definition(name, seeds), found)


def self_checks(seeds: int) -> dict[str, float]:
    """Numbers of the sequential definition that NetLogo and Mesa are known for (specification, section 2.6)."""
    netlogo = WolfSheep()
    plateau = ensemble(netlogo, steps=500, seeds=seeds, backend="seq")
    walk8 = ensemble(WolfSheep(variant="rw8"), steps=200, seeds=seeds, backend="seq")
    walk4 = ensemble(WolfSheep(variant="rw4"), steps=200, seeds=seeds, backend="seq")
    chase = ensemble(*SETTINGS["chase"], steps=200, seeds=seeds, backend="seq")
    wolves, sheep, grass = plateau[:, 200:].mean(axis=(0, 1))
    spread = plateau[:, 200:].std(axis=1).mean(axis=0)
    return {
        "netlogo extinct": float((plateau[:, -1, :2] == 0).any(axis=1).mean()),
        "netlogo wolves": float(wolves),
        "netlogo sheep": float(sheep),
        "netlogo grass": float(grass),
        "netlogo wolves, sd": float(spread[0]),
        "netlogo sheep, sd": float(spread[1]),
        "netlogo grass, sd": float(spread[2]),
        "rw8 wolves, step 100": float(walk8[:, 100, 0].mean()),
        "rw8 sheep, step 100": float(walk8[:, 100, 1].mean()),
        "rw8 wolves gone": float((walk8[:, 200, 0] == 0).mean()),
        "rw4 wolves gone": float((walk4[:, 200, 0] == 0).mean()),
        "chase sheep gone, step 50": float((chase[:, 50, 1] == 0).mean()),
        "chase wolves gone": float((chase[:, 200, 0] == 0).mean()),
    }


SELF_CHECKS: dict[str, tuple[float, float]] = {
    "netlogo extinct": (0, 0),
    "netlogo wolves": (74, 78),
    "netlogo sheep": (157, 163),
    "netlogo grass": (955, 985),
    "netlogo wolves, sd": (12, 15),
    "netlogo sheep, sd": (21, 25),
    "netlogo grass, sd": (86, 97),
    "rw8 wolves, step 100": (8, 10),
    "rw8 sheep, step 100": (222, 234),
    "rw8 wolves gone": (0.07, 0.19),
    "rw4 wolves gone": (0.90, 0.98),
    "chase sheep gone, step 50": (0.92, 0.99),
    "chase wolves gone": (0.96, 1.0),
}
"""Where each self-check must lie, for 300 seeds or more."""


def mesa_seconds(setting: Setting, steps: int, seed: int = 0) -> float:
    """Processor seconds per step of Mesa's own example, its grass regrowing by its event scheduler.

    Raises:
        ImportError: Mesa 3 is not installed.
    """
    try:
        from mesa.examples.advanced.wolf_sheep.model import WolfSheep as MesaWolfSheep
        from mesa.experimental.devs import ABMSimulator
    except ImportError as error:
        raise ImportError('the comparison needs Mesa: pip install "mesa>=3.3,<4"') from error
    model, params = setting
    simulator = ABMSimulator()
    MesaWolfSheep(
        width=model.width,
        height=model.height,
        initial_sheep=int(params.initial_sheep),
        initial_wolves=int(params.initial_wolves),
        sheep_reproduce=float(params.p_sheep),
        wolf_reproduce=float(params.p_wolf),
        wolf_gain_from_food=float(params.gain_wolf),
        grass_regrowth_time=int(params.regrowth),
        sheep_gain_from_food=float(params.gain_sheep),
        seed=seed,
        simulator=simulator,
    )
    return _processor_seconds(lambda: simulator.run_for(steps)) / steps


def single_seconds(setting: Setting, steps: int, repeats: int) -> float:
    """Processor seconds per step of one environment in machine code, stepped from Python; best of some episodes."""
    from dynrl.envs.digital_twins.wolf_sheep.native import NativeCohort

    dose = np.zeros((1, 2), np.float32)

    def episode(seed: int) -> float:
        cohort = NativeCohort(*setting, [seed])
        return _processor_seconds(lambda: [cohort.step(dose) for _ in range(steps)]) / steps

    episode(0)
    return min(episode(seed) for seed in range(repeats))


def batch_seconds(setting: Setting, envs: int, steps: int, repeats: int) -> float:
    """Processor seconds per environment of `steps` steps of a batch in machine code; best of some."""
    from dynrl.envs.digital_twins.wolf_sheep.native import NativeCohort

    doses = np.zeros((envs, steps, 2), np.float32)

    def batch(seed: int) -> float:
        cohort = NativeCohort(*setting, range(seed, seed + envs))
        return _processor_seconds(lambda: cohort.run(doses)) / envs

    batch(0)
    return min(batch(seed) for seed in range(repeats))


def jax_seconds(setting: Setting, envs: int, steps: int, repeats: int) -> float:
    """Processor seconds per environment of `steps` steps of a batch in JAX; best of some."""
    import jax

    from dynrl.abm import simulate

    def batch(seed: int) -> float:
        def work() -> None:
            seeds = range(seed, seed + envs)
            jax.block_until_ready(
                simulate(setting.model, setting.params, steps=steps, seeds=list(seeds), at_once=envs).macro
            )

        return _processor_seconds(work) / envs

    batch(0)
    return min(batch(seed) for seed in range(repeats))


def speeds(quick: bool) -> dict[str, float]:
    """Seconds, all measured one after the other in this process; run it on one core."""
    medium = WolfSheep(variant="chase")
    small_mesa = Setting(medium, medium.default_params())
    steps = 20 if quick else 100
    found = {
        "mesa 51": mesa_seconds(small_mesa, 100),
        "single 51": single_seconds(small_mesa, 100, 5),
        "mesa large": mesa_seconds(_large("chase"), steps),
        "single large": single_seconds(_large("chase"), steps, 2 if quick else 5),
        "batch large": batch_seconds(_large("rw8"), 64, 100, 1 if quick else 3),
    }
    if not quick:
        found["jax batch large"] = jax_seconds(_large("rw8"), 64, 100, 2)
        found["jax batch small"] = jax_seconds(_small("rw8"), 64, 100, 2)
        found["batch small"] = batch_seconds(_small("rw8"), 64, 100, 3)
    return found


def figures(quick: bool = False) -> Iterator[Figure]:
    """What `dynrl bench medical` prints of wolf–sheep–grass."""
    seeds = 100 if quick else 500
    for name, value in self_checks(300).items():
        low, high = SELF_CHECKS[name]
        yield Figure(
            f"WSG definition: {name}, 300 seeds", f"{low:g} to {high:g}", f"{value:.4g}", low <= value <= high
        )
    cases: list[tuple[str, Backend]] = [(name, "numba") for name in SETTINGS]
    if quick:
        cases += [("netlogo", "jax")]
    else:
        cases += [(name, "jax") for name in SETTINGS]
        cases += [(name, "numpy") for name in SETTINGS if name != "chase, dense"]
    for name, backend in cases:
        found = against_definition(name, backend, seeds)
        yield Figure(
            f"WSG {name} on {backend} against the definition, {seeds} seeds, steps {', '.join(map(str, STEPS))}",
            "p > 1e-3, |z| < 4",
            f"p {found.pvalue:.4f}, |z| {found.z:.2f}",
            found.pvalue > 1e-3 and found.z < 4,
            peer=f"wolves at step 200: {found.means[1, 0]:.1f} against {found.means[0, 0]:.1f}",
        )
    yield from _speed_figures(alone_on_one_core(speeds, quick))


def _speed_figures(seconds: dict[str, float]) -> Iterator[Figure]:
    for place, bar in (("51", 50), ("large", 100)):
        ratio = seconds[f"mesa {place}"] / seconds[f"single {place}"]
        where = "51 × 51" if place == "51" else "benchmark-large"
        yield Figure(
            f"WSG step of one environment at {where}, chase, against Mesa 3",
            f">= {bar}x",
            f"{ratio:.0f}x ({1e6 * seconds[f'single {place}']:.0f} µs)",
            ratio >= bar,
            peer=f"Mesa: {1e3 * seconds[f'mesa {place}']:.2f} ms",
        )
    measured = 1e3 * seconds["batch large"]
    notes = [
        f"{name}: {1e3 * seconds[name]:.1f} ms" for name in seconds if name.startswith(("jax", "batch small"))
    ]
    yield Figure(
        "WSG 100 steps of each of 64 environments at benchmark-large, rw8, one core",
        "<= 10 ms",
        f"{measured:.1f} ms",
        measured <= 10,
        peer=", ".join(notes),
    )


def _processor_seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
