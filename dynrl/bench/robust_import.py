"""What `import dynrl.robust` costs beyond Gymnasium, in fresh processes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator

from dynrl.bench import Figure

SECONDS_BAR, MEGABYTES_BAR = 1.0, 150.0
_PROBE = """
import json, resource, sys, time
import gymnasium
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20
before, begin = resident(), time.perf_counter()
import dynrl.robust
from dynrl.robust import Param, UncertaintySet, RobustEnv, make_robust_vec
seconds = time.perf_counter() - begin
more = resident() - before
heavy = [name for name in ("jax", "torch", "mujoco", "brax", "ray") if name in sys.modules]
print(json.dumps([seconds, more, heavy]))
"""


def figures(quick: bool) -> Iterator[Figure]:
    """The rows of this file in `dynrl bench robust`."""
    seconds, megabytes, heavy = import_cost(3 if quick else 7)
    loaded = f", with {', '.join(heavy)}" if heavy else ""
    yield Figure(
        "import dynrl.robust beyond gymnasium", "< 1 s", f"{seconds:.2f} s{loaded}", seconds < SECONDS_BAR
    )
    yield Figure("memory of it", "< 150 MB", f"{megabytes:.0f} MB", megabytes < MEGABYTES_BAR)


def import_cost(repeats: int) -> tuple[float, float, list[str]]:
    """Median seconds and megabytes of fresh processes, after one that warms the file cache, and the heavy packages that
    they loaded.

    Raises:
        RuntimeError: the import fails; shows its error.
    """
    measured = []
    for _ in range(repeats + 1):
        done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"import dynrl.robust failed: {done.stderr.strip().splitlines()[-1]}")
        measured.append(json.loads(done.stdout))
    seconds, megabytes, heavy = zip(*measured[1:], strict=True)
    return statistics.median(seconds), statistics.median(megabytes), heavy[0]
