"""`dynrl export`."""

import sys
import tempfile
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from dynrl.cli.experiments import open_experiment
from dynrl.errors import ConfigError
from dynrl.experiment import BundlingExperiment, ExportingExperiment
from dynrl.runs.run import Run

Format = Literal["dynrl", "leapp", "exploy", "mjlab", "isaaclab"]


def export(
    path: Annotated[Positional[Path], arg(metavar="RUN", help="folder of a run, or a policy bundle")],
    out: Annotated[
        Path | None,
        arg(
            aliases=["-o"],
            metavar="PATH",
            help="what to write: a new folder, or NAME.zip for a bundle in one file",
            help_behavior_hint="(default: policy.bundle, or the folder policy for bidders)",
        ),
    ] = None,
    name: Annotated[
        str | None,
        arg(metavar="NAME", help="which of the run's policies, where it has several", help_behavior_hint=""),
    ] = None,
    format: Annotated[Format, arg(help="dynrl is the policy bundle that `dynrl deploy` takes")] = "dynrl",
    contract: Annotated[
        Path | None,
        arg(
            metavar="YAML",
            help="terms of the policy, where the environment does not declare them: a policy.yaml without model",
            help_behavior_hint="",
        ),
    ] = None,
) -> int:
    """Write what a run has trained as a policy that runs elsewhere.

    A policy of `experiment: learn` becomes a bundle: an ONNX graph and the contract that says what its numbers mean.
    It is only written once a fresh process has shown that it acts as the trained policy does. Bidding policies become
    a folder that needs NumPy alone. Prints the files written.
    """
    if (path / "policy.yaml").is_file() or path.suffix == ".zip":
        return _convert(path, out or Path("policy"), format)
    run = Run.open(path)
    experiment = open_experiment(run)
    if isinstance(experiment, BundlingExperiment):
        return _export_bundle(experiment, run, out, name, format, contract)
    if not isinstance(experiment, ExportingExperiment):
        raise ConfigError(f"runs of the experiment {run.experiment!r} cannot be exported")
    if format != "dynrl" or contract is not None:
        raise ConfigError(
            f"--format and --contract are for policy bundles; {run.experiment!r} runs write bidders"
        )
    folder = out or Path("policy")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--out {folder} already exists and is not an empty folder; name another")
    for written in experiment.export(run, folder, name):
        print(written)
    return 0


def _export_bundle(
    experiment: BundlingExperiment,
    run: Run,
    out: Path | None,
    name: str | None,
    format: Format,
    contract: Path | None,
) -> int:
    from dynrl.policy import PolicyBundle

    if format != "dynrl":
        with tempfile.TemporaryDirectory() as folder:
            written = experiment.export_bundle(run, Path(folder) / "policy.bundle", name, contract)
            return _convert(written, out or Path("policy"), format)
    target = experiment.export_bundle(run, out or Path("policy.bundle"), name, contract)
    parity = PolicyBundle.load(target).contract.parity
    print(target)
    if parity is not None:
        print(
            f"parity: {parity.steps} actions, largest difference {parity.max_abs_error:.2g}; "
            f"{parity.episodes} episodes with the same return"
        )
        if not parity.episodes:
            print(
                "warning: no episode could be compared, since the trained policy, moved by a rounding, does not repeat "
                "its own return: the task is chaotic. Only single actions are proven equal; rehearse with the twin.",
                file=sys.stderr,
            )
    return 0


def _convert(bundle: Path, out: Path, format: Format) -> int:
    from dynrl.policy import PolicyBundle
    from dynrl.policy.formats import write

    if format == "dynrl":
        raise ConfigError(f"{bundle} is a bundle already; choose another --format")
    for written in write(PolicyBundle.load(bundle), out, format):
        print(written)
    return 0
