"""What `dynrl train`, `evaluate` and `plot` expect of an experiment."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    from dynrl.runs.run import Run


class Experiment(Protocol):
    """One kind of training run. A config file names it in its key `experiment`; the other keys fill `Config`.

    The constructor takes an instance of `Config` and raises `dynrl.errors.ConfigError` for what types alone
    cannot say (an unknown environment, an impossible combination): it runs before the run folder is made.
    """

    Config: ClassVar[type]

    def __init__(self, config: Any) -> None: ...

    def train(self, run: "Run") -> None:
        """Trains to the end, from `run.restore()` on, with `run.checkpoint` now and then."""

    def evaluate(self, run: "Run", episodes: int, seed: int) -> Mapping[str, float]:
        """Figures of the trained agent over fresh episodes, by name, in the order to print."""
        ...

    def plot(self, runs: Sequence["Run"], out: Path) -> list[Path]:
        """Draws the runs together into `out` and returns the files written."""
        ...


@runtime_checkable
class ExportingExperiment(Experiment, Protocol):
    """An experiment whose policies `dynrl export` can write."""

    def export(self, run: "Run", out: Path, name: str | None) -> list[Path]:
        """Writes one policy of the run into the folder `out` and returns the files written.

        Args:
            name: which policy, where the run has several; None for its main one.

        Raises:
            ConfigError: no policy of that name.
        """
        ...


@runtime_checkable
class BundlingExperiment(Experiment, Protocol):
    """An experiment whose policies `dynrl export` writes as policy bundles."""

    def export_bundle(self, run: "Run", out: Path, name: str | None, terms: Path | None) -> Path:
        """Writes one policy of the run as a bundle, and returns its path.

        Args:
            out: folder or `.zip` file to write.
            name: which policy, where the run has several; None for its main one.
            terms: a `policy.yaml` without `model`, in place of the contract that the environment declares.

        Raises:
            ConfigError: no policy of that name.
            dynrl.policy.BundleError: the policy cannot be exported as the contract says.
        """
        ...


@runtime_checkable
class FilmingExperiment(Experiment, Protocol):
    """An experiment of which `dynrl evaluate --video` can show an episode."""

    def film(self, run: "Run", out: Path, seed: int) -> Path:
        """Films one fresh episode of what the run has trained as an animated GIF, and returns its path.

        Args:
            out: file to write.
            seed: of the episode.

        Raises:
            ConfigError: the environment has no pictures, or cannot draw them here.
        """
        ...
