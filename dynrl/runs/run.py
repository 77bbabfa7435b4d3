"""A run folder: resolved config, versions, metrics, checkpoints, artifacts. Killed at any moment, it resumes.

config.yaml             the resolved config
run.json                experiment, versions, git hash, whether it is finished
metrics.csv             one row per `Run.log`
checkpoint.safetensors  the last checkpoint
tensorboard/            the same metrics for TensorBoard
"""

import datetime
import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from dynrl.errors import FileFormatError, RunError
from dynrl.runs.array_file import read_arrays, sync_folder, write_arrays, write_atomically
from dynrl.runs.checkpoint import Checkpoint
from dynrl.runs.metrics import MetricsFile, Value, read_metrics
from dynrl.runs.progress import Progress
from dynrl.runs.tensorboard import ScalarWriter
from dynrl.runs.versions import git_hash, versions

FORMAT = 1
CONFIG, INFO, METRICS, CHECKPOINT, TENSORBOARD, LOCK = (
    "config.yaml",
    "run.json",
    "metrics.csv",
    "checkpoint.safetensors",
    "tensorboard",
    ".lock",
)


class Run:
    """One training run on disk. Make it with `create` or `open`.

    Attributes:
        path: the folder.
        experiment: name of the experiment that the run belongs to.
        versions: what the run was started with.
        git: commit that it was started from, with `-dirty` when files differed; None outside a checkout.
    """

    def __init__(self, path: Path, info: Mapping[str, Any], writable: bool) -> None:
        self.path = path
        self.experiment: str = info["experiment"]
        self.versions: dict[str, str] = dict(info["versions"])
        self.git: str | None = info.get("git")
        self._info = dict(info)
        self._writable = writable
        self._lock = _lock(path) if writable else None
        self._metrics = MetricsFile(path / METRICS)
        self._scalars = ScalarWriter(path / TENSORBOARD)
        self._restored = False

    @classmethod
    def create(cls, path: str | os.PathLike[str], experiment: str, config: Mapping[str, Any]) -> Self:
        """Makes the folder, complete or not at all.

        Args:
            path: must not exist, or be an empty folder.
            experiment: name in the table of experiments.
            config: the resolved config as plain values (written as config.yaml).

        Raises:
            RunError: the folder holds something, or cannot be made.
        """
        import yaml

        target = Path(path)
        check_free(target)
        info = {
            "format": FORMAT,
            "experiment": experiment,
            "versions": versions(),
            "git": git_hash(),
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "finished": False,
        }
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            temporary.mkdir(parents=True)
            text = yaml.safe_dump({"experiment": experiment, **config}, sort_keys=False, allow_unicode=True)
            (temporary / CONFIG).write_text(text, encoding="utf-8")
            (temporary / INFO).write_text(_json(info), encoding="utf-8")
            write_arrays(temporary / CHECKPOINT, {}, {"initial": True, "metrics_bytes": 0})
            os.rename(temporary, target)
            sync_folder(target.parent)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise RunError(f"cannot make the run folder {target}: {error.strerror}") from error
        return cls(target, info, writable=True)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, writable: bool = False) -> Self:
        """Opens an existing run; `writable=True` to go on training it.

        Raises:
            RunError: not a run folder, of another version, or (writable) in use by another process.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise RunError(f"{folder} does not exist or is not a folder; give the folder of a run")
        if not (folder / INFO).is_file():
            raise RunError(f"{folder} is not a run folder (it has no {INFO})")
        try:
            info = json.loads((folder / INFO).read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunError(f"{folder / INFO} is damaged: {error}") from error
        if not isinstance(info, dict) or "format" not in info:
            raise RunError(f"{folder / INFO} is damaged: it does not describe a run")
        if info["format"] != FORMAT:
            raise RunError(
                f"{folder} was made by another version of dynrl (run format {info['format']}, this one reads "
                f"{FORMAT}); use the version it was made with: {info.get('versions', {}).get('dynrl', '?')}"
            )
        if missing := {"experiment", "versions", "finished"} - set(info):
            raise RunError(f"{folder / INFO} is damaged: {sorted(missing)[0]!r} is missing")
        return cls(folder, info, writable)

    @property
    def finished(self) -> bool:
        """Whether training came to its end."""
        return bool(self._info["finished"])

    @property
    def config_path(self) -> Path:
        """The resolved config, which `dynrl train` also accepts as CONFIG."""
        return self.path / CONFIG

    def restore(self) -> Checkpoint | None:
        """The last checkpoint, None before the first; metrics logged after it are dropped (they come again).

        Raises:
            RunError: the checkpoint is missing or damaged. It never starts over silently.
        """
        source = self.path / CHECKPOINT
        try:
            arrays, stored = read_arrays(source)
        except FileFormatError as error:
            raise RunError(f"cannot resume: {error}; put the file back or start a new run") from error
        if "metrics_bytes" not in stored:
            raise RunError(f"cannot resume: {source} is not the checkpoint of a run")
        if self._writable:
            self._metrics.truncate(stored["metrics_bytes"])
            self._metrics = MetricsFile(self.path / METRICS, stored.get("columns", ()))
            self._scalars.rebuild(self.metrics())
            self._restored = True
        if stored.get("initial"):
            return None
        return Checkpoint(stored["step"], arrays, stored["meta"])

    def checkpoint(
        self, step: int, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any] | None = None
    ) -> None:
        """Makes everything logged so far durable, then replaces the checkpoint in one move.

        Args:
            step: the experiment's own step.
            arrays: named arrays (see `flatten_tree`).
            meta: values that JSON can hold.
        """
        self._check_writable()
        length = self._metrics.flush()
        stored = {
            "step": int(step),
            "metrics_bytes": length,
            "columns": self._metrics.columns,
            "meta": dict(meta or {}),
        }
        write_arrays(self.path / CHECKPOINT, arrays, stored)
        self._scalars.flush()

    def log(
        self, step: int, metrics: Mapping[str, Value], timings: Mapping[str, float] | None = None
    ) -> None:
        """Adds one row to metrics.csv (written at the next checkpoint) and to TensorBoard.

        Args:
            step: first column.
            metrics: the other columns; must be the same in a run that is repeated, so no clock times.
            timings: clock-dependent figures, for TensorBoard only.

        Raises:
            ValueError: a metric that the first row did not have.
        """
        self._check_writable()
        row = self._metrics.append(step, metrics)
        self._scalars.write({**row, **{f"time/{name}": value for name, value in (timings or {}).items()}})

    def metrics(self) -> dict[str, np.ndarray]:
        """The columns of metrics.csv by name, as far as written."""
        return read_metrics(self.path / METRICS)

    def progress(self, total: int, unit: str = "steps", done: int = 0) -> Progress:
        """A context manager whose `advance(n, headline)` shows rate, time left and the headline metric."""
        return Progress(total, unit, done)

    def artifact(self, name: str) -> Path:
        """Where to write a file of the run (a plot, a table); its folder exists.

        Raises:
            ValueError: the name leaves the folder or belongs to the run itself.
        """
        path = self.path / name
        parts = Path(name).parts
        if not parts or Path(name).is_absolute() or ".." in parts:
            raise ValueError(f"artifact name {name!r} must stay inside the run folder")
        if parts[0] in {CONFIG, INFO, METRICS, CHECKPOINT, TENSORBOARD, LOCK}:
            raise ValueError(f"artifact name {name!r} is used by the run itself")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def finish(self) -> None:
        """Writes out the remaining metrics and marks the run as complete."""
        self._check_writable()
        self._metrics.flush()
        self._scalars.close()
        self._info["finished"] = True
        write_atomically(self.path / INFO, _json(self._info).encode())

    def close(self) -> None:
        """Lets go of the folder; rows logged since the last checkpoint are dropped."""
        self._scalars.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        self._writable = False

    def _check_writable(self) -> None:
        if not self._writable:
            raise RunError(f"{self.path} was opened for reading only")
        if not self._restored:
            self.restore()


def check_free(path: Path) -> None:
    """Raises RunError unless `path` does not exist or is an empty folder."""
    if not path.exists():
        return
    if not path.is_dir():
        raise RunError(f"{path} is a file; give another folder with --out")
    if any(path.iterdir()):
        advice = f"go on with `dynrl train --resume {path}`, or " if (path / INFO).exists() else ""
        raise RunError(f"{path} already holds files; {advice}give another folder with --out")


def default_folder(stem: str, parent: Path = Path("runs")) -> Path:
    """A new name `runs/<stem>-<UTC time>`."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    path = parent / f"{stem}-{now}"
    count = 2
    while path.exists():
        path = parent / f"{stem}-{now}-{count}"
        count += 1
    return path


def _json(info: Mapping[str, Any]) -> str:
    return json.dumps(info, indent=2) + "\n"


def _lock(path: Path) -> int:
    descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise RunError(f"{path} is being trained by another process; wait for it or stop it") from None
    return descriptor
