"""`dynrl evaluate`."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from dynrl.cli.experiments import open_experiment
from dynrl.errors import ConfigError
from dynrl.runs.run import Run


def evaluate(
    path: Annotated[Positional[Path], arg(metavar="RUN", help="folder of a run")],
    episodes: Annotated[int, arg(help="episodes per trained agent")] = 20,
    seed: Annotated[int, arg(help="seed of the first episode")] = 0,
) -> int:
    """Play fresh episodes with what a run has trained.

    Prints mean, standard deviation and interquartile mean with its bootstrap interval, one per line.
    """
    if episodes < 1:
        raise ConfigError(f"--episodes must be at least 1, got {episodes}")
    if seed < 0:
        raise ConfigError(f"--seed must be at least 0, got {seed}")
    run = Run.open(path)
    figures = open_experiment(run).evaluate(run, episodes, seed)
    width = max(len(name) for name in figures)
    for name, value in figures.items():
        print(f"{name:<{width}}  {value:.6g}")
    return 0
