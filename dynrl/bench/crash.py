"""Crash safety: training runs killed with SIGKILL at random moments and resumed must log the same bytes."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dynrl.bench import Figure
from dynrl.errors import RunError
from dynrl.runs.run import CHECKPOINT, METRICS

CONFIG = "learn/ads"
KILLS, QUICK_KILLS = 20, 3
ATTEMPTS = 10
START_LIMIT = 300.0
"""Seconds that a training may take to reach its first checkpoint."""


@dataclass(frozen=True)
class CrashResult:
    """What became of the killed runs.

    Attributes:
        identical: runs whose metrics.csv equals the uninterrupted one's byte for byte.
        runs: runs that were killed while training, and resumed.
        resumed_mid_run: those of them that had passed a checkpoint.
    """

    identical: int
    runs: int
    resumed_mid_run: int


def crash_figures(quick: bool) -> Iterator[Figure]:
    """The crash-safety row of `dynrl bench core`."""
    with tempfile.TemporaryDirectory() as folder:
        result = kill_and_resume([CONFIG], Path(folder), QUICK_KILLS if quick else KILLS)
    yield Figure(
        name="metrics.csv after kill -9 and resume",
        bar=f"{result.runs} of {result.runs} runs byte-identical",
        measured=f"{result.identical} of {result.runs} ({result.resumed_mid_run} killed past a checkpoint)",
        passed=result.identical == result.runs and result.resumed_mid_run > 0,
    )


def kill_and_resume(
    arguments: Sequence[str], folder: Path, runs: int, seed: int = 0, cwd: Path | None = None
) -> CrashResult:
    """Trains once in peace, then `runs` times with one SIGKILL each, and compares the metrics.

    The moment of a kill is uniform between the appearance of the run folder and the end of the training, as
    long as both took in the uninterrupted run.

    Args:
        arguments: of `dynrl train` (config and settings).
        folder: an empty folder for the run folders.
        runs: trainings to kill.
        seed: of the moments.
        cwd: where the trainings are started.

    Raises:
        RunError: a training failed by itself.
    """
    reference = folder / "uninterrupted"
    process = _start([*arguments, "--out", str(reference)], cwd)
    _wait_until(process, reference)
    begin = time.monotonic()
    _finish(process)
    duration = time.monotonic() - begin
    expected = (reference / METRICS).read_bytes()
    rng = np.random.default_rng(seed)
    identical = mid_run = 0
    for index in range(runs):
        path = folder / f"killed-{index}"
        mid_run += _train_and_kill(arguments, path, rng, duration, cwd)
        _finish(_start(["--resume", str(path)], cwd))
        identical += (path / METRICS).read_bytes() == expected
    return CrashResult(identical, runs, mid_run)


def _train_and_kill(
    arguments: Sequence[str], path: Path, rng: np.random.Generator, duration: float, cwd: Path | None
) -> bool:
    """Leaves a killed run at `path` (one that ended before is repeated); whether it passed a checkpoint."""
    for _ in range(ATTEMPTS):
        process = _start([*arguments, "--out", str(path)], cwd)
        _wait_until(process, path)
        initial = (path / CHECKPOINT).stat().st_mtime_ns
        if _kill_after(process, float(rng.uniform(0, duration))):
            return (path / CHECKPOINT).stat().st_mtime_ns != initial
        shutil.rmtree(path)
    raise RunError(f"{ATTEMPTS} trainings in a row ended before they could be killed; train longer")


def _start(arguments: Sequence[str], cwd: Path | None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dynrl.cli", "train", *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def _wait_until(process: subprocess.Popen[str], path: Path) -> None:
    """Waits for the run folder, which appears complete (see `Run.create`)."""
    limit = time.monotonic() + START_LIMIT
    while not path.exists():
        if process.poll() is not None:
            _finish(process)
        if time.monotonic() > limit:
            process.kill()
            raise RunError(f"the training made no run folder within {START_LIMIT:.0f} s")
        time.sleep(0.002)


def _kill_after(process: subprocess.Popen[str], delay: float) -> bool:
    """Whether the process was still training when it was killed."""
    try:
        process.wait(timeout=delay)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def _finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate()
    if process.returncode != 0:
        last = errors.strip().splitlines()[-1] if errors.strip() else "no message"
        raise RunError(f"a training ended with status {process.returncode}: {last}")
