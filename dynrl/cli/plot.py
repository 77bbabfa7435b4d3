"""`dynrl plot`."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from dynrl.cli.experiments import open_experiment
from dynrl.errors import ConfigError
from dynrl.plotting import check_picture
from dynrl.runs.run import Run


def plot(
    paths: Annotated[
        Positional[tuple[Path, ...]],
        arg(metavar="RUN [RUN ...]", help="runs of one experiment", help_behavior_hint=""),
    ],
    out: Annotated[Path, arg(help="picture to write: .png, .svg or .pdf")] = Path("curves.png"),
) -> int:
    """Draw the learning curves of runs with confidence bands.

    The bands are 95 % bootstrap intervals over runs and seeds.
    """
    if not paths:
        raise ConfigError("name at least one run folder")
    check_picture(out)
    runs = [Run.open(path) for path in paths]
    for run in runs:
        if run.experiment != runs[0].experiment:
            raise ConfigError(
                f"the runs are of different experiments: {runs[0].path} is {runs[0].experiment!r}, "
                f"{run.path} is {run.experiment!r}"
            )
    for path in open_experiment(runs[0]).plot(runs, out):
        print(path)
    return 0
