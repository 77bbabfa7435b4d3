"""`dynrl export`."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from dynrl.cli.experiments import open_experiment
from dynrl.errors import ConfigError
from dynrl.experiment import ExportingExperiment
from dynrl.runs.run import Run


def export(
    path: Annotated[Positional[Path], arg(metavar="RUN", help="folder of a run")],
    out: Annotated[Path, arg(metavar="FOLDER", help="folder to write; made if it is not there")] = Path(
        "policy"
    ),
    name: Annotated[
        str | None,
        arg(metavar="NAME", help="which of the run's policies, where it has several", help_behavior_hint=""),
    ] = None,
) -> int:
    """Write what a run has trained as a policy that runs elsewhere.

    Prints the files written.
    """
    run = Run.open(path)
    experiment = open_experiment(run)
    if not isinstance(experiment, ExportingExperiment):
        raise ConfigError(f"runs of the experiment {run.experiment!r} cannot be exported")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out} already exists and is not an empty folder; name another")
    for written in experiment.export(run, out, name):
        print(written)
    return 0
