"""`dynrl train`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from dynrl.cli.experiments import make_experiment, open_experiment
from dynrl.config import read_config, to_mapping
from dynrl.errors import ConfigError
from dynrl.runs.run import Run, check_free, default_folder
from dynrl.runs.versions import versions


def train(
    config: Annotated[
        Positional[str | None],
        arg(
            metavar="[CONFIG]",
            help="YAML file or installed config (`dynrl list configs`)",
            help_behavior_hint="",
        ),
    ] = None,
    settings: Annotated[
        Positional[tuple[str, ...]],
        arg(metavar="[KEY=VALUE ...]", help="change settings, e.g. seeds=[1,2] a.b=3", help_behavior_hint=""),
    ] = (),
    out: Annotated[
        Path | None,
        arg(
            metavar="FOLDER",
            help="folder of the run",
            help_behavior_hint="(default: runs/<config>-<UTC time>)",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        arg(metavar="RUN", help="go on with this run from its last checkpoint", help_behavior_hint=""),
    ] = None,
) -> int:
    """Train what a config describes, into a run folder.

    A run that was stopped, by Ctrl-C or a crash, goes on with --resume and ends with the same numbers.
    """
    if resume is not None:
        return resume_run(resume, config, settings, out)
    return start_run(config, settings, out)


def start_run(config: str | None, overrides: Sequence[str], out: Path | None) -> int:
    """A new run: everything is checked before its folder appears."""
    if config is None:
        raise ConfigError("name a config (`dynrl list configs`) or go on with --resume RUN")
    if "=" in config and not Path(config).exists():
        raise ConfigError(f"name a config before the settings to change, got {config!r} first")
    path = out or default_folder(Path(config).stem)
    check_free(path)
    name, experiment = make_experiment(read_config(config, overrides))
    run = Run.create(path, name, to_mapping(experiment.config))
    return _train(run, experiment)


def resume_run(path: Path, config: str | None, overrides: Sequence[str], out: Path | None) -> int:
    """Goes on with a run from its last checkpoint; nothing about it can be changed."""
    if config is not None or overrides or out is not None:
        raise ConfigError(
            "--resume takes all from the run folder; leave out the config, the settings and --out"
        )
    run = Run.open(path, writable=True)
    if run.finished:
        print(f"{path} is already finished; its results are there")
        return 0
    for package, version in versions().items():
        if (before := run.versions.get(package)) != version:
            change = f"{package} {before}, now {version}"
            print(f"dynrl: warning: {path} was started with {change}: numbers may differ", file=sys.stderr)
    return _train(run, open_experiment(run))


def _train(run: Run, experiment: Any) -> int:
    print(f"run folder: {run.path}", flush=True)
    try:
        experiment.train(run)
        if not run.finished:
            run.finish()
    except KeyboardInterrupt:
        print(f"\nstopped; go on with: dynrl train --resume {run.path}", file=sys.stderr)
        raise
    finally:
        run.close()
    print(f"done; results: {run.path}")
    return 0
