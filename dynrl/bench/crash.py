"""Crash safety: training runs killed with SIGKILL at random moments and resumed must log the same bytes."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dynrl.bench import Figure
from dynrl.errors import RunError
from dynrl.runs.run import METRICS

TRAININGS: dict[str, tuple[str, ...]] = {
    "learn/ads": (
        "total_timesteps=4000",
        "agent.config.horizon=4000",
        "log_every=100",
        "checkpoint_every=200",
    ),
    "bandits/short": (),
}
"""What is trained, with which settings: a few seconds with many checkpoints, one agent step by step and several
agents in compiled simulations."""
KILLS, QUICK_KILLS = 10, 1
"""Trainings of each kind that are killed."""
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
    """The crash-safety rows of `dynrl bench core`."""
    runs = QUICK_KILLS if quick else KILLS
    for config, settings in TRAININGS.items():
        with tempfile.TemporaryDirectory() as folder:
            result = kill_and_resume([config, *settings], Path(folder), runs)
        yield Figure(
            name=f"metrics.csv of {config} after kill -9 and resume",
            bar=f"{result.runs} of {result.runs} runs byte-identical",
            measured=f"{result.identical} of {result.runs} ({result.resumed_mid_run} killed past a checkpoint)",
            passed=result.identical == result.runs and result.resumed_mid_run > 0,
        )


def kill_and_resume(
    arguments: Sequence[str], folder: Path, runs: int, seed: int = 0, cwd: Path | None = None
) -> CrashResult:
    """Trains once in peace, then `runs` times with one SIGKILL each, and compares the metrics.

    Every fourth run (the second, the sixth, ...) is killed at a uniformly random moment between the
    appearance of its folder and the end of the training, the others between the first checkpoint and the end.

    Args:
        arguments: of `dynrl train` (config and settings).
        folder: an empty folder for the run folders.
        runs: trainings to kill.
        seed: of the moments.
        cwd: where the trainings are started.

    Raises:
        RunError: a training failed by itself.
    """
    start = partial(_start, compiled=folder / "compiled", cwd=cwd)
    reference = folder / "uninterrupted"
    process = start([*arguments, "--out", str(reference)])
    _wait_for_folder(process, reference)
    created = time.monotonic()
    _wait_for_checkpoint(process, reference)
    first_checkpoint = time.monotonic()
    _finish(process)
    end = time.monotonic()
    expected = (reference / METRICS).read_bytes()
    rng = np.random.default_rng(seed)
    identical = mid_run = 0
    for index in range(runs):
        path = folder / f"killed-{index}"
        early = index % 4 == 1
        longest = end - (created if early else first_checkpoint)
        mid_run += _train_and_kill(start, [*arguments, "--out", str(path)], path, rng, longest, early)
        _finish(start(["--resume", str(path)]))
        identical += (path / METRICS).read_bytes() == expected
    return CrashResult(identical, runs, mid_run)


def _train_and_kill(
    start: Callable[[Sequence[str]], subprocess.Popen[str]],
    arguments: Sequence[str],
    path: Path,
    rng: np.random.Generator,
    longest: float,
    early: bool,
) -> bool:
    """Leaves a killed run at `path` (one that ended before is repeated); whether it passed a checkpoint."""
    for _ in range(ATTEMPTS):
        process = start(arguments)
        _wait_for_folder(process, path)
        if not early:
            _wait_for_checkpoint(process, path)
        started = time.monotonic()
        if _kill_after(process, float(rng.uniform(0, longest))):
            return _has_checkpoint(path)
        # Compiled programs are cached by now: trainings may be much shorter than the first one was.
        longest = min(longest, time.monotonic() - started)
        shutil.rmtree(path)
    raise RunError(f"{ATTEMPTS} trainings in a row ended before they could be killed; train longer")


def _start(arguments: Sequence[str], *, compiled: Path, cwd: Path | None) -> subprocess.Popen[str]:
    """A training in its own process; trainings share their compiled programs."""
    command = [sys.executable, "-m", "dynrl.cli", "train", *arguments]
    cache = {"JAX_COMPILATION_CACHE_DIR": str(compiled), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1"}
    environment = {**cache, **os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def _wait_for_folder(process: subprocess.Popen[str], path: Path) -> None:
    """The folder appears complete, see `Run.create`."""
    _wait(process, path.exists, "no run folder")


def _wait_for_checkpoint(process: subprocess.Popen[str], path: Path) -> None:
    _wait(process, lambda: _has_checkpoint(path), "no checkpoint")


def _has_checkpoint(path: Path) -> bool:
    """Whether metrics have been made durable, which comes right before the first checkpoint."""
    return (path / METRICS).exists()


def _wait(process: subprocess.Popen[str], ready: Callable[[], bool], missing: str) -> None:
    limit = time.monotonic() + START_LIMIT
    while not ready():
        if process.poll() is not None:
            if ready():
                return
            _finish(process)
            raise RunError(f"the training ended and made {missing}")
        if time.monotonic() > limit:
            process.kill()
            process.communicate()
            raise RunError(f"the training made {missing} within {START_LIMIT:.0f} s")
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
