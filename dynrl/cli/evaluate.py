"""`dynrl evaluate`."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from dynrl.cli.experiments import open_experiment
from dynrl.errors import ConfigError
from dynrl.experiment import FilmingExperiment
from dynrl.runs.run import Run


def evaluate(
    path: Annotated[Positional[Path], arg(metavar="RUN", help="folder of a run")],
    episodes: Annotated[int, arg(help="episodes per trained agent")] = 20,
    seed: Annotated[int, arg(help="seed of the first episode")] = 0,
    video: Annotated[
        Path | None,
        arg(metavar="FILE", help="also film the first episode, as an animated GIF", help_behavior_hint=""),
    ] = None,
) -> int:
    """Play fresh episodes with what a run has trained.

    Prints mean, standard deviation and interquartile mean with its bootstrap interval, one per line, and where the film
    is.
    """
    if episodes < 1:
        raise ConfigError(f"--episodes must be at least 1, got {episodes}")
    if seed < 0:
        raise ConfigError(f"--seed must be at least 0, got {seed}")
    if video is not None and video.suffix.lower() != ".gif":
        raise ConfigError(f"--video {video}: films are animated GIFs; name a file that ends in .gif")
    run = Run.open(path)
    experiment = open_experiment(run)
    if video is not None and not isinstance(experiment, FilmingExperiment):
        raise ConfigError(f"--video: runs of the experiment {run.experiment!r} cannot be filmed")
    figures = experiment.evaluate(run, episodes, seed)
    width = max(len(name) for name in figures)
    for name, value in figures.items():
        print(f"{name:<{width}}  {value:.6g}")
    if video is not None and isinstance(experiment, FilmingExperiment):
        print(experiment.film(run, video, seed))
    return 0
